"""Every case of the Offender under the whole supervisor: the twin comes back, the offence ends the system.

What each case must lead to stands in ``firmware/samples/Offender/sample.toml``, written before there was a supervisor,
and the finding's number and rule in ``findings.toml``. Every case has a boot of its own, in which the twin goes first.
"""

from __future__ import annotations

import pytest

from firmware.samples.catalogue import Case
from mmsupervisor.pi.status import Status
from tests.samples.stage import DESCRIPTION, SAMPLES, Stage, expectations, staged
from tests.support.invariants import broken_invariants

OFFENDER = SAMPLES["Offender"]
CASES = [case for case in OFFENDER.cases if case.stop != "none"]
WANTS_ADDRESS = ("ReadAddress", "WriteAddress", "ExecuteAddress", "Push")


def arguments(stage: Stage, case: Case) -> tuple[int, ...]:
    """The message's arguments; cases that take an address get the image handle, which is supervisor memory."""
    if case.name in WANTS_ADDRESS:
        handle = stage.module.handle
        return (handle + 8,) if case.name == "Push" else (handle,)
    return case.arguments


def test_every_case_has_an_expectation_and_every_expectation_a_case() -> None:
    assert {case.name for case in CASES} == {case for sample, case in expectations() if sample == "Offender"}


def test_report_tells_the_addresses_of_this_boot() -> None:
    with staged("Offender") as stage:
        reply = stage.send(Case=0)
        assert reply.status == Status.SUCCESS
        supervisor = stage.core.supervisor
        handle, dispatch, table, hobs = reply.values["Argument"][:4]
        assert handle == stage.module.handle
        assert dispatch == next(one.handle for one in supervisor.handlers.all() if one.routine in _code(stage))
        assert (table, hobs) == (supervisor.jumps.user_table, supervisor.hob_list)


def _code(stage: Stage) -> range:
    return range(stage.module.base, stage.module.base + stage.module.size)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_twin_comes_back_and_the_session_lives_on(case: Case) -> None:
    with staged("Offender") as stage:
        for _ in range(2):
            reply = stage.send(Case=case.number, Benign=1, Argument=arguments(stage, case))
            assert (reply.mailbox, reply.status) == (Status.SUCCESS, Status.SUCCESS)
        assert stage.send(Case=0).status == Status.SUCCESS
        assert stage.session.stop is None
        assert stage.session.findings == ()
        assert broken_invariants(stage.core) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_offence_is_stopped_for_its_reason(case: Case) -> None:
    with staged("Offender") as stage:
        values = {"Case": case.number, "Argument": arguments(stage, case)}
        assert stage.send(Benign=1, **values).status == Status.SUCCESS
        finding = stage.stopped(**values)
        below = stage.core.supervisor.stacks.base - 8
        stage.assert_reason(finding, case, below if case.address == "below the stacks" else None)
        stage.assert_dead(finding)


def test_loop_is_ended_by_the_budget_of_the_platform() -> None:
    with staged("Offender") as stage:
        finding = stage.stopped(Case=OFFENDER.case("Loop").number)
        assert finding.subject == "Offender"
        assert DESCRIPTION.budget < 10_000_000
        stage.assert_dead(finding)


# The judge itself must be able to say no


@pytest.mark.parametrize(
    ("judged", "committed"), [("Cli", "In"), ("In", "Out"), ("WriteCode", "Cli"), ("PortDenied", "PortWidth")]
)
def test_the_wrong_reason_is_noticed(judged: str, committed: str) -> None:
    """The offence of one case is not taken for that of another: other finding, or the same at another place."""
    with staged("Offender") as stage:
        finding = stage.stopped(Case=OFFENDER.case(committed).number, Argument=(0x80, 0x55))
        with pytest.raises(AssertionError):
            stage.assert_reason(finding, OFFENDER.case(judged))


def test_a_living_session_is_not_taken_for_a_dead_one() -> None:
    with staged("Offender") as stage:
        finding = stage.stopped(Case=OFFENDER.case("Cli").number)
        stage.session.stop = None
        with pytest.raises(AssertionError):
            stage.assert_dead(finding)
