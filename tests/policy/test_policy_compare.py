"""Policies compared by meaning: every difference is one that the plain decisions make, and none is missing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.compare import AccessChange, compare
from mmsupervisor.policy.decide import decide_io, decide_msr
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    IoEntry,
    MemEntry,
    MsrEntry,
    Policy,
    PolicyBoundsError,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)
from tests.policy.random_policies import MSR_CENTRES, PORT_CENTRES, random_policy

ALLOW, DENY = 0, 1


def changes(a: Policy, b: Policy, kind: RootType) -> list[AccessChange]:
    return [one for one in compare(a, b) if one.kind is kind]


def test_a_policy_does_not_differ_from_itself() -> None:
    assert compare(default_policy(), default_policy()) == ()


def test_how_lists_are_written_plays_no_part() -> None:
    split = (IoEntry(0xCF8, 4, 0xA), *(IoEntry(0xCFC + n, 1, 2) for n in range(4)))
    a = assemble([PolicyRoot(RootType.IO, DENY, split)])
    b = assemble([PolicyRoot(RootType.IO, DENY, default_policy().roots[0].entries)])
    assert compare(a, b) == ()
    assert compare(shipped.policy("amd").policy, default_policy()) == ()


def test_what_an_entry_means() -> None:
    a = assemble([PolicyRoot(RootType.IO, ALLOW), PolicyRoot(RootType.MSR, ALLOW)])
    entry = IoEntry(0x70, 2, 3)
    b = assemble([PolicyRoot(RootType.IO, ALLOW, (entry,)), PolicyRoot(RootType.MSR, ALLOW, (MsrEntry(0x10, 2, 1),))])
    found = [str(one) for one in compare(a, b)]
    assert found == [
        "read 1 byte: ports 0x70..0x71",
        "read 2 bytes: ports 0x6f..0x71",
        "read 4 bytes: ports 0x6d..0x6e",  # at 0x6f it encloses the entry, which the reference does not see
        "read 4 bytes: ports 0x70..0x71",
        "write 1 byte: ports 0x70..0x71",
        "write 2 bytes: ports 0x6f..0x71",
        "write 4 bytes: ports 0x6d..0x6e",  # at 0x6f it encloses the entry, which the reference does not see
        "write 4 bytes: ports 0x70..0x71",
        "read: MSRs 0x10..0x11",
    ]
    assert all(one.allowed == (False, True) for one in compare(a, b))
    assert all(one.allowed == (True, False) for one in compare(b, a))
    decision = compare(a, b)[0].decisions[1]
    assert decision is not None
    assert decision.entry == entry


def test_each_difference_names_its_own_entries() -> None:
    """Neighbours that differ alike are told apart by the entries that make them differ, on either side."""
    listed = tuple(MsrEntry(number, 2, 3) for number in (0x10, 0x12, 0x14))
    a = assemble([PolicyRoot(RootType.MSR, DENY, listed)])
    b = assemble([PolicyRoot(RootType.MSR, DENY)])
    for one, two, side in ((a, b, 0), (b, a, 1)):
        reads = [change for change in compare(one, two) if change.access == "read"]
        assert [(change.first, change.last) for change in reads] == [(0x10, 0x11), (0x12, 0x13), (0x14, 0x15)]
        decisions = [change.decisions[side] for change in reads]
        assert [decision and decision.entry for decision in decisions] == list(listed)
        assert [decision and decision.index for decision in decisions] == [0, 1, 2]


def test_a_rule_up_to_the_last_port_ends_there() -> None:
    a = assemble([PolicyRoot(RootType.IO, ALLOW, (IoEntry(0xFFFF, 1, 3),))])
    b = assemble([PolicyRoot(RootType.IO, DENY)])
    found = changes(a, b, RootType.IO)
    assert [str(one) for one in found if one.access == "read"] == [
        "read 1 byte: ports 0x0..0xfffe",
        "read 2 bytes: ports 0x0..0xfffd",
        "read 4 bytes: ports 0x0..0xfffb",
    ]


def _allowed(decide: object, policy: Policy, *access: int) -> bool | None:
    try:
        return decide(policy, *access).allowed
    except PolicyBoundsError:
        return None


@pytest.mark.parametrize("seed", range(40))
def test_differences_are_those_of_the_plain_decisions(seed: int) -> None:
    random = Random(seed)
    a, b = random_policy(random), random_policy(random)
    if seed % 4 == 0:
        b = replace(b, roots=(replace(b.roots[0], count=99), *b.roots[1:]))
    found = compare(a, b)
    for access, mask in (("read", 1), ("write", 2)):
        for width, size in ((0, 1), (1, 2), (2, 4)):
            spans = [one for one in found if one.kind is RootType.IO and (one.access, one.width) == (access, size)]
            for centre in PORT_CENTRES:
                for port in range(max(centre - 6, 0), min(centre + 16, 0x10000 - size + 1)):
                    both = tuple(_allowed(decide_io, one, port, width, mask) for one in (a, b))
                    told = [one.allowed for one in spans if one.first <= port <= one.last]
                    assert told == ([both] if both[0] != both[1] else [])
        spans = [one for one in found if one.kind is RootType.MSR and one.access == access]
        for centre in MSR_CENTRES:
            for msr in range(max(centre - 2, 0), min(centre + 30, 1 << 32)):
                both = tuple(_allowed(decide_msr, one, msr, mask) for one in (a, b))
                told = [one.allowed for one in spans if one.first <= msr <= one.last]
                assert told == ([both] if both[0] != both[1] else [])


def test_instructions_and_save_state() -> None:
    base = default_policy()
    without = assemble(root for root in base.roots if root.type not in (RootType.INSTRUCTION, RootType.SAVE_STATE))
    found = [str(one) for one in compare(base, without)]
    assert found[:3] == ["execute: CLI", "execute: WBINVD", "execute: HLT"]
    assert "read 8 bytes: every other register of the save state without a port access" in found
    assert "read 1 byte: RAX of the save state on an input of 1 byte" in found
    reads_rax = PolicyRoot(RootType.SAVE_STATE, ALLOW, (SaveStateEntry(0, 1, 0),))
    only_rax = assemble([*base.roots[:3], reads_rax])
    assert [one.allowed for one in compare(base, only_rax) if "an input of 2" in one.subject] == [(False, True)]


def test_memory_of_fetched_policies() -> None:
    def fetched(*entries: MemEntry) -> Policy:
        return assemble([*default_policy().roots[:-1], PolicyRoot(RootType.MEM, ALLOW, entries)])

    a = fetched(MemEntry(0x1000, 0x2000, 3))
    b = fetched(MemEntry(0x1000, 0x1000, 1), MemEntry(0x2000, 0x2000, 3))
    assert [(str(one), one.allowed[1]) for one in changes(a, b, RootType.MEM)] == [
        ("write: memory 0x1000..0x1fff", False),
        ("read: memory 0x3000..0x3fff", True),
        ("write: memory 0x3000..0x3fff", True),
    ]
    assert [str(one) for one in changes(a, fetched(MemEntry(0x1000, 0x2000, 7)), RootType.MEM)] == [
        "execute: memory 0x1000..0x2fff"
    ]


def test_a_walk_that_leaves_the_policy_is_no_answer() -> None:
    base = default_policy()
    torn = replace(base, roots=(replace(base.roots[0], count=9), *base.roots[1:]))
    found = changes(base, torn, RootType.IO)
    assert {one.allowed for one in found} == {(True, None)}
    headless = replace(base, roots=(), root_count=5)
    assert {one.allowed[1] for one in compare(base, headless)} == {None}
