"""SecurityPolicyCheck: every rule with a violation and a harmless twin, the order, the omissions; then lint."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.check import check_status, io_pair_clashes, security_policy_check
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.lint import Lint, lint
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Entry,
    Extra,
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    Place,
    Policy,
    PolicyBoundsError,
    PolicyModelError,
    PolicyRoot,
    RootType,
    SaveStateEntry,
)

DENY, ALLOW = AccessAttr.DENY, AccessAttr.ALLOW
STRICT = Attribute.STRICT_WIDTH


def policy_of(*entries: Entry) -> Policy:
    policy = assemble([PolicyRoot(entries[0].KIND, DENY, tuple(entries))])
    return replace(policy, memory_policy_count=0)


def rule_of(policy: Policy) -> int | None:
    violation = security_policy_check(policy)
    return violation.rule if violation else None


def test_the_example_and_the_empty_policy_pass():
    assert security_policy_check(default_policy()) is None
    assert check_status(default_policy()) == Status.SUCCESS
    assert check_status(assemble(())) == Status.SUCCESS


def test_no_policy_is_an_invalid_parameter():
    assert check_status(None) == Status.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("reserved", "flags", "capabilities", "rule"),
    [(1, 1, 1, 1), (1, 1, 0, None), (1, 0, 1, None), (0, 1, 1, None), (0, 0, 0, None)],
)
def test_rule_1_needs_all_three(reserved, flags, capabilities, rule):
    policy = replace(default_policy(), reserved=reserved, flags=flags, capabilities=capabilities)
    assert rule_of(policy) == rule


def test_rule_2_a_second_root():
    one = PolicyRoot(RootType.IO, DENY)
    assert rule_of(assemble([one, one])) == 2
    assert rule_of(assemble([one, PolicyRoot(RootType.MSR, DENY)])) is None


def test_rule_3_an_unknown_root():
    assert rule_of(assemble([PolicyRoot(6, DENY)])) == 3
    assert rule_of(assemble([PolicyRoot(0, DENY)])) == 3
    assert rule_of(assemble([PolicyRoot(5, DENY)])) is None


@pytest.mark.parametrize("reserved", [b"\1\0\0", b"\0\1\0", b"\0\0\1"])
def test_rule_4_reserved_bytes_come_after_the_entries(reserved):
    root = PolicyRoot(RootType.IO, DENY, (IoEntry(1, 1, 1),), reserved=reserved)
    assert rule_of(assemble([root])) == 4
    assert rule_of(assemble([replace(root, reserved=bytes(3))])) is None
    assert rule_of(assemble([replace(root, entries=(IoEntry(1, 1, 1, 1),))])) == 6


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        # the earlier one is strict: only a later one that swallows it whole
        ([(0xCF8, 4, STRICT), (0xCF8, 4, 1)], 5),
        ([(0xCF8, 4, STRICT), (0xCF7, 6, 1)], 5),
        ([(0xCF8, 4, STRICT), (0xCF8, 4, STRICT)], 5),
        ([(0xCF8, 4, STRICT), (0xCF8, 2, 1)], None),
        ([(0xCF8, 4, STRICT), (0xCF7, 4, 1)], None),
        ([(0xCF8, 4, STRICT), (0xCF9, 8, STRICT)], None),
        # the earlier one is not strict: any overlap, and emptiness
        ([(0xCF8, 4, 1), (0xCFB, 1, STRICT)], 5),
        ([(0xCF8, 4, 1), (0xCFB, 4, 1)], 5),
        ([(0xCF8, 4, 1), (0xCFC, 4, 1)], None),
        ([(0xCF8, 4, 1), (0xD00, 0, 1)], 5),
        ([(0xD00, 0, 1), (0xCF8, 4, 1)], 5),
        ([(0xD00, 0, STRICT), (0xCF8, 4, 1)], None),
        ([(0xD00, 0, 1)], None),
        ([(0xFFFF, 0xFFFF, 1), (0x0, 1, 1)], None),  # beyond the ports, and compared in 64 bits
    ],
)
def test_rule_5_io_pairs(entries, rule):
    assert rule_of(policy_of(*(IoEntry(*entry) for entry in entries))) == rule


def test_rule_5_is_not_symmetric():
    inner, outer = IoEntry(0xCF9, 1, STRICT), IoEntry(0xCF8, 4, STRICT)
    assert rule_of(policy_of(outer, inner)) is None
    assert rule_of(policy_of(inner, outer)) == 5


def test_rules_6_and_9_reserved_fields():
    assert rule_of(policy_of(IoEntry(1, 1, 1, 1))) == 6
    assert rule_of(policy_of(IoEntry(1, 1, 1, 0))) is None
    assert rule_of(policy_of(InstructionEntry(0, 4, 1))) == 9
    assert rule_of(policy_of(InstructionEntry(0, 4, 0))) is None


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ([(0x1000, 0x1000), (0x1FFF, 1)], 7),
        ([(0x1000, 0x1000), (0x2000, 1)], None),
        ([(0x1000, 0x1000), (0x3000, 0)], 7),
        ([(0x3000, 0), (0x1000, 0x1000)], 7),
        ([(0x3000, 0)], None),
        ([(0x1000, 0x1000), ((1 << 64) - 0x1000, 0x1001)], 7),
        ([(0x1000, 0x1000), ((1 << 64) - 0x1000, 0x1000)], None),
        ([((1 << 64) - 1, 2)], None),
    ],
)
def test_rule_7_memory_pairs(entries, rule):
    assert rule_of(policy_of(*(MemEntry(base, size, 3) for base, size in entries))) == rule


def test_rule_7_reserved_field():
    assert rule_of(policy_of(MemEntry(0, 1, 1, 1))) == 7


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ([(0x10, 4), (0x13, 1)], 8),
        ([(0x10, 4), (0x14, 1)], None),
        ([(0x10, 4), (0x20, 0)], 8),
        ([(0x20, 0), (0x10, 4)], 8),
        ([(0x20, 0)], None),
        ([(0xFFFF_FFFF, 2), (0, 1)], None),  # compared in 64 bits
    ],
)
def test_rule_8_msr_pairs(entries, rule):
    assert rule_of(policy_of(*(MsrEntry(base, length, 3) for base, length in entries))) == rule


def test_rule_9_the_same_instruction_twice():
    assert rule_of(policy_of(InstructionEntry(1, 4), InstructionEntry(2, 4), InstructionEntry(1, 0))) == 9
    assert rule_of(policy_of(InstructionEntry(1, 4), InstructionEntry(99, 4))) is None


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ((0, Attribute.WRITE, 0), 10),
        ((0, Attribute.COND_WRITE | Attribute.COND_READ, 2), 10),
        ((0, Attribute.READ | Attribute.COND_READ, 2), 10),
        ((0, Attribute.READ, 2), 10),
        ((0, 0, 1), 10),
        ((0, Attribute.READ, 0, 1), 10),
        ((0, Attribute.READ, 0), None),
        ((0, Attribute.COND_READ, 2), None),
        ((0, Attribute.COND_READ, 0), None),
        ((0, 0, 0), None),
        ((77, Attribute.EXECUTE, 0), None),
    ],
)
def test_rule_10_save_state(entry, rule):
    assert rule_of(policy_of(SaveStateEntry(*entry))) == rule


def test_rule_10_the_same_field_twice():
    assert rule_of(policy_of(SaveStateEntry(0, 1, 0), SaveStateEntry(0, 0x10, 2))) == 10
    assert rule_of(policy_of(SaveStateEntry(0, 1, 0), SaveStateEntry(1, 0x10, 2))) is None


def test_rules_11_and_12():
    assert rule_of(replace(default_policy(), memory_policy_count=1)) == 11
    assert rule_of(replace(default_policy(), memory_policy_offset=1)) is None
    assert rule_of(replace(default_policy(), size=0x151)) == 12
    assert rule_of(replace(default_policy(), size=0x151, memory_policy_count=1)) == 11


def test_the_order_of_the_rules():
    bad = PolicyRoot(RootType.MSR, DENY, (MsrEntry(1, 1, 1), MsrEntry(1, 1, 1)), reserved=b"\1\1\1")
    policy = replace(assemble([PolicyRoot(RootType.IO, DENY), bad, PolicyRoot(9, DENY)]), memory_policy_count=1)
    assert rule_of(policy) == 8
    assert rule_of(replace(policy, flags=1, capabilities=1, reserved=1)) == 1
    first = PolicyRoot(RootType.IO, DENY, (IoEntry(1, 1, 1, reserved=1), IoEntry(1, 1, 1)))
    violation = security_policy_check(assemble([first]))
    assert violation is not None
    assert (violation.rule, violation.entry) == (6, 0)


def test_a_violation_names_the_place_and_the_partner():
    entries = (IoEntry(1, 1, 1), IoEntry(8, 8, 1), IoEntry(15, 1, 2, place=Place("my.xml", line=12)))
    violation = security_policy_check(assemble([PolicyRoot(RootType.IO, DENY, entries)]))
    assert violation is not None
    assert (violation.root, violation.entry, violation.other) == (0, 2, 1)
    assert "my.xml:12" in str(violation)
    assert str(violation).startswith("policy check rule 5: IO entries 1 and 2 clash")


def test_a_check_that_would_leave_the_blob():
    root = PolicyRoot(RootType.IO, DENY, (IoEntry(1, 1, 1),), count=2)
    with pytest.raises(PolicyBoundsError):
        security_policy_check(Policy((root,), root_count=1, size=80))
    with pytest.raises(PolicyBoundsError):
        security_policy_check(Policy((), root_count=1, size=40))
    twice = replace(root, entries=(IoEntry(1, 1, 1), IoEntry(1, 1, 1)), count=3)
    assert rule_of(Policy((twice,), root_count=1)) == 5  # found before


def slow_partner(entries: Sequence[Entry], index: int) -> int | None:
    """The reference's own loop over all earlier descriptors."""
    later = entries[index]
    for j in range(index):
        earlier = entries[j]
        if isinstance(earlier, IoEntry) and isinstance(later, IoEntry):
            clash = io_pair_clashes(earlier, later)
        else:
            assert isinstance(earlier, MsrEntry)
            assert isinstance(later, MsrEntry)
            clash = (
                not earlier.length
                or not later.length
                or (earlier.msr_address < later.end and later.msr_address < earlier.end)
            )
        if clash:
            return j
    return None


