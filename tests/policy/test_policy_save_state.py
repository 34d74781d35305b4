"""Save-state decisions: the effect table of isolation-policy.md §9, each step, and the surprises."""

import pytest

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.decision import Reason
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Policy,
    PolicyBoundsError,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
)
from mmsupervisor.policy.save_state import (
    IoTrap,
    IoType,
    SaveStateRegister,
    decide_save_state_read,
    decide_save_state_write,
)
from mmsupervisor.policy.surprises import Surprise

ALLOW, DENY = AccessAttr.ALLOW, AccessAttr.DENY
READ, COND = Attribute.READ, Attribute.COND_READ
OK, DENIED, INVALID, NOT_FOUND = (
    Status.SUCCESS,
    Status.ACCESS_DENIED,
    Status.INVALID_PARAMETER,
    Status.NOT_FOUND,
)
RAX, IO, LMA, PROCESSOR_ID = SaveStateRegister
RBX, RIP = 39, 46
OUT8, OUT16, OUT32, OUT64 = (IoTrap(IoType.OUTPUT, width) for width in range(4))
IN8, IN32 = IoTrap(IoType.INPUT, 0), IoTrap(IoType.INPUT, 2)


def policy_of(attr: int, *entries: tuple[int, int, int]) -> Policy:
    return assemble([PolicyRoot(RootType.SAVE_STATE, attr, tuple(SaveStateEntry(*entry) for entry in entries))])


@pytest.mark.parametrize(
    ("register", "width", "io", "status"),
    [
        (IO, 24, OUT8, OK),
        (IO, 24, OUT32, OK),
        (IO, 24, IN8, DENIED),
        (IO, 24, IN32, DENIED),
        (IO, 24, NOT_FOUND, NOT_FOUND),
        (IO, 25, OUT8, DENIED),
        (IO, 4, OUT8, OK),
        (RAX, 1, OUT8, DENIED),
        (RAX, 1, OUT16, OK),
        (RAX, 2, OUT16, DENIED),
        (RAX, 1, OUT32, OK),
        (RAX, 2, OUT32, OK),
        (RAX, 4, OUT32, DENIED),
        (RAX, 8, OUT32, DENIED),
        (RAX, 1, IN32, DENIED),
        (RAX, 1, NOT_FOUND, NOT_FOUND),
        (LMA, 1, OUT32, DENIED),
        (RBX, 8, OUT32, DENIED),
        (RIP, 8, NOT_FOUND, DENIED),
        (PROCESSOR_ID, 8, NOT_FOUND, OK),
        (PROCESSOR_ID, 8, OUT8, OK),
    ],
)
def test_effects_of_the_example_policy(register, width, io, status):
    assert decide_save_state_read(default_policy(), register, width, io).status == status


def test_no_policy_and_no_root():
    decision = decide_save_state_read(None, RAX, 8, OUT8)
    assert (decision.status, decision.step) == (INVALID, 1)
    empty = assemble(())
    for register in (RAX, IO, LMA, RBX):
        open_door = decide_save_state_read(empty, register, 8, NOT_FOUND)
        assert (open_door.status, open_door.step) == (OK, 2)
        assert open_door.surprises == (Surprise.SAVE_STATE_ROOT_ABSENT,)
    assert decide_save_state_read(empty, PROCESSOR_ID, 8, NOT_FOUND).surprises == ()


def test_writing_is_always_denied():
    assert decide_save_state_write().status == DENIED


@pytest.mark.parametrize(("attr", "status"), [(ALLOW, DENIED), (DENY, OK)])
def test_registers_without_a_field_and_missing_entries_follow_the_list(attr, status):
    policy = policy_of(attr)
    assert decide_save_state_read(policy, RBX, 8, OUT8).status == status
    missing = decide_save_state_read(policy, RAX, 8, NOT_FOUND)
    assert (missing.status, missing.reason) == (status, Reason.NO_MATCH)


def test_an_entry_in_a_deny_list_denies_what_it_matches():
    policy = policy_of(DENY, (SaveStateField.RAX, READ, 0))
    assert decide_save_state_read(policy, RAX, 1, OUT32).status == DENIED
    assert decide_save_state_read(policy, RAX, 1, NOT_FOUND).status == NOT_FOUND
    unmet = policy_of(DENY, (SaveStateField.RAX, COND, 2))
    assert decide_save_state_read(unmet, RAX, 8, IN32).status == OK
    assert decide_save_state_read(unmet, RAX, 8, OUT32).reason is Reason.TOO_WIDE


def test_a_condition_that_does_not_hold_comes_before_the_width():
    decision = decide_save_state_read(policy_of(DENY, (SaveStateField.RAX, COND, 2)), RAX, 4096, IN8)
    assert (decision.status, decision.reason) == (OK, Reason.CONDITION_UNMET)


def test_an_unconditional_read_with_a_condition_is_invalid():
    for attr in (ALLOW, DENY):
        decision = decide_save_state_read(policy_of(attr, (SaveStateField.RAX, READ, 2)), RAX, 1, OUT32)
        assert (decision.status, decision.step) == (INVALID, 8)


