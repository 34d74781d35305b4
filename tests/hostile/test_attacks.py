"""The hostile set: each attack is stopped at its call or instruction, for its rule, at its address.

The benign twin goes first and must come back with the system unharmed; after the attack the system is
dead, serves nothing and keeps all its invariants.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.status import Status
from tests.hostile import attacks_calls, attacks_memory, attacks_state
from tests.hostile.attacks_calls import refused
from tests.hostile.attacks_memory import READ_ONLY, SUPERVISOR
from tests.hostile.scripts import DRIVER, SHORT, Attack, Operation, Scene, Script, Stop, call, scene, step
from tests.support.invariants import broken_invariants

ATTACKS: list[Attack] = [*attacks_memory.ATTACKS, *attacks_calls.ATTACKS, *attacks_state.ATTACKS]


def test_names_are_unique_and_there_are_enough() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert len(ATTACKS) >= 60


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack(attack: Attack) -> None:
    with scene(attack.description) as here:
        come_back(here, attack)
        if not attack.alone:
            be_stopped(here, attack)
    if attack.alone:
        with scene(attack.description) as here:
            be_stopped(here, attack)


def come_back(here: Scene, attack: Attack) -> None:
    """The twin does no harm."""
    status, _ = here.run(attack.twin(here))
    assert status == Status.SUCCESS
    assert here.session.stop is None
    assert here.session.findings == ()
    assert broken_invariants(here.core) == []


def be_stopped(here: Scene, attack: Attack) -> None:
    """The attack ends the system, for its reason."""
    finding = attacked(here, attack)
    judge(here, finding, attack.stop)
    here.assert_dead(finding, given_up=attack.stop.given_up)


def attacked(here: Scene, attack: Attack) -> Finding:
    """Attack, and return the finding that ended the system."""

    def commit() -> None:
        here.run(attack.script(here))
        if attack.then is not None:
            attack.then(here)

    with pytest.raises(SystemStopError) as caught:
        commit()
    return caught.value.finding


def judge(here: Scene, finding: Finding, stop: Stop) -> None:
    """The finding is what the table says: number, rule, exception or call, place and address."""
    assert finding.kind.number == stop.number, str(finding)
    assert finding.rule.startswith(stop.rule), finding.rule
    assert (finding.vector, finding.error_code) == (stop.vector, stop.error_code), str(finding)
    assert finding.address == (None if stop.address is None else stop.address(here)), str(finding)
    assert here.core.supervisor.stopped_cpu == stop.cpu
    assert finding.mend
    if stop.at is not None or stop.place is not None:
        assert finding.place is not None
        wanted = here.at(stop.at) if stop.at is not None else stop.place(here) if stop.place is not None else 0
        assert finding.place.address == wanted, str(finding)
        assert finding.place.driver == DRIVER
    if stop.call is not None:
        judge_call(here, finding, stop)


def judge_call(here: Scene, finding: Finding, stop: Stop) -> None:
    made = [record.event for record in here.session.events if isinstance(record.event, SystemCallMade)]
    refused = [event for event in made if event.result is None]
    assert len(refused) == 1
    assert made[-1] is refused[0]
    name = getattr(stop.call, "name", None)
    assert name is None or refused[0].call == name
    assert stop.status is None or finding.status == stop.status, str(finding)


# Entry points attack too: before the lock, with the driver cache still there


def entry_attacks(here: Scene) -> dict[str, tuple[Script, Script, Stop]]:
    """Scripts for the entry point, with the addresses of a boot that is like the one to come."""
    supervisor = here.core.supervisor
    cache, policy, entry = supervisor.driver_cache.address, supervisor.policy_address, here.at("ScriptReturn")
    calls = CallNumber
    return {
        "overwrite the driver files": (
            Script([step(Operation.WRITE, cache, 0)]),
            Script([step(Operation.READ, cache)]),
            Stop(*READ_ONLY, at="AtWrite", vector=14, error_code=7, address=lambda _: cache),
        ),
        "read the policy": (
            Script([step(Operation.READ, policy)]),
            Script([step(Operation.READ, here.data)]),
            Stop(*SUPERVISOR, at="AtRead", vector=14, error_code=5, address=lambda _: policy),
        ),
        "set the table before anybody": (
            Script([call(calls.SMM_SET_CPL3_TBL, here.data)]),
            Script([call(calls.SMM_QRY_HOB)]),
            refused(calls.SMM_SET_CPL3_TBL, Status.ALREADY_STARTED),
        ),
        "start a CPU with a procedure of the policy": (
            Script([call(calls.SMM_START_AP_PROC, policy, 1, here.data)]),
            Script([call(calls.SMM_START_AP_PROC, entry, 1, here.data)]),
            refused(calls.SMM_START_AP_PROC, Status.SECURITY_VIOLATION),
        ),
        "never come back": (
            Script([step(Operation.JUMP, here.at("AtJump"))]),
            Script([step(Operation.JUMP, entry)]),
            Stop("MM-1301", "architecture.md"),
        ),
    }


ENTRY_ATTACKS = (
    "overwrite the driver files",
    "read the policy",
    "set the table before anybody",
    "start a CPU with a procedure of the policy",
    "never come back",
)


@pytest.mark.parametrize("name", ENTRY_ATTACKS)
def test_entry_attack(name: str) -> None:
    with scene(until=Phase.LAUNCHED) as here:
        script, twin, stop = entry_attacks(here)[name]
    with scene(at_entry=twin) as here:
        assert here.session.stop is None
        assert here.run(Script([]))[0] == Status.SUCCESS
        assert broken_invariants(here.core) == []
    with scene(SHORT, at_entry=script, until=Phase.LAUNCHED) as here:
        finding = here.session.stop
        assert finding is not None
        judge(here, finding, stop)
        assert broken_invariants(here.core) == []
        with pytest.raises(SystemStopError):
            here.session.trigger()


def test_no_entry_attack_is_left_out() -> None:
    with scene(until=Phase.LAUNCHED) as here:
        assert tuple(entry_attacks(here)) == ENTRY_ATTACKS


# The judge must be able to say no


@pytest.mark.parametrize(
    "change",
    [
        {"number": "MM-1203"},
        {"rule": "memory.md §6"},
        {"at": "AtWrite"},
        {"vector": 13},
        {"error_code": 7},
        {"address": lambda _: 0x1000},
        {"address": None},
        {"cpu": 1},
        {"call": CallNumber.SMM_QRY_HOB},
    ],
    ids=lambda change: "no address" if change == {"address": None} else next(iter(change)),
)
def test_a_wrong_end_is_noticed(change: dict[str, Any]) -> None:
    attack = next(one for one in ATTACKS if one.name == "load a vector from supervisor pool")
    with scene() as here:
        finding = attacked(here, attack)
        judge(here, finding, attack.stop)
        with pytest.raises(AssertionError):
            judge(here, finding, replace(attack.stop, **change))


@pytest.mark.parametrize("change", [{"call": CallNumber.SMM_FREE_PAGE}, {"status": Status.NOT_FOUND}], ids=str)
def test_a_wrong_refusal_is_noticed(change: dict[str, Any]) -> None:
    attack = next(one for one in ATTACKS if one.name == "have the save state written to the policy")
    with scene() as here:
        finding = attacked(here, attack)
        with pytest.raises(AssertionError):
            judge(here, finding, replace(attack.stop, **change))


def test_an_attack_is_no_twin() -> None:
    attack = next(one for one in ATTACKS if one.name == "load a vector from supervisor pool")
    with scene() as here, pytest.raises(SystemStopError):
        come_back(here, replace(attack, twin=attack.script))


def test_pages_given_up_are_noticed() -> None:
    attack = next(one for one in ATTACKS if one.name == "free the stack under way")
    with scene() as here:
        finding = attacked(here, attack)
        with pytest.raises(AssertionError):
            here.assert_dead(finding)