def test_the_fast_pair_search_finds_what_the_slow_one_finds():
    random = Random(1)
    outcomes = set()
    for _ in range(4000):
        span = random.choice((12, 40, 200))
        io = [
            IoEntry(random.randrange(span), random.choice((0, 1, 1, 2, 2, 4, 9)), random.choice((1, 1, 8, 8, 8)))
            for _ in range(random.randrange(9))
        ]
        msr = [MsrEntry(random.randrange(span), random.choice((0, 1, 2, 4)), 1) for _ in range(random.randrange(9))]
        for entries in (io, msr):
            if not entries:
                continue
            violation = security_policy_check(policy_of(*entries))
            slow = next(((i, j) for i in range(len(entries)) if (j := slow_partner(entries, i)) is not None), None)
            assert (violation and (violation.entry, violation.other)) == slow
            outcomes.add(slow)
    assert len(outcomes) > 20


def test_the_first_violation_of_ten_thousand_entries():
    """The reference takes the entries in order, and for each the earlier ones: the first pair that it meets wins."""
    random = Random(7)
    for planted in ([(9_998, 3)], [(9_000, 8_999), (7_000, 6_000), (7_001, 0)], [(5_000, 4_000), (5_000, 200)]):
        starts = random.sample(range(0, 0x10000, 4), 10_000)
        entries = [IoEntry(start, random.choice((1, 2, 4)), random.choice((1, 2, 3))) for start in starts]
        for later, earlier in planted:
            entries[later] = replace(entries[earlier], length_or_width=1)
        violation = security_policy_check(policy_of(*entries))
        assert violation is not None
        slow = next(i for i, j in sorted(planted) if slow_partner(entries, i) is not None)
        assert (violation.entry, violation.other) == (slow, slow_partner(entries, slow))


