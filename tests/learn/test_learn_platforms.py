"""Learning proved where drivers run: on the sample platform, and on Debian's OVMF with its own code.

The learned policy in force denies nothing of the same run; with any one rule removed exactly that rule's accesses are
denied: counted over the observed run, and by the supervisor itself with the policy in force.
"""

from __future__ import annotations

from functools import cache

import pytest

from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.learn.denials import would_be_denied
from mmsupervisor.learn.rules import LearnedRule, Lesson, learn, policy_of
from mmsupervisor.learn.run import ObservedRun, observe, open_policy
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.isolation import level_vendor
from mmsupervisor.platform.sample import mm_volume, shipped
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.model import Policy, RootType
from mmsupervisor.session import Session, boot
from tests.cli.sessions import OFFENDER, offence
from tests.learn.exercises import (
    IO_MSR_MESSAGES,
    IO_TRAP,
    READ_PORT,
    exercise,
    io_msr,
    save_state,
    use_cpu_io2,
)
from tests.support.observed import CODE, flash_platform
from tests.support.ovmf import Ovmf

VENDOR = level_vendor(PlatformDescription())


@cache
def sample_run() -> ObservedRun:
    return observe(None, script=exercise)


@cache
def sample_lesson() -> Lesson:
    return learn(sample_run().observations, VENDOR, 30)


def without(lesson: Lesson, rule: LearnedRule) -> Policy:
    return policy_of(one.entry for one in lesson.rules if one is not rule)


def counts(run: ObservedRun, policy: Policy) -> dict[str, int]:
    """What a policy would have denied of a run: how often by access and driver."""
    denials = would_be_denied(run.observations, policy)
    return {f"{one.observation.place.driver}: {one.observation.question}": one.observation.count for one in denials}


def belonging(rule: LearnedRule) -> dict[str, int]:
    return {f"{one.place.driver}: {one.question}": one.count for one in rule.observations}


def test_the_open_policy_denies_nothing_and_passes_the_check():
    assert security_policy_check(open_policy()) is None
    assert counts(sample_run(), open_policy()) == {}


def test_the_sample_platform_is_learned_whole():
    run, lesson = sample_run(), sample_lesson()
    assert (run.phase, run.is_whole, run.removed) == ("ready-to-boot", True, ())
    gated = [one for one in run.observations if one.question.KIND is not RootType.SAVE_STATE]
    by_io_msr = sum(one.count for one in gated if one.place.driver == "IoMsr")
    assert by_io_msr == len(IO_MSR_MESSAGES)
    assert {one.place.driver for one in run.observations} == {"IoMsr", "CpuIo", "SaveState"}
    assert {one.phase for one in run.observations} == {"after ready-to-boot"}
    functions = {one.place.driver: one.place.symbol.split("+")[0] for one in run.observations}
    assert functions == {"IoMsr": "IoMsrHandler", "CpuIo": "IoRead", "SaveState": "SaveStateHandler"}
    reads = {one.place.offset for one in gated if str(one.question) == "read 1 byte at port 0x70"}
    assert len(reads) == 2, "two functions read that port"
    assert len(lesson.rules) == 10
    assert not lesson.refusals


def test_each_access_belongs_to_the_phase_that_it_led_to():
    def script(session: Session) -> None:
        io_msr(session, READ_PORT, 0, 0x71, 0)
        session.advance(Phase.READY_TO_BOOT)
        io_msr(session, READ_PORT, 0, 0x71, 0)
        io_msr(session, READ_PORT, 0, 0x71, 0)

    run = observe(None, until=Phase.END_OF_DXE, script=script)
    assert [(one.phase, one.count) for one in run.observations] == [("ready-to-lock", 1), ("after ready-to-boot", 2)]


INSTRUCTIONS = {
    "In": (0x80,), "Out": (0x80, 0x55), "InString": (0x81,), "OutString": (0x81, 0x55), "ReadMsr": (0x1B,),
    "WriteMsr": (0x1B, 0xFEE0_0900), "Cli": (), "Hlt": (), "Wbinvd": (),
}  # fmt: skip
"""The Offender's cases that execute what a supervised driver must ask for, with their arguments."""


