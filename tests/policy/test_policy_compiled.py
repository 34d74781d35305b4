"""Compiled decisions are the plain ones: everywhere, and the comparison notices when they are not.

:mod:`tests.policy.decisions` says at which addresses they are compared; a full sweep over all ports of one policy shows
that its argument holds.
"""

from random import Random

import pytest

from mmsupervisor.policy.blob import assemble, read_blob_as_runtime
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_instruction, decide_io, decide_msr
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import AccessAttr, IoEntry, Policy, PolicyRoot, RootType
from mmsupervisor.policy.save_state import IoTrap, IoType, decide_save_state_read
from mmsupervisor.policy.surprises import Surprise
from tests.policy.decisions import (
    MASKS,
    WIDTHS,
    critical_msrs,
    critical_ports,
    differences,
    io_differences,
    msr_differences,
    outcome,
    save_state_differences,
)
from tests.policy.policy_vectors import EXAMPLE
from tests.policy.random_policies import io_entry, msr_entry, random_policy


def test_every_port_width_and_access_of_the_example():
    policy = default_policy()
    assert io_differences(policy, CompiledPolicy(policy), critical_ports(policy)) == []
    assert msr_differences(policy, CompiledPolicy(policy)) == []


def test_a_full_sweep_over_all_ports():
    entries = (IoEntry(0xFFFE, 4, 1), IoEntry(0xCF8, 4, 10), IoEntry(0xCF9, 1, 3), IoEntry(0x70, 2, 2))
    policy = assemble([PolicyRoot(RootType.IO, AccessAttr.DENY, entries)])
    compiled = CompiledPolicy(policy)
    turns = set(critical_ports(policy))
    for width in WIDTHS:
        before: Decision | None = None
        for port in range(0x10000):
            plain = decide_io(policy, port, width, 2)
            assert compiled.io(port, width, 2) == plain
            assert plain == before or port in turns, "the argument about critical ports does not hold"
            before = plain


def test_a_hundred_thousand_random_decisions():
    """A million by command: see :mod:`tests.policy.decisions`."""
    assert list(differences(100_000, seed=20)) == []


def test_the_random_policies_meet_every_surprise_of_ports_and_msrs():
    random = Random(20)
    seen: set[Surprise] = set()
    for _ in range(40):
        policy = random_policy(random)
        for mask in MASKS:
            for port in critical_ports(policy):
                seen.update(decide_io(policy, port, 2, mask).surprises)
            for msr in critical_msrs(policy):
                seen.update(decide_msr(policy, msr, mask).surprises)
    assert seen == {
        Surprise.STRICT_OTHER_WIDTH,
        Surprise.FIRST_MATCH_STOPS,
        Surprise.FIRST_ROOT_ONLY,
        Surprise.PARTIAL_OVERLAP,
        Surprise.ACCESS_ATTR_ILLEGAL,
        Surprise.MSR_RANGE_WRAPS,
        Surprise.ENCLOSING_ACCESS,
    }


def test_save_state_of_random_policies():
    random = Random(9)
    for _ in range(40):
        policy = random_policy(random)
        compiled = CompiledPolicy(policy)
        assert save_state_differences(policy, compiled) == []
        assert save_state_differences(policy, compiled) == []  # from the table this time


def test_lists_that_run_out_of_the_blob():
    random = Random(3)
    for _ in range(60):
        attr = random.choice((0, 1, 7))
        io = PolicyRoot(RootType.IO, attr, tuple(io_entry(random) for _ in range(4)), count=random.choice((4, 9)))
        msr = PolicyRoot(RootType.MSR, attr, tuple(msr_entry(random) for _ in range(4)), count=random.choice((4, 9)))
        unused = PolicyRoot(RootType.IO, AccessAttr.DENY, (io_entry(random),), count=random.choice((1, 2)))
        policy = Policy((io, msr, unused), root_count=random.choice((3, 4)))
        compiled = CompiledPolicy(policy)
        assert io_differences(policy, compiled, critical_ports(policy)) == []
        assert msr_differences(policy, compiled) == []
        assert save_state_differences(policy, compiled) == []
        assert outcome(compiled.instruction, 0) == outcome(decide_instruction, policy, 0)


def test_a_hand_made_blob():
    blob = bytearray(EXAMPLE)
    blob[0x28 + 12 : 0x28 + 20] = bytes.fromhex("40010000 ff000000")
    policy = read_blob_as_runtime(bytes(blob))
    assert io_differences(policy, CompiledPolicy(policy), critical_ports(policy)) == []


@pytest.mark.parametrize("mask", [0, 4, 8, 0x30])
def test_malformed_requests(mask):
    policy = default_policy()
    compiled = CompiledPolicy(policy)
    for width in (-1, 0, 2, 3):
        for port in (-1, 0, 0xFFFF, 0x10000):
            assert compiled.io(port, width, mask) == decide_io(policy, port, width, mask)
            assert compiled.io(port, width, 1) == decide_io(policy, port, width, 1)
    assert compiled.msr(0, mask) == decide_msr(policy, 0, mask)


def test_other_bits_of_the_mask_take_part():
    policy = default_policy()
    compiled = CompiledPolicy(policy)
    for mask in (5, 6, 0x11, 0x42):
        for port in critical_ports(policy):
            assert outcome(compiled.io, port, 2, mask) == outcome(decide_io, policy, port, 2, mask)


# ---------------------------------------------------------------------- the comparisons notice planted faults


def test_a_shifted_step_is_noticed():
    policy = default_policy()
    compiled = CompiledPolicy(policy)
    compiled.io(0, 2, 2)
    table = compiled._ports[2, 2]
    for step in range(1, len(table.starts)):
        table.starts[step] += 1
        assert io_differences(policy, compiled, critical_ports(policy)) != []
        table.starts[step] -= 1
    assert io_differences(policy, compiled, critical_ports(policy)) == []


def test_a_wrong_value_is_noticed():
    policy = default_policy()
    compiled = CompiledPolicy(policy)
    compiled.io(0, 0, 2)
    compiled.msr(0, 1)
    for table, compared in (
        (compiled._ports[0, 2], lambda: io_differences(policy, compiled, critical_ports(policy))),
        (compiled._msrs[1], lambda: msr_differences(policy, compiled)),
    ):
        for step, right in enumerate(table.values):
            table.values[step] = decide_io(policy, 0x10000, 0, 1)
            assert compared() != []
            table.values[step] = right
        assert compared() == []


def test_a_wrong_save_state_decision_is_noticed():
    policy = default_policy()
    compiled = CompiledPolicy(policy)
    assert save_state_differences(policy, compiled) == []
    key = (512, 24, IoTrap(IoType.OUTPUT, 2))
    compiled._save_states[key] = decide_save_state_read(policy, 512, 25, IoTrap(IoType.OUTPUT, 2))
    assert save_state_differences(policy, compiled) == [key]
