"""The debug dump, line by line."""

from dataclasses import replace

import pytest

from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.dump import dump_entry, dump_policy
from mmsupervisor.policy.model import IoEntry, MemEntry, MsrEntry, PolicyBoundsError, PolicyRoot, SaveStateEntry


def test_the_dump_of_the_example():
    lines = list(dump_policy(default_policy()))
    assert lines[:10] == [
        "SMM_SUPV_SECURE_POLICY_DATA_V1_0:",
        "Version Major:1",
        "Version Minor:0",
        "Size:0x150",
        "MemoryPolicyOffset:0x0",
        "MemoryPolicyCount:0x0",
        "Flags:0",
        "Capabilities:0",
        "PolicyRootOffset:0x28",
        "PolicyRootCount:0x5",
    ]
    assert lines[10:19] == [
        "Policy Root:",
        "  Version: 1",
        "  PolicyRootSize: 18",
        "  Type: 2",
        "  Offset: a0",
        "  Count: 2",
        "  AccessAttr: DENY",
        "IO: [cf8-cfb] . W",
        "IO: [cfc-cff] . W",
    ]
    assert "MSR: [c0000081-c0000084] R W" in lines
    assert "INSTRUCTION: [2] X" in lines
    assert lines.count("  AccessAttr: ALLOW") == 2
    assert lines[-9:-7] == ["SAVESTATE: [0] 10 IoWrite", "SAVESTATE: [1] 1 Unconditional"]
    assert lines[-7:] == [
        "Policy Root:",
        "  Version: 1",
        "  PolicyRootSize: 18",
        "  Type: 1",
        "  Offset: 150",
        "  Count: 0",
        "  AccessAttr: DENY",
    ]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (MemEntry(0x1000, 0x2000, 7), "V1.0 MEM: [1000-2fff] R W X"),
        (MemEntry(0xDEADBEEF, 0, 0), "V1.0 MEM: [deadbeef-deadbeee] . . ."),
        (MemEntry(0, 0, 0), "V1.0 MEM: [0-ffffffffffffffff] . . ."),
        (IoEntry(0xFFFF, 4, 1), "IO: [ffff-10002] R ."),
        (MsrEntry(0xFFFFFFFF, 2, 2), "MSR: [ffffffff-0] . W"),
        (SaveStateEntry(7, 0x11, 1), "SAVESTATE: [7] 11 IoRead"),
        (SaveStateEntry(0, 0x10, 9), "SAVESTATE: [0] 10 IoWrite"),
    ],
)
def test_entries(entry, line):
    assert dump_entry(entry) == line


def test_an_access_attribute_that_is_neither_prints_as_deny():
    base = default_policy()
    odd = replace(base, roots=(replace(base.roots[0], access_attr=9),), root_count=1)
    assert "  AccessAttr: DENY" in list(dump_policy(odd))


def test_an_unknown_root_with_descriptors_ends_the_dump():
    base = default_policy()
    lines = list(dump_policy(replace(base, roots=(PolicyRoot(9, 0, count=1), *base.roots))))
    assert lines[-1] == "  AccessAttr: ALLOW"
    assert lines.count("Policy Root:") == 1
    empty = list(dump_policy(replace(base, roots=(PolicyRoot(9, 0), *base.roots))))
    assert empty.count("Policy Root:") == 6


def test_a_dump_that_would_leave_the_blob():
    base = default_policy()
    lines = dump_policy(replace(base, roots=(replace(base.roots[0], count=3),)))
    with pytest.raises(PolicyBoundsError):
        list(lines)
    with pytest.raises(PolicyBoundsError):
        list(dump_policy(replace(base, root_count=6)))