def test_a_root_refuses_entries_of_another_type():
    with pytest.raises(PolicyModelError, match="IO root cannot hold a MSR"):
        PolicyRoot(RootType.IO, DENY, (MsrEntry(1, 1, 1),))


# ------------------------------------------------------------------------------------------------------ lint


def lint_kinds(policy: Policy) -> set[Lint]:
    return {finding.kind for finding in lint(policy)}


def test_what_lint_says_about_the_example():
    findings = lint(default_policy())
    assert {finding.kind for finding in findings} == {Lint.STRICT_OPEN, Lint.MEANINGLESS_BITS}
    assert str(findings[0]).startswith("root 0 (IO) entry 0, IO 0xcf8, length 0x4, WRITE|STRICT_WIDTH: a strict deny")


def test_a_plain_policy_has_no_findings():
    roots = [
        PolicyRoot(RootType.IO, DENY, (IoEntry(0x70, 2, 3),)),
        PolicyRoot(RootType.MSR, DENY, (MsrEntry(0x10, 1, 3),)),
        PolicyRoot(RootType.INSTRUCTION, ALLOW, (InstructionEntry(0, 4),)),
        PolicyRoot(RootType.SAVE_STATE, ALLOW, (SaveStateEntry(0, 0x10, 2), SaveStateEntry(1, 1, 0))),
    ]
    assert lint(assemble(roots)) == ()


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ([IoEntry(1, 0, 1)], Lint.EMPTY),
        ([IoEntry(0xFFFF, 2, 1)], Lint.RUNS_OUT),
        ([IoEntry(1, 3, STRICT | 1)], Lint.STRICT_NEVER),
        ([IoEntry(1, 1, STRICT)], Lint.NAMES_NOTHING),
        ([IoEntry(1, 1, 0x41)], Lint.UNKNOWN_BITS),
        ([IoEntry(1, 1, 5)], Lint.MEANINGLESS_BITS),
        ([IoEntry(1, 8, 1), IoEntry(4, 1, 2)], Lint.UNREACHABLE),
        ([MsrEntry(1, 0, 1)], Lint.EMPTY),
        ([MsrEntry(0xFFFF_FFFF, 1, 1)], Lint.WRAPS),
        ([MsrEntry(1, 4, 1), MsrEntry(2, 2, 2)], Lint.UNREACHABLE),
        ([MsrEntry(1, 4, STRICT | 1)], Lint.MEANINGLESS_BITS),
        ([MemEntry(1, 0, 1)], Lint.EMPTY),
        ([InstructionEntry(3, 4)], Lint.UNKNOWN_NUMBER),
        ([InstructionEntry(1, 1)], Lint.NAMES_NOTHING),
        ([InstructionEntry(1, 4), InstructionEntry(1, 4)], Lint.UNREACHABLE),
        ([SaveStateEntry(2, 1, 0)], Lint.UNKNOWN_NUMBER),
        ([SaveStateEntry(0, 0x10, 3)], Lint.UNKNOWN_NUMBER),
        ([SaveStateEntry(0, 0x10, 1)], Lint.CONDITION_NEVER_MET),
        ([SaveStateEntry(0, 0x10, 0)], Lint.CONDITION_NEVER_MET),
        ([SaveStateEntry(0, 0, 0)], Lint.NAMES_NOTHING),
    ],
)
def test_lint_of_entries(entries, kind):
    assert kind in lint_kinds(policy_of(*entries))


