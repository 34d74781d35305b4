"""The audit of replies: bytes that nobody wrote and addresses of MMRAM are found, sound replies give nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mmsupervisor.audit import replies
from mmsupervisor.audit.replies import ReplyAudit
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.session import Session
from tests.audit.stage import HANDLER, careless_session, payload


@contextmanager
def audited() -> Iterator[ReplyAudit]:
    (session, _), (twin, _) = careless_session(), careless_session()
    with session, twin:
        yield ReplyAudit(session, twin)


LEFT = {
    "StackLeft": ("MM-4006", "48 bytes of the stack, at 0x30 to 0x60 of the payload"),
    "PoolLeft": ("MM-4006", "of freed pool, at 0x30 to "),
    "AddressLeft": ("MM-4007", "(Careless .data) at 0x20 of the payload"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_is_found_and_the_twin_is_clean(case: str) -> None:
    number, says = LEFT[case]
    with audited() as audit:
        assert audit.covers_pool
        for _ in range(2):
            audit.communicate(HANDLER, payload(case, benign=True))
        assert audit.findings == []
        audit.communicate(HANDLER, payload(case))
        assert number in [finding.kind.number for finding in audit.findings]
        finding = next(one for one in audit.findings if one.kind.number == number)
        assert says in finding.detail, str(finding)
        assert "Careless" in finding.subject


def test_links_of_the_pool_that_leave_are_addresses() -> None:
    """A block that was freed holds the broker's links: who returns it whole tells where MMRAM lies."""
    with audited() as audit:
        for _ in range(2):
            audit.communicate(HANDLER, payload("PoolLeft"))
        assert {finding.kind.number for finding in audit.findings} == {"MM-4006", "MM-4007"}


def test_an_address_that_was_sent_may_come_back() -> None:
    with audited() as audit:
        address = audit.session.description.mmram_base + 0x1000
        audit.communicate(HANDLER, payload("AddressLeft", benign=True, address=address))
        assert audit.findings == []


def test_an_address_that_was_sent_where_none_is_aligned_may_come_back_too() -> None:
    """The driver may have copied it from any place of the message."""
    with audited() as audit:
        audit.communicate(HANDLER, payload("AddressLeft"))
        (finding,) = audit.findings
        assert finding.address is not None
        sent = bytearray(payload("AddressLeft"))
        sent[0x39:0x41] = finding.address.to_bytes(8, "little")
    with audited() as audit:
        audit.communicate(HANDLER, bytes(sent))
        assert audit.findings == []


def test_the_first_session_is_not_touched() -> None:
    """Its trace is that of a session without audit."""
    messages = [payload(case, benign=benign) for case in LEFT for benign in (True, False)]
    lines = []
    with audited() as audit:
        for message in messages:
            audit.communicate(HANDLER, message)
        lines.append(list(audit.session.log.canonical_lines()))
    session, _ = careless_session()
    with session:
        for message in messages:
            session.communicate(HANDLER, message)
        lines.append(list(session.log.canonical_lines()))
    assert lines[0] == lines[1]


def test_without_the_pattern_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the pattern that finds the bytes of the stack, not a difference of the sessions."""
    monkeypatch.setattr(replies, "fill_unwritten", lambda _core: None)
    with audited() as audit:
        audit.communicate(HANDLER, payload("StackLeft"))
        assert "MM-4006" not in {finding.kind.number for finding in audit.findings}


def test_a_system_that_dies_of_the_pattern_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with audited() as audit:
        original = audit.twin.communicate

        def die(*_arguments: object, **_options: object) -> object:
            original(Guid(HANDLER.raw), payload("Callout", address=0x200_0000))
            raise AssertionError("it lived")

        monkeypatch.setattr(audit.twin, "communicate", die)
        for _ in range(2):
            audit.communicate(HANDLER, payload("StackLeft", benign=True))
        assert [finding.kind.number for finding in audit.findings] == ["MM-4006"]
        assert "the system dies" in audit.findings[0].detail


def test_a_death_of_the_first_session_is_raised() -> None:
    with audited() as audit, pytest.raises(SystemStopError):
        audit.communicate(HANDLER, payload("Callout", address=0x200_0000))


def test_another_broker_leaves_pool_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "_free_lists", lambda _core: 0)
    with audited() as audit:
        assert not audit.covers_pool
        audit.communicate(HANDLER, payload("StackLeft"))
        assert "MM-4006" in {finding.kind.number for finding in audit.findings}


def test_a_session_without_core_is_refused() -> None:
    session, _ = careless_session()
    with session:
        empty = Session(session._platform)
        session._platform.core = None
        with pytest.raises(ValueError, match="no core"):
            ReplyAudit(empty, session)
