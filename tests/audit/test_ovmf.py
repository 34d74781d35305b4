"""The audit of handlers over a real driver: OVMF's lock box, which works in the message outside MMRAM."""

from __future__ import annotations

from mmsupervisor.audit.handlers import HandlerAudit
from mmsupervisor.dxe.phases import Phase
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