def test_ranges_that_just_fit():
    assert lint_kinds(policy_of(IoEntry(0xFFFF, 1, 3))).isdisjoint({Lint.RUNS_OUT, Lint.EMPTY})
    assert lint_kinds(policy_of(MsrEntry(0xFFFF_FFFE, 1, 3))).isdisjoint({Lint.WRAPS, Lint.EMPTY})


def test_an_entry_that_is_reached_only_by_a_wide_access_is_not_unreachable():
    assert Lint.UNREACHABLE not in lint_kinds(policy_of(IoEntry(4, 2, STRICT | 1), IoEntry(4, 2, 1)))
    assert Lint.UNREACHABLE not in lint_kinds(policy_of(IoEntry(4, 4, 1), IoEntry(7, 2, 1)))


def test_lint_of_headers_and_roots():
    base = default_policy()
    root = base.roots[0]
    assert Lint.VERSION in lint_kinds(replace(base, version_minor=1))
    assert Lint.HEADER_BITS in lint_kinds(replace(base, flags=1))
    assert Lint.ROOTS_OUTSIDE in lint_kinds(replace(base, root_count=9))
    for changed, kind in (
        (replace(root, version=2), Lint.ROOT_FORM),
        (replace(root, root_size=1), Lint.ROOT_FORM),
        (replace(root, access_attr=7), Lint.ACCESS_ATTR),
        (replace(root, count=7), Lint.LIST_OUTSIDE),
        (replace(root, offset=0xB0), Lint.LISTS_SHARE_BYTES),
        (replace(root, offset=0x20), Lint.LISTS_SHARE_BYTES),
        (PolicyRoot(9, DENY), Lint.UNKNOWN_NUMBER),
    ):
        assert kind in lint_kinds(replace(base, roots=(changed, *base.roots[1:])))


def test_lint_of_missing_roots():
    kinds = lint_kinds(Policy(()))
    assert {Lint.ROOT_MISSING, Lint.SAVE_STATE_OPEN, Lint.NO_MEM_ROOT} <= kinds
    assert lint_kinds(default_policy()).isdisjoint(kinds)


def test_lint_sees_a_mem_root_in_the_way():
    base = default_policy()
    memory = replace(base.roots[-1], offset=0x148)
    assert Lint.MEM_ROOT_IN_THE_WAY in lint_kinds(replace(base, roots=(*base.roots[:-1], memory)))
    unset = replace(memory, offset=0)
    assert Lint.MEM_ROOT_IN_THE_WAY not in lint_kinds(replace(base, roots=(*base.roots[:-1], unset)))


def test_lint_and_the_check_are_apart():
    """What only lint sees passes the check, as on the device."""
    policy = replace(default_policy(), flags=1, extras=(Extra(0x150, b"x"),))
    assert security_policy_check(policy) is None
    assert Lint.HEADER_BITS in lint_kinds(policy)
