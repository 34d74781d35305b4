"""The checks: a sound image has no remarks, and each check finds the fault planted for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.inventory.checks import CHECKS
from mmsupervisor.inventory.dependencies import DXE_ONLY, read_dependency
from mmsupervisor.inventory.model import ImageReport, Role, Severity, Visibility
from mmsupervisor.inventory.survey import survey
from mmsupervisor.pi.depex import all_of, encode, encode_after, parse_expression
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.volume import FileAttribute, FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec
from mmsupervisor.pi.volume.build_section import build_lzma_section, build_section, join_sections
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from tests.inventory import mm_images as mm
from tests.pi.pe_builder import EXECUTE, READ, RODATA, TEXT, BuiltSection, PeBuilder

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
READY = encode(parse_expression("gMmRing3HandlerReadyProtocol"))
BASE = (mm.core(), mm.broker(), mm.policy())
POLICY = write_blob(default_policy())
PE, DEPEX = SectionType.PE32, SectionType.MM_DEPEX


def depex(text: str) -> bytes:
    return encode(parse_expression(text))


def echo(**changes: object) -> FileSpec:
    return mm.driver("Echo", **changes)  # type: ignore[arg-type]


def pe(*sections: BuiltSection, **fields: object) -> bytes:
    return PeBuilder(list(sections) or [BuiltSection(".text", b"\xc3" * 64, TEXT)], **fields).build()  # type: ignore[arg-type]


def encapsulated(type_: SectionType, data: bytes, *others: bytes) -> FileSpec:
    inner = build_lzma_section(build_section(type_, data))
    return replace(echo(), data=join_sections((*others, inner)))


def survey_of(*files: FileSpec) -> ImageReport:
    return survey(mm.volume(*files))


@dataclass(frozen=True)
class Fault:
    """A fault planted in an image, and what must be said of it."""

    check: str
    image: bytes
    says: str
    about: str | None = "Echo"


TE = b"VZ" + (0x8664).to_bytes(2, "little") + bytes([0, 11]) + (40).to_bytes(2, "little") + bytes(32)
FOLDED = PeBuilder([BuiltSection(".text", b"\xc3", TEXT)], alignment=0x200)
FAULTS = [
    Fault("C1", mm.volume(*BASE, mm.nested(mm.volume(mm.nested(mm.volume(echo()))))), "nested too deep"),
    Fault("C1", mm.volume(*BASE, mm.nested(mm.volume(echo()), FileType.FREEFORM)), "nested too deep"),
    Fault("C1", mm.volume(*BASE, echo(without=[PE]), mm.driver("IoMsr")), "ends before this file", "IoMsr"),
    Fault("C1", mm.volume(*BASE, replace(echo(), attributes=FileAttribute.LARGE_FILE)), "a large one"),
    Fault("C2", mm.volume(mm.core(), mm.broker()), "there is no policy", None),
    Fault("C2", mm.volume(mm.core(), mm.nested(mm.volume(mm.policy()))), "looks for it in its own, 0", None),
    Fault("C2", mm.volume(*BASE[:2], mm.policy(POLICY[:0x30])), "beyond the section", None),
    Fault("C2", mm.volume(*BASE[:2], mm.policy(POLICY[:4] + b"\xff\xff\0\0" + POLICY[8:])), "beyond the section", None),
    Fault("C2", mm.volume(*BASE[:2], mm.policy(POLICY[:0xC] + b"\1" + POLICY[0xD:])), "rule 11", None),
    Fault("C2", mm.volume(*BASE[:2], mm.policy(type_=PE)), "no RAW section", None),
    Fault("C3", mm.volume(*BASE, echo(without=[DEPEX])), "no MM_DEPEX section: the driver never runs"),
    Fault("C3", mm.volume(*BASE, echo(without=[PE])), "no PE32 section"),
    Fault("C3", mm.volume(*BASE, encapsulated(PE, pe(), build_section(DEPEX, READY))), "PE32 section is encaps", None),
    Fault("C3", mm.volume(*BASE, encapsulated(DEPEX, READY, build_section(PE, pe()))), "MM_DEPEX section is en", None),
    Fault(
        "C3",
        mm.volume(
            *BASE,
            replace(echo(), data=join_sections([build_section(DEPEX, READY), build_section(SectionType.TE, TE)])),
        ),
        "a TE section",
        None,
    ),
    Fault("C3", mm.volume(mm.core(without=[PE]), *BASE[1:]), "the core cannot be loaded"),
    Fault("C4", mm.volume(*BASE, echo(depex=depex("gEfiMmConfigurationProtocolGuid"))), "true without the broker"),
    Fault("C4", mm.volume(*BASE, echo(depex=mm.TRUE)), "may run first"),
    Fault("C4", mm.volume(*BASE, mm.driver("FirstBeforeBroker")), "may run first", "FirstBeforeBroker"),
    Fault("C4", mm.volume(mm.core(), mm.broker(depex=READY), mm.policy()), "not true from", "MmSupervisorRing3Broker"),
    Fault("C5", mm.volume(*BASE, mm.driver("NeedsDxeProtocol")), "DXE has and MM never", "NeedsDxeProtocol"),
    Fault("C5", mm.volume(*BASE, mm.driver("NeedsSor")), "SOR is not handled", "NeedsSor"),
    Fault("C5", mm.volume(*BASE, echo(depex=READY[:-1] + encode_after(mm.HOLDER))), "not the first opcode"),
    Fault("C5", mm.volume(*BASE, echo(depex=READY[:-1])), "has no END"),
    Fault("C5", mm.volume(*BASE, echo(depex=b"\x03\x08")), "found too few values"),
    Fault("C5", mm.volume(*BASE, echo(depex=depex("gMmRing3HandlerReadyProtocol AND FALSE"))), "false whatever"),
    Fault("C5", mm.volume(*BASE, echo(depex=encode_after(mm.HOLDER))), "is not in this image"),
    Fault("C7", mm.volume(*BASE, echo(image=FOLDED.build())), "page-alignment"),
    Fault("C7", mm.volume(*BASE, echo(image=pe(BuiltSection(".text", b"\xc3", RODATA)))), "code-section"),
    Fault("C7", mm.volume(*BASE, echo(image=pe(machine=0x14C, plus=False))), "PE32 IA32"),
    Fault("C7", mm.volume(*BASE, echo(image=pe(machine=0xAA64))), "AARCH64"),
    Fault("C7", mm.volume(*BASE, echo(image=pe(characteristics=0x222F))), "relocations are stripped"),
    Fault("C7", mm.volume(*BASE, echo(image=b"MZ not an image")), "cannot be read"),
    Fault(
        "C8",
        mm.volume(
            *BASE,
            echo(image=pe(BuiltSection(".text", b"\xc3" * 0x1000, TEXT), BuiltSection(".more", b"\xc3" * 8, TEXT))),
        ),
        "code directly after code",
    ),
    Fault(
        "C8",
        mm.volume(*BASE, echo(image=pe(BuiltSection(".text", b"\xc3", TEXT | 0x8000_0000)))),
        "flagged writable and code",
    ),
    Fault(
        "C8",
        mm.volume(
            *BASE, echo(image=pe(BuiltSection(".text", b"\xc3", TEXT), BuiltSection(".x", b"x", EXECUTE | READ)))
        ),
        "without CNT_CODE",
    ),
    Fault("cores", mm.volume(*BASE, mm.core(mm.OTHER_CORE), echo()), "there are 2 cores", None),
    Fault("cores", mm.volume(mm.core(mm.OTHER_CORE), *BASE[1:]), "not the MM Supervisor's"),
    Fault("brokers", mm.volume(*BASE, mm.broker()), "there are 2 brokers", "MmSupervisorRing3Broker"),
    Fault("order", mm.volume(*BASE, echo(depex=depex("gEfiMmCpuProtocolGuid"))), "do not ask for the broker"),
    Fault("volume", mm.volume(*BASE, mm.nested(mm.volume(echo()))), "in volume 1, the core in 0"),
    Fault("traditional", mm.volume(echo(type_=FileType.MM)), "a traditional SMM driver needs conversion", None),
    Fault("traditional", mm.volume(echo(type_=FileType.COMBINED_MM_DXE)), "needs conversion", None),
]


def test_a_sound_image_has_no_remarks_and_no_problems() -> None:
    found = survey_of(*mm.whole())
    assert found.remarks == ()
    assert found.problems == ()
    assert [module.role for module in found.modules] == [Role.SUPERVISOR_CORE, Role.BROKER, Role.STANDALONE_DRIVER]
    assert all(module.is_found for module in found.modules)
    assert found.summary == ("MM Supervisor core, ring-3 broker, 1 policy, 1 MM_STANDALONE driver",)
    (policy,) = found.policies
    assert policy.trouble == ""
    assert policy.version == "1.0"
    assert [(root.type, root.access) for root in policy.roots] == [
        ("IO", "deny"),
        ("MSR", "deny"),
        ("INSTRUCTION", "allow"),
        ("SAVE_STATE", "allow"),
        ("MEM", "deny"),
    ]


def test_our_own_drivers_pass_all_checks_but_those_they_are_made_to_break() -> None:
    made_to_fail = {"NeedsDxeProtocol", "NeedsSor", "FirstBeforeBroker", "RunsAfter", "RunsBefore"}
    names = [name for name in prebuilt.names() if name != "MmSupervisorRing3Broker" and name not in made_to_fail]
    found = survey_of(*BASE, *(mm.driver(name) for name in names))
    assert found.remarks == ()
    assert len(found.modules) == len(names) + 2


def test_a_supervised_image_in_a_main_volume_is_visible() -> None:
    found = survey(mm.volume(mm.nested(mm.volume(*mm.whole()))))
    assert found.remarks == ()
    assert found.volumes[1].visibility is Visibility.FROM_MAIN_VOLUME
    assert all(module.is_found for module in found.modules)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.check}-{fault.says}")
def test_a_planted_fault_is_found(fault: Fault) -> None:
    found = survey(fault.image)
    remarks = [remark for remark in found.remarks if remark.check == fault.check and fault.says in remark.text]
    assert remarks, found.remarks
    if fault.about is not None:
        assert remarks[0].module == fault.about


def test_every_check_has_a_planted_fault() -> None:
    assert {fault.check for fault in FAULTS} == {check.id for check in CHECKS}


def test_what_depends_on_the_address_is_no_remark() -> None:
    """An alignment above a page is refused at some addresses only: nothing certain can be said of it."""
    text = BuiltSection(".text", b"\xc3" * 16, TEXT)
    assert survey_of(*BASE, echo(image=PeBuilder([text], alignment=0x2000, entry=0x2000).build())).remarks == ()


def test_remarks_come_worst_first() -> None:
    found = survey_of(*BASE, echo(type_=FileType.MM, guid=mm.HOLDER), echo(depex=mm.TRUE), mm.nested(mm.volume(echo())))
    severities = [remark.severity for remark in found.remarks]
    assert set(severities) == set(Severity)
    assert severities == sorted(severities, key=list(Severity).index)


def test_nothing_is_said_to_be_missing_where_something_could_not_be_opened() -> None:
    closed = FileSpec(mm.HOLDER, FileType.FIRMWARE_VOLUME_IMAGE, build_unknown_section())
    found = survey_of(mm.core(), mm.broker(), closed, echo(depex=encode_after(mm.OTHER_CORE)))
    assert len(found.unopened) == 1
    assert found.remarks == ()
    assert "could not be opened" in found.summary[0]
    assert survey_of(closed).summary[1] == "no MM drivers in what could be opened"


def build_unknown_section() -> bytes:
    from mmsupervisor.pi.volume.build_section import build_guided_section

    return build_guided_section(mm.OTHER_CORE, b"packed", attributes=1)


def test_ordering_by_a_driver_of_the_image_is_fine() -> None:
    target = mm.driver("IoMsr")
    assert survey_of(*BASE, target, echo(depex=encode_after(target.guid))).remarks == ()


def test_the_protocols_of_dxe_are_those_of_the_fact_sheet() -> None:
    sheet = (DOCUMENTS / "reference/guids.md").read_text(encoding="utf-8")
    section = sheet.split("## 7. ")[1].split("\n## ")[0]
    rows = [
        line.split("|")[2].strip(" `")
        for line in section.splitlines()
        if line.startswith("| gE") or "| gP" in line[:5] or "| gG" in line[:5]
    ]
    assert {str(guid) for guid in DXE_ONLY} == set(rows)
    assert len(rows) == len(DXE_ONLY) == 31


def test_a_driver_that_can_do_without_dxe_is_not_blamed() -> None:
    text = "gMmRing3HandlerReadyProtocol AND (gEfiPcdProtocolGuid OR TRUE)"
    assert survey_of(*BASE, echo(depex=depex(text))).remarks == ()
    needs = all_of(Guid.parse("gMmRing3HandlerReadyProtocol"), Guid.parse("gEfiPcdProtocolGuid"))
    assert survey_of(*BASE, echo(depex=encode(needs))).remarks[0].check == "C5"


def test_the_document_lists_the_checks() -> None:
    document = (DOCUMENTS / "json-schemas.md").read_text(encoding="utf-8")
    rows = [f"| {check.id} | {check.severity.value} | {check.title} ({check.source}) |" for check in CHECKS]
    assert document.count("\n".join(rows)) == 1


def test_checks_name_a_fact_sheet_that_is_there() -> None:
    for check in CHECKS:
        for source in check.source.split(", "):
            sheet, _, section = source.partition(" §")
            text = (DOCUMENTS / "reference" / sheet).read_text(encoding="utf-8")
            assert f"# {section}" in text, check.id


def test_an_expression_beyond_the_bounds_is_never_true() -> None:
    allowance = Allowance(Limits(items=9))
    assert read_dependency(memoryview(mm.TRUE), "image", 0, allowance).is_true_at_start
    dependency = read_dependency(memoryview(b"\x06" * 8), "image", 0, allowance)
    (reason,) = dependency.never
    assert reason == dependency.report.trouble == "holds more than 9 items"
    assert not dependency.is_true_at_start
    assert not dependency.may_precede_broker
    assert dependency.stands_by is None
