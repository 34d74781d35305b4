"""The reference's tool, reproduced: outputs byte for byte, and every refusal by name."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest

from mmsupervisor.pi.errors import SourceError
from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.model import (
    AccessAttr,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from mmsupervisor.policy.reference_tool import ReferenceToolError, reference_build
from tests.policy import xml_samples as xml
from tests.policy.policy_vectors import EMPTY, EXAMPLE, EXAMPLE_SHA256, UNIT_V1_0, UNIT_V2


def refusal(*arguments: object) -> str:
    with pytest.raises(ReferenceToolError) as caught:
        reference_build(*arguments)
    return str(caught.value.refusal)


def test_the_example() -> None:
    blob = reference_build(xml.EXAMPLE_XML)
    assert blob == EXAMPLE
    assert hashlib.sha256(blob).hexdigest() == EXAMPLE_SHA256


@pytest.mark.parametrize(
    "data",
    [
        b"<Anything/>",
        b'<P xmlns="urn:x"><SmmCategory name="IO"/></P>',
        b'<P xmlns:a="urn:x"><a:SmmCategory name="IO"/></P>',
        b'<SmmCategory name="IO"/>',
        b"<P><PolicyEntry/></P>",
    ],
)
def test_no_category_is_the_empty_policy(data: bytes) -> None:
    assert reference_build(data) == EMPTY


@pytest.mark.parametrize(
    ("category", "body"),
    [
        (xml.category("IO", xml.ranged("0b11", "0o17", "LimitedRead | Read")), "0300 0f00 1000 0000"),
        (xml.category("IO", xml.ranged(0, 1, "LimitedRead LimitedWrite Execute StrictWidth")), "0000 0100 3c00 0000"),
        (xml.category("IO", xml.ranged(" 1_0 ", 1, "read")), "0a00 0100 0000 0000"),
        (xml.category("IO", xml.ranged(0xFFFF, 0xFFFF, "Overwriters, Reading")), "ffff ffff 0100 0000"),
        (xml.category("MSR", xml.ranged(1, 1, "Read|StrictWidth")), "0100 0000 0100 0100"),
        (xml.category("INSTRUCTION", xml.instruction("cli")), "0000 0400 0000 0000"),
        (
            xml.category("SAVESTATE", xml.save_state("rax", "LimitedRead", "iowrite")),
            "0000 0000 1000 0000 0200 0000 0000 0000",
        ),
        (
            xml.category("SAVESTATE", xml.save_state("RAX", "LimitedRead", "Bogus")),
            "0000 0000 1000 0000 0000 0000 0000 0000",
        ),
        (
            xml.category("SAVESTATE", xml.save_state("RAX", "Execute Read")),
            "0000 0000 0100 0000 0000 0000 0000 0000",
        ),
        (
            xml.category("SAVESTATE", xml.save_state("RAX", "Read").replace("</Pol", "<AccessCondition/></Pol")),
            "0000 0000 0100 0000 0000 0000 0000 0000",
        ),
        (xml.category("IO", xml.ranged(1, 1) + xml.ranged(1, 1)), "0100 0100 0200 0000 0100 0100 0200 0000"),
        (xml.category("IO", "<Other/>", xml.ranged(1, 1)), "0100 0100 0200 0000"),
    ],
)
def test_bodies(category: str, body: str) -> None:
    assert reference_build(xml.policy(category))[40 + 24 + 24 :] == bytes.fromhex(body)


@pytest.mark.parametrize(
    ("access", "attr"),
    [("Allow", 0), ("NotAllowed", 0), ("allow", 1), ("Deny", 1), ("", 1), ("ALLOW", 1)],
)
def test_access_words(access: str, attr: int) -> None:
    assert reference_build(xml.policy(xml.category("IO", access=access)))[40 + 20] == attr
    assert reference_build(b'<P><SmmCategory name="IO"/></P>')[40 + 20] == 1


def test_categories_are_found_at_any_depth() -> None:
    inner = xml.category("MSR", xml.ranged(2, 2))
    nested = xml.category("IO", xml.ranged(1, 1), f"<Deep>{inner}</Deep>")
    flat = xml.policy(xml.category("IO", xml.ranged(1, 1)), inner)
    assert reference_build(xml.policy(nested)) == reference_build(flat)


NO_ELEMENT = "AttributeError: 'NoneType' object has no attribute 'get'"
NO_TEXT = "TypeError: argument of type 'NoneType' is not iterable"
START, SIZE, WRITE = xml.value("StartAddress", 1), xml.value("Size", 1), xml.value("SecurityAttributes", "Write")


def io(*entries: str) -> bytes:
    return xml.policy(xml.category("IO", *entries))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"hello", "xml.etree.ElementTree.ParseError: syntax error: line 1, column 0"),
        (b"", "xml.etree.ElementTree.ParseError: no element found: line 1, column 0"),
        (b"<P>&x;</P>", "xml.etree.ElementTree.ParseError: undefined entity: line 1, column 3"),
        (xml.policy(xml.category("MEMORY")), "NotImplementedError: Can't encode policy root of type MEMORY"),
        (xml.policy(xml.category("io")), "NotImplementedError: Can't encode policy root of type io"),
        (b"<P><SmmCategory/></P>", "NotImplementedError: Can't encode policy root of type None"),
        (
            xml.policy(xml.category("IO"), xml.category("IO")),
            "RuntimeError: Can't add duplicated policy of same type 2",
        ),
        (xml.policy(xml.category("IO"), xml.category("IO", xml.entry())), NO_ELEMENT),
        (io(xml.entry(SIZE, WRITE)), NO_ELEMENT),
        (io(xml.entry(START, WRITE)), NO_ELEMENT),
        (io(xml.entry(START, SIZE)), NO_ELEMENT),
        (io(xml.entry(xml.value("StartAddress", "x"), SIZE)), NO_ELEMENT),
        (io(xml.entry("<StartAddress/>", SIZE, WRITE)), "TypeError: int() can't convert non-string with explicit base"),
        (io(xml.entry(START, SIZE, "<SecurityAttributes/>")), NO_TEXT),
        (io(xml.entry(xml.value("StartAddress", "x"), SIZE, "<SecurityAttributes/>")), NO_TEXT),
        (b'<P><SmmCategory name="X"><PolicyAccessAttribute/></SmmCategory></P>', NO_TEXT),
        (io(xml.ranged("x", 1)), "ValueError: invalid literal for int() with base 0: 'x'"),
        (io(xml.ranged("010", 1)), "ValueError: invalid literal for int() with base 0: '010'"),
        (io(xml.ranged("", 1)), "ValueError: invalid literal for int() with base 0: ''"),
        (io(xml.ranged(0x10000, 0)), "Exception: Invalid Data"),
        (io(xml.ranged(1, 0)), "Exception: Invalid Data"),
        (xml.policy(xml.category("MSR", xml.ranged(1, 0))), "Exception: Invalid Data"),
        (io(xml.ranged(0x10000, 1)), "struct.error"),
        (io(xml.ranged(1, 0x10000)), "struct.error"),
        (io(xml.ranged(-1, 1)), "struct.error"),
        (io(xml.ranged(1, -1)), "struct.error"),
        (xml.policy(xml.category("MSR", xml.ranged(1 << 32, 1))), "struct.error"),
        (xml.policy(xml.category("MSR", xml.ranged(1, 0x10000))), "struct.error"),
        (
            xml.policy(xml.category("INSTRUCTION", xml.instruction("RDMSR"))),
            "ValueError: -1 is not a valid SUPPORTED_INSTRUCTION",
        ),
        (
            xml.policy(xml.category("IO", xml.ranged(1, 0)), xml.category("INSTRUCTION", xml.instruction(" CLI"))),
            "ValueError: -1 is not a valid SUPPORTED_INSTRUCTION",
        ),
        (
            xml.policy(xml.category("SAVESTATE", xml.save_state("RBX", "Read"))),
            "ValueError: -1 is not a valid ALLOWED_SAVE_STATE_FIELD",
        ),
    ],
)
def test_refusals(data: bytes, expected: str) -> None:
    assert refusal(data) == expected


def test_document_type_declarations_are_refused() -> None:
    with pytest.raises(SourceError, match="document type declaration"):
        reference_build(b'<!DOCTYPE P [<!ENTITY x "IO">]><P><SmmCategory name="&x;"/></P>')


def test_the_line_is_told() -> None:
    with pytest.raises(ReferenceToolError, match=r"^a\.xml:2: the reference's tool ends with ValueError"):
        reference_build(io("\n", xml.ranged("x", 1)), xml_file="a.xml")


# ------------------------------------------------------------------------------------- with a blob to begin with


def blob(*roots: PolicyRoot) -> bytes:
    return write_blob(assemble(roots))


@pytest.mark.parametrize("vector", [EXAMPLE, EMPTY, UNIT_V1_0, UNIT_V2])
def test_blobs_come_back(vector: bytes) -> None:
    assert reference_build(None, vector) == vector
    assert reference_build(None, vector + b"tail") == vector


def test_categories_are_added_behind_the_blobs_roots() -> None:
    before = blob(PolicyRoot(RootType.IO, 0, (IoEntry(0, 1, 1, reserved=7),), reserved=b"abc"))
    after = reference_build(xml.policy(xml.category("MSR", xml.ranged(1, 1, "Read"))), before)
    roots = [PolicyRoot(RootType.IO, 0, (IoEntry(0, 1, 1),)), PolicyRoot(RootType.MEM, 1)]
    assert after == blob(*roots, PolicyRoot(RootType.MSR, 1, (MsrEntry(1, 1, 1),)))
    assert refusal(io(), before) == "RuntimeError: Can't add duplicated policy of same type 2"


def test_the_blobs_version_replaces_the_asked_one() -> None:
    version = struct.pack("<I", 0x20001)
    assert reference_build(None, version + EXAMPLE[4:], 2)[:4] == version
    assert reference_build(None, UNIT_V2, 0x10000)[:4] == UNIT_V2[:4]
    assert reference_build(b"<P/>", None, 0x20001)[:4] == version


def test_legacy_output() -> None:
    data = xml.policy(
        xml.category("MSR", xml.ranged(1, 2, "Read"), access="Allow"),
        xml.category("INSTRUCTION", xml.instruction("hlt")),
        xml.category("IO", xml.ranged(1, 1)),
    )
    assert reference_build(data, None, 2).hex() == (
        "020000005e00000028000000000000004c0000000100000028000000010000003c00000001000000"
        "0100000003000000140000000100000002000100"
        "01000000040000001000000002000400"
        "010000000200000012000000010001000200"
    )
    unsupported = "NotImplementedError: Discovered unsupported policy descriptor type 5"
    assert refusal(xml.policy(xml.category("SAVESTATE")), None, 2) == unsupported
    assert refusal(xml.policy(xml.category("SAVESTATE")), UNIT_V2) == unsupported


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (PolicyRoot(RootType.INSTRUCTION, 0, (InstructionEntry(5, 4),)), "5 is not a valid SUPPORTED_INSTRUCTION"),
        (PolicyRoot(RootType.SAVE_STATE, 0, (SaveStateEntry(5, 1, 0),)), "5 is not a valid ALLOWED_SAVE_STATE_FIELD"),
        (
            PolicyRoot(RootType.SAVE_STATE, 0, (SaveStateEntry(0, 16, 5),)),
            "5 is not a valid ALLOWED_SAVE_STATE_ACCESS_CONDITION",
        ),
        (PolicyRoot(9, 0), "9 is not a valid POLICY_TYPE"),
        (PolicyRoot(RootType.IO, 0, (IoEntry(0, 0, 1),)), "Invalid Data"),
        (PolicyRoot(RootType.IO, 2, (IoEntry(0, 1, 1),)), "Invalid value"),
        (PolicyRoot(RootType.IO, 0, (IoEntry(0, 1, 64),)), "Invalid value"),
    ],
)
def test_blobs_that_cannot_be_written_again(root: PolicyRoot, expected: str) -> None:
    assert refusal(None, blob(root)).endswith(f": {expected}")


def test_legacy_blobs_that_are_refused() -> None:
    assert refusal(None, UNIT_V2[:-1]).startswith("an exception on the legacy blob: Size")
    head = struct.pack("<10I", 2, 58, 40, 0, 40, 1, 40, 0, 40, 0)
    assert refusal(None, head + struct.pack("<IIIHHH", 1, 2, 18, 1, 1, 64)) == "Exception: Invalid value"
    assert refusal(None, b"12").startswith("an exception on the legacy blob")
    assert refusal(None, struct.pack("<I", 0x10000)) == "struct.error"


def test_memory_entries_are_written_twice() -> None:
    policy = assemble([PolicyRoot(RootType.MEM, AccessAttr.ALLOW, (MemEntry(0x1000, 0x1000, 3),))])
    fetched = write_blob(replace(policy, memory_policy_offset=0, memory_policy_count=0, extras=()))
    assert reference_build(None, fetched) == write_blob(policy)
    empty = assemble([PolicyRoot(RootType.MEM, AccessAttr.ALLOW, (MemEntry(0x1000, 0, 3),))])
    fetched = write_blob(replace(empty, memory_policy_offset=0, memory_policy_count=0, extras=()))
    assert refusal(None, fetched) == "Exception: Invalid Data"
