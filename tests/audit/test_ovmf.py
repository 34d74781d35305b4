"""The audit of handlers over real drivers: OVMF's lock box, which works in the message outside MMRAM, and its boot."""

from __future__ import annotations

import pytest

from mmsupervisor.audit.handlers import HandlerAudit
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.session import Session
from tests.support.observed import CODE, observe
from tests.support.ovmf import Ovmf

BOX = "5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11"
DATA = bytes(range(200))
HEADER, COMMAND = 0x18, 0
"""The message's header; the command is the first field of the lock box's own."""


def test_lock_box_reads_its_command_twice(ovmf: Ovmf) -> None:
    """It judges the command, and reads it once more to act: found in Debian's own build, by real messages.

    The box's data is fetched from an address in the message, which the driver judged by its own memory map.
    """
    traces = []
    for audited in (False, True):
        with observe(ovmf, Phase.DXE) as session:
            audit = HandlerAudit(session) if audited else None
            session.lock_box.save(BOX, DATA)
            assert session.lock_box.restore(BOX, len(DATA)) == DATA
            traces.append(list(session.log.canonical_lines()))
            if audit is None:
                continue
            audit.close()
            assert session.core is not None
            command = session.core.supervisor.user.external + HEADER + COMMAND
            assert [finding.kind.number for finding in audit.findings] == ["MM-4001"]
            (finding,) = audit.findings
            assert finding.address == command
            assert finding.place is not None
            assert finding.place.driver == "SmmLockBox"
            assert finding.place.offset == 0x2225 or not ovmf.known_release(CODE)
            assert audit.missed.total() == 0
    assert traces[0] == traces[1]


def boot_under_audit(ovmf: Ovmf) -> tuple[list[str], HandlerAudit]:
    """Boot with the audit from the first MMI on; the trace, and the audit."""
    audits: list[HandlerAudit] = []

    def prepare(session: Session) -> None:
        audits.append(HandlerAudit(session))

    with observe(ovmf, Phase.END_OF_DXE, prepare=prepare) as session, audits[0] as audit:
        assert session.stop is None
        return list(session.log.canonical_lines()), audit


def test_what_traditional_drivers_ask_of_dxe_before_the_lock_is_no_mistake(
    ovmf: Ovmf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their entry points call boot services and read DXE's tables, which are outside MMRAM and may be used so early."""
    trace, audit = boot_under_audit(ovmf)
    assert audit.findings == []
    with observe(ovmf, Phase.END_OF_DXE) as session:
        assert list(session.log.canonical_lines()) == trace
    monkeypatch.setattr(HandlerAudit, "_may_use_dxe", lambda _audit, _rip: False)
    _, strict = boot_under_audit(ovmf)
    assert {"MM-4001", "MM-4004", "MM-4005"} <= {finding.kind.number for finding in strict.findings}
