"""The 24 cases of the reference's own tests of its policy tool, by their names there (reference-tests.md §2).

What that tool refuses on encoding an object is refused here by the reproduction of its encoder.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsupervisor.policy.blob import assemble, pack_entries, read_blob, write_blob
from mmsupervisor.policy.legacy import read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Entry,
    Instruction,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    attribute_text,
)
from mmsupervisor.policy.reference_tool import ReferenceToolError, reference_build
from mmsupervisor.policy.tool_decode import tool_refusal
from tests.policy import xml_samples as xml
from tests.policy.policy_vectors import UNIT_V1_0, UNIT_V2


@pytest.mark.parametrize(
    ("case", "value", "text"),
    [
        ("test_valid_Read_Inherited", 1, "READ"),
        ("test_valid_Write_Inherited", 2, "WRITE"),
        ("test_valid_Execute_Inherited", 4, "EXECUTE"),
        ("test_valid_Strict_Width_Inherited", 8, "STRICT_WIDTH"),
        ("test_valid_Inherited", 0, "no attribute"),
        ("test_valid_Cond_Read", 16, "COND_READ"),
        ("test_valid_Cond_Write", 32, "COND_WRITE"),
        ("test_valid_ReadWrite_Inherited", 3, "READ|WRITE"),
        ("test_valid_Cond_ReadWrite_Inherited", 48, "COND_READ|COND_WRITE"),
    ],
)
def test_attributes(case: str, value: int, text: str) -> None:
    assert (int(Attribute(value)), attribute_text(value)) == (value, text), case


def test_invalid_value() -> None:
    blob = write_blob(assemble([PolicyRoot(RootType.IO, AccessAttr.DENY, (IoEntry(100, 4, 6789),))]))
    assert str(tool_refusal(blob)).startswith("Exception: Invalid value")


@pytest.mark.parametrize(
    ("case", "entry", "kind", "packed"),
    [
        (
            "test_valid_memory_policy_entry",
            MemEntry(0x1000, 0x1000, 0x12345678),
            RootType.MEM,
            "0010000000000000 0010000000000000 78563412 00000000",
        ),
        ("test_valid_io_policy_entry", IoEntry(100, 4, 2), RootType.IO, "6400 0400 0200 0000"),
        ("test_valid_msr_policy_entry", MsrEntry(0xC0012000, 4, 3), RootType.MSR, "002001c0 0400 0300"),
        (
            "test_valid_instruction_policy_entry",
            InstructionEntry(Instruction.WBINVD, 0),
            RootType.INSTRUCTION,
            "0100 0000 00000000",
        ),
        (
            "test_valid_save_state_policy_entry",
            SaveStateEntry(0, 16, 2),
            RootType.SAVE_STATE,
            "00000000 10000000 02000000 00000000",
        ),
    ],
)
def test_valid_entries(case: str, entry: Entry, kind: RootType, packed: str) -> None:
    assert entry.KIND is kind, case
    assert pack_entries([entry]) == bytes.fromhex(packed)


@pytest.mark.parametrize(
    ("case", "root", "message"),
    [
        ("test_invalid_io_policy_entry", PolicyRoot(RootType.IO, 1, (IoEntry(0, 0, 0),)), "Invalid Data"),
        ("test_invalid_msr_policy_entry", PolicyRoot(RootType.MSR, 1, (MsrEntry(0, 0, 0),)), "Invalid Data"),
    ],
)
def test_invalid_entries(case: str, root: PolicyRoot, message: str) -> None:
    with pytest.raises(ReferenceToolError, match=message):
        reference_build(None, write_blob(assemble([root])))
    assert case


def test_invalid_memory_policy_entry() -> None:
    policy = assemble([PolicyRoot(RootType.MEM, 1, (MemEntry(0, 0, 0),))])
    plain = replace(policy, memory_policy_offset=0, memory_policy_count=0, extras=())
    with pytest.raises(ReferenceToolError, match="Invalid Data"):
        reference_build(None, write_blob(plain))


@pytest.mark.parametrize(
    ("case", "category", "message"),
    [
        (
            "test_invalid_instruction_policy_entry",
            xml.category("INSTRUCTION", xml.instruction("", "")),
            "-1 is not a valid SUPPORTED_INSTRUCTION",
        ),
        (
            "test_invalid_save_state_policy_entry",
            xml.category("SAVESTATE", xml.save_state("", "", "")),
            "-1 is not a valid ALLOWED_SAVE_STATE_FIELD",
        ),
    ],
)
def test_names_that_are_none(case: str, category: str, message: str) -> None:
    """By its command the tool stumbles in the dump, before the encoder's `Invalid Data` (isolation-policy.md §4.2)."""
    with pytest.raises(ReferenceToolError, match=message):
        reference_build(xml.policy(category))
    assert case


def test_valid_policy_root() -> None:
    root = PolicyRoot(RootType.MSR, AccessAttr.DENY)
    assert (root.type, root.access_attr, root.count) == (RootType.MSR, AccessAttr.DENY, 0)
    entry = MsrEntry(0xC0012000, 4, 3)
    policy = assemble([PolicyRoot(RootType.MSR, AccessAttr.DENY, (entry,))])
    assert reference_build(None, write_blob(policy)) == write_blob(policy)


def test_invalid_policy_root() -> None:
    with pytest.raises(ReferenceToolError, match="0 is not a valid POLICY_TYPE"):
        reference_build(None, write_blob(assemble([PolicyRoot(0, 0)])))


def test_valid_legacy_policy() -> None:
    policy = read_legacy_blob(UNIT_V2)
    assert (policy.version, [len(root.entries) for root in policy.roots()]) == (2, [2, 3, 2])
    assert write_legacy_blob(policy) == UNIT_V2 == reference_build(None, UNIT_V2)


def test_valid_policy() -> None:
    policy = read_blob(UNIT_V1_0)
    assert (policy.version_major, policy.version_minor) == (1, 0)
    assert [(root.type, len(root.entries)) for root in policy.roots] == [(2, 2), (3, 3), (4, 2), (5, 1), (1, 0)]
    assert write_blob(policy) == UNIT_V1_0 == reference_build(None, UNIT_V1_0)
