"""The strict XML reader and the writer: each refusal with its line; nothing is read otherwise than by the reference."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsupervisor.pi.errors import LimitError, MmSupervisorError, SourceError
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    Extra,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from mmsupervisor.policy.reference_tool import reference_build
from mmsupervisor.policy.xml_source import read_xml
from mmsupervisor.policy.xml_tree import read_xml_tree
from mmsupervisor.policy.xml_writer import NotExpressibleError, write_xml
from tests.policy import xml_samples as xml
from tests.policy.policy_vectors import EXAMPLE
from tests.policy.random_policies import expressible_policy


def test_the_example_is_taken() -> None:
    policy = read_xml(xml.EXAMPLE_XML)
    assert write_blob(policy) == EXAMPLE
    assert policy == default_policy()


def test_places_are_lines() -> None:
    text = b'<!-- c -->\n<SmmIsolationPolicy>\n <SmmCategory\n name="IO">\n<PolicyAccessAttribute Value="Deny"/>\n\n'
    policy = read_xml(text + xml.ranged(1, 1).encode() + b"</SmmCategory></SmmIsolationPolicy>", "a.xml")
    assert str(policy.roots[0].place) == "a.xml:3"
    assert str(policy.roots[0].entries[0].place) == "a.xml:7"


def io(*entries: str, access: str = "Deny") -> bytes:
    return xml.policy("\n", xml.category("IO", "\n", *entries, access=access))


def msr(*entries: str) -> bytes:
    return xml.policy("\n", xml.category("MSR", "\n", *entries))


def instructions(*entries: str) -> bytes:
    return xml.policy("\n", xml.category("INSTRUCTION", "\n", *entries, access="Allow"))


def save_states(*entries: str) -> bytes:
    return xml.policy("\n", xml.category("SAVESTATE", "\n", *entries, access="Allow"))


SECOND = "\n" + xml.ranged(1, 1)

REFUSED = [
    (io(access="allow"), 2, "`allow` is neither `Allow` nor `Deny`"),
    (io(access="NotAllowed"), 2, "`NotAllowed` is neither"),
    (io(access=""), 2, "`` is neither"),
    (b'<SmmIsolationPolicy><SmmCategory name="IO"/></SmmIsolationPolicy>', 1, "has no `PolicyAccessAttribute`"),
    (io("<PolicyAccessAttribute Value='Deny'/>"), 3, "a second `PolicyAccessAttribute`; the first is in line 2"),
    (io("<PolicyAccessAttribute/>"), 3, "a second `PolicyAccessAttribute`"),
    (b"<Policy/>", 1, "the document is `Policy`"),
    (b"<SmmIsolationPolicy xmlns='urn:x'/>", 1, "the document is `{urn:x}SmmIsolationPolicy`"),
    (b"<SmmIsolationPolicy><a:SmmCategory xmlns:a='u'/></SmmIsolationPolicy>", 1, "unknown element `{u}SmmCategory`"),
    (b"<SmmIsolationPolicy x=''/>", 1, "unknown attribute `x` of `SmmIsolationPolicy`"),
    (b"<SmmIsolationPolicy><SmmCategory/></SmmIsolationPolicy>", 1, "`SmmCategory` has no attribute `name`"),
    (xml.policy(xml.category("io")), 1, "unknown category `io`"),
    (xml.policy(xml.category("MEMORY")), 1, "unknown category `MEMORY`"),
    (xml.policy(xml.category("IO"), "\n", xml.category("IO")), 2, "a second category `IO`; the first is in line 1"),
    (xml.policy(f"<Deep>{xml.category('IO')}</Deep>"), 1, "unknown element `Deep`"),
    (io(xml.category("MSR")), 3, "unknown element `SmmCategory` in `SmmCategory`"),
    (io("stray"), 3, "text in `SmmCategory`"),
    (io(xml.entry("\n\n x ")), 5, "text in `PolicyEntry`"),
    (io(xml.entry(xml.value("Size", 1))), 3, "`PolicyEntry` has no `StartAddress`"),
    (io(xml.ranged(1, 1).replace("<Size", "\n<Size Value='2'/><Size")), 4, "a second `Size`; the first is in line 4"),
    (io(xml.ranged(1, 1).replace("<Size", "<Sizes Value='2'/><Size")), 3, "unknown element `Sizes` in `PolicyEntry`"),
    (io(xml.ranged(1, 1).replace("Value", "value")), 3, "unknown attribute `value` of `StartAddress`"),
    (io(xml.ranged(1, 1).replace("<PolicyEntry>", "<PolicyEntry a=''>")), 3, "unknown attribute `a` of `PolicyEntry`"),
    (io(xml.entry("<StartAddress/>", xml.value("Size", 1), xml.value("SecurityAttributes", "Read"))), 3, "`Value`"),
    (io(xml.ranged(1, 1).replace("<PolicyEntry>", f"<PolicyEntry>{xml.value('AccessCondition', 'x')}")), 3, "unknown"),
    (io(xml.ranged("010", 1)), 3, "`StartAddress` is no number: `010`"),
    (io(xml.ranged("x", 1)), 3, "`StartAddress` is no number: `x`"),
    (io(xml.ranged("\u0661", 1)), 3, "`StartAddress` is no number"),
    (io(xml.ranged("1" * 5000, 1)), 3, "`StartAddress` is no number"),
    (io(xml.ranged(-1, 1)), 3, "`StartAddress` is no number: `-1`"),
    (io(xml.ranged(0x10000, 1)), 3, "`StartAddress` 0x10000 is not from 0x0 to 0xffff"),
    (io(xml.ranged(1, 0)), 3, "`Size` 0x0 is not from 0x1 to 0xffff"),
    (io(xml.ranged(1, 0x10000)), 3, "`Size` 0x10000 is not from"),
    (io(xml.ranged(0xFFFF, 2)), 3, "runs beyond 0xffff"),
    (io(xml.ranged(1, 3, "Write StrictWidth")), 3, "no access has the strict width 3"),
    (msr(xml.ranged(1 << 32, 1)), 3, "`StartAddress` 0x100000000 is not from"),
    (msr(xml.ranged(0xFFFF_FFFF, 1)), 3, "runs beyond 0xfffffffe"),
    (io(xml.ranged(1, 1, "read")), 3, "unknown word `read`"),
    (io(xml.ranged(1, 1, "ReadWrite")), 3, "unknown word `ReadWrite`"),
    (io(xml.ranged(1, 1, "")), 3, "no access is named"),
    (io(xml.ranged(1, 1, "Read Read")), 3, "`Read` twice"),
    (io(xml.ranged(1, 1, "Execute")), 3, "no access is named that a decision looks at"),
    (io(xml.ranged(1, 1, "StrictWidth")), 3, "no access is named that a decision looks at"),
    (io(xml.ranged(1, 1, "LimitedRead")), 3, "`LimitedRead` means nothing on IO entries"),
    (msr(xml.ranged(1, 1, "Read StrictWidth")), 3, "`StrictWidth` means nothing on MSR entries"),
    (save_states(xml.save_state("RAX", "LimitedRead | Read", "IoWrite")), 3, "`LimitedRead` hides `Read`"),
    (save_states(xml.save_state("RAX", "Read Write")), 3, "`Write` means nothing on SAVE_STATE entries"),
    (save_states(xml.save_state("RAX", "Read LimitedWrite")), 3, "`LimitedWrite` means nothing"),
    (save_states(xml.save_state("RAX", "Read Execute")), 3, "`Execute` means nothing on SAVE_STATE entries"),
    (save_states(xml.save_state("RBX", "Read")), 3, "unknown save-state field `RBX`"),
    (save_states(xml.save_state("RAX", "LimitedRead", "Bogus")), 3, "unknown condition `Bogus`"),
    (save_states(xml.save_state("RAX", "Read", "IoWrite")), 3, "a condition goes with `LimitedRead` only"),
    (save_states(xml.save_state("RAX", "Read"), "\n", xml.save_state("rax", "Read")), 4, "rule 10"),
    (instructions(xml.instruction("RDMSR")), 3, "unknown instruction `RDMSR`"),
    (instructions(xml.instruction("CLI", "Read")), 3, "`Read` means nothing on INSTRUCTION entries"),
    (instructions(xml.instruction("CLI"), "\n", xml.instruction("cli")), 4, "rule 9"),
    (io(xml.ranged(1, 1), SECOND), 4, "IO entries 0 and 1 clash"),
    (io(xml.ranged(0, 4), SECOND), 4, "the earlier one: policy.xml:3"),
    (msr(xml.ranged(0, 4), SECOND), 4, "rule 8"),
    (b"<a>", 1, "not XML: no element found"),
    (b"\n<a></b>", 2, "not XML: mismatched tag"),
    (b"", 1, "not XML: no element found"),
    (b"<?xml version='1.0' encoding='no-such'?><a/>", 1, "not XML: "),
    (b"<?xml version='1.0' encoding='utf-7'?><a/>", 1, "not XML: "),
    (b"<!DOCTYPE a>\n<a/>", 1, "a document type declaration"),
    (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', 1, "a document type declaration"),
]


@pytest.mark.parametrize(("data", "line", "words"), REFUSED)
def test_refused_with_its_line(data: bytes, line: int, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_xml(data)
    assert (caught.value.line, words in caught.value.rule) == (line, True), str(caught.value)
    assert "\n" not in str(caught.value)


def test_most_of_what_is_refused_is_taken_by_the_reference() -> None:
    """That is why the strict reader exists: these all become a blob, silently."""
    taken = 0
    for data, _, _ in REFUSED:
        try:
            reference_build(data)
        except MmSupervisorError:
            continue
        taken += 1
    assert taken >= 35


def test_bounds() -> None:
    with pytest.raises(LimitError, match="more than 5 items"):
        read_xml(xml.EXAMPLE_XML, allowance=Allowance(Limits(items=5)))
    with pytest.raises(LimitError, match="nested deeper"):
        read_xml(b"<a>" * 100_000)


def test_the_tree_keeps_what_elementtree_keeps() -> None:
    from xml.etree import ElementTree

    data = b'<a b="1&amp;2&#10;" xmlns="u" xmlns:p="v" p:c="3">\n<d/>text<p:e><f>&lt;</f></p:e><d/></a>'
    ours, theirs = read_xml_tree(data, "x"), ElementTree.fromstring(data)
    assert [ours.tag, *(one.tag for one in ours.descendants())] == [one.tag for one in theirs.iter()]
    assert ours.attributes == theirs.attrib
    assert (ours.line, ours.children[0].line, ours.text_line) == (1, 2, 2)


WORDS = st.lists(st.sampled_from(["Read", "Write", "Execute", "StrictWidth", "LimitedRead", "read", "|"]), max_size=3)
NUMBERS = st.sampled_from(["0", "1", "0x4", "0o17", "0b1", "1_0", " 2 ", "010", "x", "0xFFFF", "0x10000", "0xC0000080"])
RANGED = st.builds(lambda a, b, w: xml.ranged(a, b, " | ".join(w)), NUMBERS, NUMBERS, WORDS)
INSTRUCTIONS = st.builds(xml.instruction, st.sampled_from(["CLI", "hlt", "x"]), WORDS.map(" ".join))
FIELDS, CONDITIONS = st.sampled_from(["RAX", "io_trap", "RBX"]), st.sampled_from([None, "IoWrite", "ioread", "x"])
SAVE_STATES = st.builds(xml.save_state, FIELDS, WORDS.map(" ".join), CONDITIONS)
CATEGORIES = st.one_of(
    st.builds(
        lambda name, entries, access: xml.category(name, *entries, access=access),
        st.sampled_from(names),
        st.lists(entries, max_size=2),
        st.sampled_from(["Allow", "Deny", "allow"]),
    )
    for names, entries in ((["IO", "MSR"], RANGED), (["INSTRUCTION"], INSTRUCTIONS), (["SAVESTATE"], SAVE_STATES))
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(CATEGORIES, max_size=3))
def test_what_the_strict_reader_takes_the_reference_reads_alike(categories: list[str]) -> None:
    data = xml.policy(*categories)
    try:
        policy = read_xml(data)
    except SourceError:
        return
    assert write_blob(policy) == reference_build(data)
    assert read_xml(write_xml(policy).encode()) == policy


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(st.sampled_from("<>/&;a='\" x!"), max_size=40).map(str.encode)))
def test_any_bytes_are_a_policy_or_an_error_of_ours(data: bytes) -> None:
    for read in (read_xml, reference_build):
        try:
            read(data)
        except MmSupervisorError as error:
            text = str(error)
        else:
            text = ""
        assert "\n" not in text


# ------------------------------------------------------------------------------------------------- the writer


def test_what_is_written_comes_back_by_the_references_reading() -> None:
    random = Random(7)
    for _ in range(1500):
        policy = expressible_policy(random)
        assert reference_build(write_xml(policy).encode()) == write_blob(policy)


@pytest.mark.parametrize(
    ("roots", "what"),
    [
        ([PolicyRoot(RootType.MEM, 1, (MemEntry(0, 1, 3),))], "memory entries"),
        ([PolicyRoot(RootType.MEM, 0)], "the MEM root is not an empty deny list at the end"),
        ([PolicyRoot(RootType.MEM, 1), PolicyRoot(RootType.IO, 1)], "the MEM root is not an empty deny list"),
        ([PolicyRoot(9, 1)], "there is no category for root 0"),
        ([PolicyRoot(RootType.IO, 1), PolicyRoot(RootType.IO, 1)], "root 1 (IO) is a second one"),
        ([PolicyRoot(RootType.IO, 2)], "neither an allow nor a deny list"),
        ([PolicyRoot(RootType.IO, 1, (IoEntry(0, 1, 1, 1),))], "the reserved field is not zero"),
        ([PolicyRoot(RootType.IO, 1, (IoEntry(0, 1, 0x41),))], "attribute bits without a name"),
        ([PolicyRoot(RootType.IO, 1, (IoEntry(0, 1, 0x11),))], "limited and unlimited access together"),
        ([PolicyRoot(RootType.IO, 1, (IoEntry(0, 1, 0x22),))], "limited and unlimited access together"),
        ([PolicyRoot(RootType.IO, 1, (IoEntry(0, 0, 1),))], "an empty range"),
        ([PolicyRoot(RootType.MSR, 1, (MsrEntry(0, 0, 1),))], "an empty range"),
        ([PolicyRoot(RootType.MSR, 1, (MsrEntry(0, 1, 9),))], "strict width"),
        ([PolicyRoot(RootType.INSTRUCTION, 1, (InstructionEntry(3, 4),))], "an instruction without a name"),
        ([PolicyRoot(RootType.SAVE_STATE, 1, (SaveStateEntry(2, 1, 0),))], "a field without a name"),
        ([PolicyRoot(RootType.SAVE_STATE, 1, (SaveStateEntry(0, 1, 3),))], "a condition without a name"),
        ([PolicyRoot(RootType.SAVE_STATE, 1, (SaveStateEntry(0, 5, 0),))], "execution of the save state"),
        ([PolicyRoot(RootType.IO, 1, reserved=b"abc")], "its header or its layout"),
        ([PolicyRoot(RootType.IO, 1, version=2)], "its header or its layout"),
    ],
)
def test_what_xml_cannot_express(roots: list[PolicyRoot], what: str) -> None:
    with pytest.raises(NotExpressibleError) as caught:
        write_xml(assemble(roots))
    assert what in str(caught.value)


def test_headers_that_xml_cannot_express() -> None:
    plain = default_policy()
    for changed in (
        replace(plain, flags=1),
        replace(plain, version_minor=1),
        replace(plain, extras=(Extra(plain.size, b"x"),)),
        replace(plain, size=plain.size + 1),
        replace(plain, roots=plain.roots[:-1]),
    ):
        with pytest.raises(NotExpressibleError):
            write_xml(changed)
