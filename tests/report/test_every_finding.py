"""Every kind of finding has a planted case, and the report of each says what the page promises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

import mmsupervisor
from mmsupervisor.abi.findings import FINDING_KINDS
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.relaxed_faults import Host, Ring3Hooks
from mmsupervisor.report.build import build_report, describe_input
from mmsupervisor.report.document import RUN_SCHEMA, document
from mmsupervisor.session import Session
from tests.report.planted import BOOTS, PLANTED, TOUCHES, sample_session, touched
from tests.samples.support import boot_samples, offend

SOURCE = Path(mmsupervisor.__file__).parent
SCHEMA = json.loads((SOURCE.parents[1] / "docs/schemas/session.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ELSEWHERE = {
    "MM-2010": "below",
    "MM-3001": "an event and a part of the report, never a finding: below",
}


@contextmanager
def planted(number: str) -> Iterator[Session]:
    if number in BOOTS:
        with BOOTS[number]() as session:
            yield session
    elif number in TOUCHES:
        with touched(number) as session:
            yield session
    else:
        with sample_session(FINDING_KINDS[number]) as session:
            yield session


def test_every_kind_is_planted() -> None:
    audited = {number for number in FINDING_KINDS if number.startswith("MM-4")}  # planted in tests/audit
    assert PLANTED | set(ELSEWHERE) | audited == set(FINDING_KINDS)


def test_every_number_that_a_run_knows_is_declared_and_every_declared_one_is_used() -> None:
    made = set()
    for path in SOURCE.rglob("*.py"):
        if path.parent.name != "abi":
            made |= set(re.findall(r"\bMM-[1234]\d{3}\b", path.read_text("utf-8")))
    assert made | {"MM-3001"} == set(FINDING_KINDS)


@pytest.mark.parametrize("number", sorted(PLANTED))
def test_it_is_found_and_told_in_full(number: str) -> None:
    with planted(number) as session:
        assert number in [finding.kind.number for finding in session.findings]
        report = build_report(session, describe_input("image", b""))
    VALIDATOR.validate(document(RUN_SCHEMA, report))
    found = next(finding for finding in report.findings if finding.number == number)
    assert found.detail
    assert found.rule or number == "MM-2007"
    assert found.mend
    assert found.page == f"docs/findings/{number}.md"
    assert found.fatal == number.startswith("MM-1")
    if number not in ("MM-2002", "MM-2009", "MM-2011", "MM-2012", "MM-2013"):
        assert found.moment is not None
        assert found.moment.step > 0
    if found.address is None:
        assert found.subject
        return
    assert found.driver or found.offset is None
    assert len(found.registers) == 18
    assert found.stack[0].found == "the place itself"
    if found.offset is not None:
        assert sum(line.here for line in found.code) == 1
        assert next(line.offset for line in found.code if line.here) == found.offset
        assert len(found.stack) > 1
    if found.moment is not None and found.moment.channel == "user":
        assert found.moment.size > 0
    called = number in ("MM-1001", "MM-1002", "MM-1003", "MM-1004", "MM-1302")
    assert (found.request is not None) == called
    assert (found.fault is not None) == (not called or number == "MM-1302")


@pytest.mark.parametrize("number", sorted(TOUCHES))
def test_memory_is_told_apart(number: str) -> None:
    """The benign twin went before, in :func:`touched`; what is said names the neighbour, the device, the table."""
    with touched(number) as session:
        assert session.stop is not None
        assert session.stop.kind.number == number
        assert TOUCHES[number].says in session.stop.detail


@pytest.mark.parametrize(
    ("case", "mend"),
    [
        ("WriteCode", "Code is never written to"),
        ("WriteHob", "Copy what the HOB holds"),
        ("WriteConstant", "take const"),
    ],
)
def test_what_to_change_depends_on_what_was_written_to(case: str, mend: str) -> None:
    with boot_samples("Offender") as session:
        with pytest.raises(SystemStopError) as caught:
            offend(session, case)
        assert caught.value.finding.kind.number == "MM-1203"
        assert mend in caught.value.finding.mend


def test_a_page_outside_that_is_open_to_the_supervisor_only_says_so() -> None:
    with boot_samples("Offender") as session:
        assert session.core is not None
        with pytest.raises(SystemStopError) as caught:
            offend(session, "ReadAddress", session.core.supervisor.user.external)
        assert caught.value.finding.kind.number == "MM-1202"
        assert "open to the supervisor only" in caught.value.finding.detail
        assert "copy of the message" in caught.value.finding.mend


def test_a_service_that_nobody_can_serve() -> None:
    """As the stand-in for DXE says it of a PCD whose value nobody gave (tests/dxe/test_traditional_services.py)."""
    with boot_samples("Echo") as session:
        assert session.core is not None
        hooks = Ring3Hooks(lambda _rip, _rsp: None, lambda _access: 0, lambda _routine, _arguments, _rsp: 0)
        finding = Host(session.core.supervisor, hooks, 0).refuse("dynamic PCD 7").finding
        assert (finding.kind.number, finding.detail) == ("MM-2010", "dynamic PCD 7")
        assert session.findings == (finding,)


def test_bugs_of_the_reference_are_counted() -> None:
    with mmsupervisor.boot() as session:
        report = build_report(session, describe_input("image", b""))
    assert report.reference_bugs
    assert all(bug.times and bug.source and bug.first for bug in report.reference_bugs)
