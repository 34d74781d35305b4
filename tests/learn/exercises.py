"""What the tests of learning do with a booted platform: scripts, as a user would write them."""

from __future__ import annotations

import struct

from firmware.samples import catalogue
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.session import Session

GUIDS = {name: str(guid) for name, guid in catalogue.guids().items()}
IO_MSR, SAVE_STATE, CPU_IO = (GUIDS[f"gSample{name}HandlerGuid"] for name in ("IoMsr", "SaveState", "CpuIo"))

READ_PORT, WRITE_PORT, READ_MSR, WRITE_MSR, CLI, WBINVD, HLT = range(7)
IO_TRAP, RAX, RBX = 512, 38, 39
CPU_IO2 = "3242A9D8-CE70-4AA0-955D-5E7B140DE4D2"
"""gEfiSmmCpuIo2ProtocolGuid (PI 1.8 vol. 4 §2.5): an interface of four functions, Mem.Read to Io.Write."""

IO_MSR_MESSAGES = (
    (READ_PORT, 0, 0x71, 0),
    (WRITE_PORT, 0, 0x70, 0x0D),
    (READ_PORT, 0, 0x71, 0),
    (READ_PORT, 1, 0x70, 0),
    (READ_PORT, 0, 0x70, 0),
    (WRITE_PORT, 0, 0x70, 0x0E),
    (READ_PORT, 2, 0x608, 0),
    (READ_MSR, 0, 0x1B, 0),
    (READ_MSR, 0, 0x1B, 0),
    (READ_MSR, 0, 0x2FF, 0),
    (WRITE_MSR, 0, 0x2FF, 0xC06),
    (HLT, 0, 0, 0),
    (CLI, 0, 0, 0),
)
"""Action, width code, address, value."""


def io_msr(session: Session, action: int, width: int, address: int, value: int) -> None:
    """Let the IoMsr sample make one access."""
    session.communicate(IO_MSR, struct.pack("<QIIQQ", 0, action, width, address, value))


def save_state(session: Session, register: int, width: int, cpu: int = 0) -> int:
    """Let the SaveState sample read a register, and return its status."""
    answer = session.communicate(SAVE_STATE, struct.pack("<QIIQ24x", 0, register, width, cpu))
    return int.from_bytes(answer.data[HEADER_SIZE:][:8], "little")


def exercise(session: Session) -> None:
    """Ports by two drivers, MSRs, instructions, and who raised the MMI."""
    for message in IO_MSR_MESSAGES:
        io_msr(session, *message)
    session.communicate(CPU_IO, struct.pack("<QIIIIQ32x", 0, 1, 0, 0, 1, 0x70))
    for cpu in (0, 1):  # the second was stopped by no port access
        save_state(session, IO_TRAP, 24, cpu)


def use_cpu_io2(session: Session) -> None:
    """Call the port functions of OVMF's CpuIo2Smm, which executes IN and OUT itself."""
    core = session.core
    assert core is not None
    supervisor = core.supervisor
    found = [one for one in session.protocol_database().protocols if str(one.guid).upper() == CPU_IO2]
    this = found[0].instances[0][1]
    *_, read, write = (supervisor.memory.read_u64(this + 8 * member) for member in range(4))
    buffer = supervisor.user.internal
    for routine, width, port, count in (
        (read, 0, 0x71, 2),
        (write, 0, 0x70, 1),
        (read, 2, 0x608, 1),
        (read, 1, 0x70, 1),
    ):
        supervisor.ring3.call(routine, (this, width, port, count, buffer), 0)