def test_what_drivers_execute_themselves_is_learned_too():
    def script(session: Session) -> None:
        for case, arguments in INSTRUCTIONS.items():
            session.communicate(OFFENDER, bytes.fromhex(offence(case, *arguments)))

    run = observe(mm_volume([shipped("Offender")]), "offender", script=script)
    assert [f"{one.question}, {one.place.symbol.split('+')[0]}" for one in run.observations] == [
        "read 1 byte at port 0x80, OffendByInstruction",
        "write 1 byte at port 0x80, OffendByInstruction",
        "read 1 byte at port 0x81, OffendByInstruction",
        "write 1 byte at port 0x81, OffendByInstruction",
        "read MSR 0x1b, DoReadMsr",
        "write MSR 0x1b, OffendByInstruction",
        "execute CLI, OffendByInstruction",
        "execute HLT, OffendByInstruction",
        "execute WBINVD, OffendByInstruction",
    ]
    lesson = learn(run.observations, VENDOR, 30)
    assert (len(lesson.rules), lesson.refusals) == (6, ())


def test_a_launch_that_fails_teaches_nothing_and_runs_no_script():
    def script(session: Session) -> None:
        raise AssertionError

    run = observe(None, description=PlatformDescription(mmram_size=0x4_0000), script=script)
    assert (run.phase, run.observations, run.stop, run.is_whole) == ("", (), None, False)
    assert run.launch_failure


def test_nothing_of_the_same_run_would_be_denied():
    again = observe(None, script=exercise)
    assert again.observations == sample_run().observations
    assert counts(again, sample_lesson().policy) == {}


@pytest.mark.parametrize("number", range(10))
def test_without_a_rule_exactly_its_accesses_would_be_denied(number: int):
    rule = sample_lesson().rules[number]
    denied = counts(sample_run(), without(sample_lesson(), rule))
    assert denied == belonging(rule) != {}


def exercised(policy: Policy) -> tuple[Finding | None, tuple[Finding, ...], list[int]]:
    """How the sample platform ends, strict, under a policy; and what reads of the trap information returned."""
    statuses: list[int] = []
    with boot(policy=policy) as session:
        try:
            exercise(session)
            statuses += [save_state(session, IO_TRAP, 24, cpu) for cpu in (0, 1)]
        except SystemStopError:
            assert session.stop is not None
        return session.stop, session.findings, statuses


def test_in_force_and_strict_nothing_is_found():
    assert exercised(sample_lesson().policy) == (None, (), [Status.SUCCESS, Status.NOT_FOUND])


@pytest.mark.parametrize("number", range(10))
def test_in_force_without_a_rule_its_first_access_is_denied(number: int):
    rule = sample_lesson().rules[number]
    stop, _, statuses = exercised(without(sample_lesson(), rule))
    if rule.entry.KIND is RootType.SAVE_STATE:
        assert stop is None
        assert Status.ACCESS_DENIED in statuses
        return
    assert stop is not None
    assert stop.kind.number == "MM-1001"
    assert stop.place is not None
    assert stop.place.driver == rule.observations[0].place.driver
    assert str(rule.observations[0].question) in stop.detail


@pytest.fixture(scope="module")
def ovmf_run(ovmf: Ovmf) -> ObservedRun:
    return observe(ovmf.path(CODE).read_bytes(), "OVMF", description=flash_platform(ovmf), script=use_cpu_io2)


def ovmf_denied(ovmf: Ovmf, policy: Policy) -> int:
    """How many accesses the supervisor counts as denied, with the policy in force on OVMF under observation."""
    with boot(ovmf.path(CODE), description=flash_platform(ovmf), observe=True, policy=policy) as session:
        use_cpu_io2(session)
        return sum(use.denied for use in session.relaxed_uses)


def test_ovmf_is_learned_and_its_policy_denies_nothing(ovmf: Ovmf, ovmf_run: ObservedRun):
    lesson = learn(ovmf_run.observations, VENDOR, 30)
    assert ovmf_run.is_whole
    assert {one.place.driver for one in ovmf_run.observations} >= {"CpuIo2Smm"}
    assert counts(ovmf_run, lesson.policy) == {}
    assert ovmf_denied(ovmf, lesson.policy) == 0
    assert ovmf_denied(ovmf, policy_of([])) == sum(one.count for one in ovmf_run.observations) > 4


def test_ovmf_without_a_rule_counts_exactly_its_accesses(ovmf: Ovmf, ovmf_run: ObservedRun):
    lesson = learn(ovmf_run.observations, VENDOR, 30)
    for rule in lesson.rules:
        policy = without(lesson, rule)
        assert counts(ovmf_run, policy) == belonging(rule)
        assert ovmf_denied(ovmf, policy) == rule.count > 0
