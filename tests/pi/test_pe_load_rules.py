"""Each load rule and each quirk of the page protection is shown to fire, and to stay silent on a sound driver."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.memory_types import MemoryAttribute
from mmsupervisor.pi.pe import (
    LOAD_RULES,
    QuirkKind,
    image_address,
    image_pages,
    load_problems,
    parse_pe,
    plan_protection,
)
from mmsupervisor.pi.pe.constants import SECTION_HEADER_SIZE
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from tests.pi.pe_builder import (
    CODE,
    DATA,
    EXECUTE,
    READ,
    RODATA,
    RWDATA,
    TEXT,
    WRITE,
    BuiltSection,
    PeBuilder,
    driver,
    relocation_block,
)

RO, XP, SP = MemoryAttribute.RO, MemoryAttribute.XP, MemoryAttribute.SP
CODE_BYTES = b"\xc3" * 16


def parse(data: bytes):
    return parse_pe(Reader(data, "test.efi"))


def build(*sections: BuiltSection, **changes):
    return PeBuilder(list(sections), **changes).build()


def text(**changes) -> BuiltSection:
    return BuiltSection(".text", CODE_BYTES, TEXT, **changes)


def data(**changes) -> BuiltSection:
    return BuiltSection(".data", bytes(64), RWDATA, **changes)


def with_directory(index: int, address: int, size: int) -> bytes:
    image = bytearray(driver())
    at = 0x80 + 24 + 112 + 8 * index
    image[at : at + 8] = struct.pack("<II", address, size)
    return bytes(image)


def with_codeview(address: int, size: int = 32) -> bytes:
    entry = struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, size, address, 0x2000 + 28)
    image = bytearray(build(text(), BuiltSection(".rdata", entry + b"RSDS".ljust(32, b"\0"), RODATA)))
    at = 0x80 + 24 + 112 + 8 * 6
    image[at : at + 8] = struct.pack("<II", 0x2000, 28)
    return bytes(image)


STRIPPED = 0x222F
FAR_CODE = BuiltSection(".far", b"", TEXT, address=0x9000, virtual_size=1)

# Rule, an image that breaks it, where it is loaded, and the first status the reference gives.
BREACHES = [
    ("directory-count", driver(overrides={"directory_count": 17}), 0x10_0000, Status.UNSUPPORTED),
    ("optional-header-size", driver(overrides={"directory_count": 15}), 0x10_0000, Status.UNSUPPORTED),
    ("image-holds-table", driver(overrides={"size_of_image": 0x188}), 0x10_0000, Status.UNSUPPORTED),
    ("headers-hold-table", driver(overrides={"size_of_headers": 0x1C0}), 0x10_0000, Status.UNSUPPORTED),
    ("headers-in-image", driver(overrides={"size_of_headers": 0x4000}), 0x10_0000, Status.UNSUPPORTED),
    ("headers-in-file", driver(overrides={"size_of_headers": 0x4001}), 0x10_0000, Status.UNSUPPORTED),
    ("security-directory", with_directory(4, 0xFFFF_F000, 0x1000), 0x10_0000, Status.UNSUPPORTED),
    ("machine", driver(machine=0x5064), 0x10_0000, Status.UNSUPPORTED),
    ("section-after-headers", build(text(address=0x800), data()), 0x10_0000, Status.UNSUPPORTED),
    ("section-after-headers", build(text(raw_offset=0x800), data()), 0x10_0000, Status.UNSUPPORTED),
    ("raw-data-wrap", build(text(raw_offset=0xFFFF_F000)), 0x10_0000, Status.UNSUPPORTED),
    ("raw-data-in-file", build(text(raw_size=0x3000, virtual_size=0x3000)), 0x10_0000, Status.UNSUPPORTED),
    ("size-limit", driver(overrides={"size_of_image": 0xF000_0000}), 0x10_0000, Status.OUT_OF_RESOURCES),
    ("alignment-zero", driver(alignment=0), 0x10_0000, Status.INVALID_PARAMETER),
    ("stripped-runtime", driver(characteristics=STRIPPED, subsystem=12), 0x10_0000, Status.LOAD_ERROR),
    ("stripped-address", driver(characteristics=STRIPPED), 0x10_0000, Status.INVALID_PARAMETER),
    ("section-in-image", driver(overrides={"size_of_image": 0x2000}), 0x10_0000, Status.LOAD_ERROR),
    ("section-fill", build(text(), data(virtual_size=0, raw_size=0x3000)), 0x10_0000, Status.UNSUPPORTED),
    ("codeview", with_codeview(0x8000), 0x10_0000, Status.LOAD_ERROR),
    ("codeview-size", with_codeview(0x2000 + 28, 23), 0x10_0000, Status.UNSUPPORTED),
    ("relocation-block", driver(relocations=struct.pack("<II", 0, 0)), 0x10_0000, Status.LOAD_ERROR),
    ("relocation-type", driver(relocations=relocation_block(0, (5, 0))), 0x10_0000, Status.UNSUPPORTED),
    ("relocation-end", driver(relocations=relocation_block(0x3000, (3, 0xFFE))), 0x10_0000, Status.LOAD_ERROR),
    ("entry-point", driver(entry=0x4000), 0x10_0000, Status.LOAD_ERROR),
    ("header-moved", driver(alignment=0x2000, relocations=b""), 0x10_1000, Status.SECURITY_VIOLATION),
    ("page-alignment", driver(alignment=0x20, relocations=b"", entry=0x200), 0x10_0000, Status.SECURITY_VIOLATION),
    ("section-on-page", build(text(address=0x1010)), 0x10_0000, Status.SECURITY_VIOLATION),
    ("code-section", build(data()), 0x10_0000, Status.SECURITY_VIOLATION),
    ("code-section-empty", build(text(), BuiltSection(".x", b"", TEXT)), 0x10_0000, Status.SECURITY_VIOLATION),
    (
        "code-section-inside",
        build(
            text(), BuiltSection(".x", b"", TEXT, address=0x9000, virtual_size=1), overrides={"size_of_image": 0x2000}
        ),
        0x10_0000,
        Status.LOAD_ERROR,
    ),
    ("code-section-overlap", build(text(), text(address=0x1000)), 0x10_0000, Status.SECURITY_VIOLATION),
]


@pytest.mark.parametrize(("rule", "image", "allocation", "first"), BREACHES, ids=[b[0] for b in BREACHES])
def test_each_rule_fires(rule, image, allocation, first):
    problems = load_problems(parse(image), allocation)
    assert rule in [problem.rule.name for problem in problems]
    assert problems[0].status is first
    assert all(problem.is_certain for problem in problems)
    assert str(problems[0]).count("\n") == 0


@pytest.mark.parametrize(
    ("field", "rule", "least"),
    [("size_of_image", "image-holds-table", 1), ("size_of_headers", "headers-hold-table", 0)],
)
def test_room_for_the_section_table(field, rule, least):
    """The reference asks for room for one entry more in the image than there is, in the headers for as many."""
    sound = parse(driver())
    entries = sound.file_header.number_of_sections + least
    needed = sound.section_table_offset + SECTION_HEADER_SIZE * entries
    for size, is_breach in ((needed - 1, True), (needed, False)):
        names = [problem.rule.name for problem in load_problems(parse(driver(overrides={field: size})), 0x10_0000)]
        assert (rule in names) is is_breach


def test_every_rule_is_covered_and_names_are_unique():
    names = [rule.name for rule in LOAD_RULES]
    assert len(set(names)) == len(names)
    assert {breach[0] for breach in BREACHES} == set(names)


def test_a_sound_driver_breaks_none():
    assert load_problems(parse(driver())) == ()
    assert load_problems(parse(driver()), 0x7F00_0000) == ()


def test_debug_data_that_no_section_holds_takes_memory():
    """The loader of the reference counts CodeView data without an address to the image."""
    assert load_problems(parse(with_codeview(0x2000 + 28))) == ()
    held, not_held = parse(with_codeview(0x2000 + 28)), parse(with_codeview(0, size=0x1000))
    assert image_pages(not_held) == image_pages(held) + 1


def test_only_these_breaches_switch_protection_off():
    assert [rule.name for rule in LOAD_RULES if rule.clears_protection] == ["page-alignment", "code-section"]


def test_rules_that_depend_on_the_address_are_uncertain_without_one():
    stripped = parse(driver(characteristics=STRIPPED, image_base=0x7F00_0000))
    (problem,) = load_problems(stripped)
    assert (problem.rule.name, problem.is_certain) == ("stripped-address", False)
    assert load_problems(stripped, 0x7F00_0000) == ()
    (problem,) = load_problems(stripped, 0x7F00_1000)
    assert problem.is_certain
    coarse = parse(driver(alignment=0x2000, relocations=b""))
    (problem,) = load_problems(coarse)
    assert (problem.rule.name, problem.is_certain) == ("header-moved", False)
    assert load_problems(coarse, 0x10_2000) == ()


def test_allocation_has_one_alignment_more():
    image = parse(driver(alignment=0x2000, relocations=b""))
    assert image.optional_header.size_of_image == 0x6000
    assert image_pages(image) == 8
    assert image_address(image, 0x10_1000) == 0x10_2000


def spans(image: bytes, **options):
    plan = plan_protection(parse(image), **options)
    return [(span.offset, span.length, span.attributes, span.contents) for span in plan.spans], plan.quirks


def test_pages_of_a_sound_driver():
    found, quirks = spans(driver())
    assert found == [
        (0x0000, 0x1000, XP, ("headers",)),
        (0x1000, 0x1000, RO, (".text",)),
        (0x2000, 0x1000, XP, (".data",)),
        (0x3000, 0x1000, XP | RO, (".reloc",)),
        (0x4000, 0x1000, XP, ()),
    ]
    assert quirks == ()


def test_pages_of_a_supervisor_image_carry_sp():
    found, _ = spans(driver(), supervisor=True)
    assert all(attributes & SP for _, _, attributes, _ in found)


def test_the_second_of_two_adjacent_code_sections_is_not_executable():
    image = build(text(), BuiltSection(".text2", CODE_BYTES, TEXT), data())
    found, quirks = spans(image)
    assert found == [
        (0x0000, 0x1000, XP, ("headers",)),
        (0x1000, 0x1000, RO, (".text",)),
        (0x2000, 0x3000, XP, (".text2", ".data")),
    ]
    assert [(quirk.kind, quirk.section) for quirk in quirks] == [(QuirkKind.ADJACENT_CODE, ".text2")]


def test_code_after_data_after_adjacent_code_is_executable_again():
    image = build(text(), BuiltSection(".two", CODE_BYTES, TEXT), data(), BuiltSection(".three", CODE_BYTES, TEXT))
    found, quirks = spans(image)
    assert found == [
        (0x0000, 0x1000, XP, ("headers",)),
        (0x1000, 0x1000, RO, (".text",)),
        (0x2000, 0x2000, XP, (".two", ".data")),
        (0x4000, 0x1000, RO, (".three",)),
        (0x5000, 0x1000, XP, ()),
    ]
    assert [quirk.section for quirk in quirks] == [".two"]


def test_sections_are_taken_by_address_not_by_table_order():
    image = build(text(address=0x3000), BuiltSection(".low", CODE_BYTES, TEXT, address=0x1000), data(address=0x4000))
    found, quirks = spans(image)
    assert [span[:3] for span in found] == [
        (0x0000, 0x1000, XP), (0x1000, 0x1000, RO), (0x2000, 0x1000, XP), (0x3000, 0x1000, RO), (0x4000, 0x2000, XP),
    ]  # fmt: skip
    assert quirks == ()


def test_flags_that_do_not_get_what_they_ask_for():
    image = build(
        BuiltSection(".rwx", CODE_BYTES, CODE | EXECUTE | READ | WRITE),
        BuiltSection(".exec", CODE_BYTES, DATA | EXECUTE | READ),
        BuiltSection(".tail", b"x", RODATA, virtual_size=0x2800),
    )
    _, quirks = spans(image)
    assert [(quirk.kind, quirk.section) for quirk in quirks] == [
        (QuirkKind.WRITABLE_CODE, ".rwx"),
        (QuirkKind.EXECUTE_WITHOUT_CODE, ".exec"),
        (QuirkKind.UNPROTECTED_TAIL, ".tail"),
    ]


def test_read_only_data_beyond_the_allocation():
    image = build(text(), BuiltSection(".far", b"x", RODATA, virtual_size=1, raw_size=0x4000))
    image = image.ljust(0x6000, b"\0")
    found, quirks = spans(image)
    assert found[-1] == (0x2000, 0x2000, XP | RO, (".far",))
    assert [quirk.kind for quirk in quirks] == [QuirkKind.READ_ONLY_PAST_END]


def test_no_plan_without_page_alignment():
    with pytest.raises(FormatError, match="do not begin on pages"):
        plan_protection(parse(driver(alignment=0x20, relocations=b"")))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([TEXT, RODATA, RWDATA]), st.integers(1, 2)), max_size=6),
)
def test_the_plan_covers_every_page_once_and_keeps_w_xor_x(shape):
    sections, address = [text()], 0x2000
    for index, (gap, flags, pages) in enumerate(shape):
        address += gap * 0x1000
        sections.append(BuiltSection(f".s{index}", bytes(0x1000 * pages), flags, address=address))
        address += pages * 0x1000
    image = parse(build(*sections))
    plan = plan_protection(image)
    assert sum(span.length for span in plan.spans) == plan.pages * 0x1000
    assert all(one.offset + one.length == two.offset for one, two in zip(plan.spans, plan.spans[1:], strict=False))
    assert all(span.attributes & (RO | XP) for span in plan.spans)
    assert plan.spans[0].offset == 0
    assert plan.spans[0].is_writable