def test_read_wins_over_conditional_read():
    policy = policy_of(ALLOW, (SaveStateField.RAX, READ | COND, 0))
    assert decide_save_state_read(policy, RAX, 2, IN32).status == OK


def test_the_io_read_asks_again_for_rax():
    refused = decide_save_state_read(default_policy(), IO, 24, IN8)
    assert (refused.reason, refused.step) == (Reason.RAX_REFUSED, 11)
    assert refused.cause is not None
    assert refused.cause.entry == SaveStateEntry(SaveStateField.RAX, COND, 2)
    assert "RAX is refused" in str(refused)
    only_io = policy_of(ALLOW, (SaveStateField.IO_TRAP, READ, 0))
    assert decide_save_state_read(only_io, IO, 24, OUT8).reason is Reason.RAX_REFUSED
    deny_io = policy_of(DENY, (SaveStateField.IO_TRAP, READ, 0))
    assert decide_save_state_read(deny_io, IO, 24, OUT8).reason is Reason.MATCH


def test_rax_width_is_capped_by_an_enum():
    policy = default_policy()
    for io, width in ((OUT8, 1), (OUT16, 2), (OUT32, 3), (OUT32, 4), (OUT64, 8)):
        decision = decide_save_state_read(policy, RAX, width, io)
        assert (decision.reason, decision.surprises) == (Reason.TOO_WIDE, (Surprise.RAX_WIDTH_ENUM,))
    assert decide_save_state_read(policy, RAX, 5, OUT32).surprises == ()
    deny = policy_of(DENY, (SaveStateField.RAX, READ, 0))
    assert decide_save_state_read(deny, RAX, 4, OUT32).surprises == ()  # denied by the list anyway


def test_unconditional_rax_still_needs_an_io_trap():
    decision = decide_save_state_read(policy_of(ALLOW, (SaveStateField.RAX, READ, 0)), RAX, 1, NOT_FOUND)
    assert (decision.status, decision.surprises) == (NOT_FOUND, (Surprise.IO_INFO_NEEDED,))
    assert decide_save_state_read(default_policy(), RAX, 1, NOT_FOUND).surprises == ()


@pytest.mark.parametrize(("condition", "io"), [(1, IN8), (0, OUT8), (0, IN8)])
def test_conditions_that_nothing_tests_for(condition, io):
    decision = decide_save_state_read(policy_of(ALLOW, (SaveStateField.RAX, COND, condition)), RAX, 1, io)
    assert (decision.status, decision.surprises) == (DENIED, (Surprise.CONDITION_NEVER_MET,))


@pytest.mark.parametrize("io_type", [IoType.INPUT, IoType.STRING, IoType.REP_PREFIX, 0, 6])
def test_only_a_plain_output_trap_meets_the_condition(io_type):
    trap = IoTrap(io_type, 2)
    assert decide_save_state_read(default_policy(), RAX, 1, trap).reason is Reason.CONDITION_UNMET
    assert decide_save_state_read(default_policy(), IO, 24, trap).reason is Reason.RAX_REFUSED


def test_an_honest_unmet_condition_is_no_surprise():
    assert decide_save_state_read(default_policy(), RAX, 1, IN8).surprises == ()
    io_rd = policy_of(ALLOW, (SaveStateField.RAX, COND, 1))
    assert decide_save_state_read(io_rd, RAX, 1, OUT8).surprises == ()


def test_the_first_entry_of_a_field_stops_the_walk():
    policy = policy_of(ALLOW, (SaveStateField.RAX, Attribute.EXECUTE, 0), (SaveStateField.RAX, READ, 0))
    decision = decide_save_state_read(policy, RAX, 1, OUT32)
    assert (decision.status, decision.reason) == (DENIED, Reason.NOT_NAMED)
    assert decision.surprises == (Surprise.FIRST_MATCH_STOPS,)
    assert decide_save_state_read(policy, RAX, 4096, OUT32).surprises == ()


def test_another_access_attribute_allows_what_is_not_refused_on_the_way():
    policy = policy_of(9, (SaveStateField.RAX, READ, 0))
    assert decide_save_state_read(policy, RBX, 8, OUT8).surprises == (Surprise.ACCESS_ATTR_ILLEGAL,)
    assert decide_save_state_read(policy, RAX, 1, OUT32).allowed
    assert decide_save_state_read(policy, RAX, 9, OUT32).status == DENIED


def test_only_the_first_root_counts():
    roots = [PolicyRoot(RootType.SAVE_STATE, DENY), PolicyRoot(RootType.SAVE_STATE, ALLOW)]
    decision = decide_save_state_read(assemble(roots), RBX, 8, OUT8)
    assert (decision.status, decision.surprises) == (OK, (Surprise.FIRST_ROOT_ONLY,))


def test_a_list_that_runs_out_of_the_blob():
    root = PolicyRoot(RootType.SAVE_STATE, ALLOW, (SaveStateEntry(SaveStateField.RAX, READ, 0),), count=2)
    policy = Policy((root,), root_count=1)
    assert decide_save_state_read(policy, RAX, 1, OUT32).allowed
    with pytest.raises(PolicyBoundsError):
        decide_save_state_read(policy, IO, 24, OUT32)
    assert decide_save_state_read(policy, RBX, 8, OUT32).status == DENIED
