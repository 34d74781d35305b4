"""Bugs that such firmware has had, each by the thread that tells of it: what the sender or the driver gets here.

Numbers are of the projects' public issue trackers. What audits find (a double fetch, an unvalidated pointer, an
address left in a reply: tianocore/edk2 #9758) is in tests/audit. What FreePool makes of a buffer that is no pool's
(tianocore/edk2 #10064: it was handed on to DXE) is a row of test_bad_pointers_broker.py, in every class of pointer.
"""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.entry import Core
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE, PhysicalMemory
from mmsupervisor.machine.save_state import SAVE_STATE_SIZE, Vendor
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.model import AccessAttr, PolicyRoot, RootType
from mmsupervisor.session import Session, boot
from tests.core.small import (
    DISPATCH,
    FREE_RAM,
    MMIO,
    MMRAM,
    MMRAM_END,
    SOMEBODY,
    fatal_call,
    mailbox,
    message,
    message_v3,
    post,
    register_user,
    ring3,
    send_user,
    set_save_state,
    system_call,
    unblock,
    user_page,
)

C = CallNumber
COOKIE, IO, RAX = 0x7777, 512, 38
OPEN = CompiledPolicy(assemble((PolicyRoot(RootType.IO, AccessAttr.DENY),)))
HANDLER = 0x8000
GUARD = 0xEE
IO_INFO = 24
GARBAGE = 0xA5
MOST_FILLED = 0x100_0000
"""Bytes that are filled at the top of each free range: what the launch and DXE allocate lies there."""


def save_state(supervisor: Supervisor, vendor: Vendor, **values: int) -> None:
    """Put an I/O trap of OUT 0xB2, AL into the first CPU's save state, with values by architectural offset."""
    area = bytearray(SAVE_STATE_SIZE)
    base, word, io, revision = (0xFC00, 0xFEC0, 0x00B2_0012, 0xFEFC) if vendor is Vendor.AMD else (
        0x7C00, 0x7FA4, 0x00B2_0003, 0x7EFC,
    )  # fmt: skip
    struct.pack_into("<I", area, word - base, values.pop("io", io))
    struct.pack_into("<I", area, revision - base, 0x30064)
    for offset, value in values.items():
        struct.pack_into("<Q", area, int(offset.removeprefix("at_"), 16) - base, value)
    supervisor.vendor = vendor
    supervisor.policy = OPEN
    set_save_state(supervisor, 0, bytes(area))


def read_register(supervisor: Supervisor, register: int, width: int) -> tuple[int, bytes]:
    """Read a register into guarded bytes: the status, and the 64 bytes from the buffer on."""
    page = user_page(supervisor)
    supervisor.memory.fill(page, 64, GUARD)
    assert system_call(supervisor, C.SMM_SC_SVST_READ, COOKIE, register, 0) == 0
    status = system_call(supervisor, C.SMM_SC_SVST_READ_2, COOKIE, width, page)
    return status, supervisor.memory.read(page, 64)


# tianocore/edk2 #8847, CVE-2021-38578: a buffer smaller than its header makes the size that a handler is told wrap.


@pytest.mark.parametrize("size", [0, 1, 0x18, 0x37])
def test_a_size_below_the_header_reaches_no_handler(core: Core, size: int) -> None:
    register_user(core.supervisor, SOMEBODY, HANDLER)
    reply = send_user(core, message_v3(SOMEBODY, b"", size))
    assert reply.status == Status.BAD_BUFFER_SIZE
    assert ring3(core.supervisor).calls == []


@pytest.mark.parametrize("length", [2**64 - 0x18, 2**64 - 0x17, 2**64 - 1])
def test_a_length_that_wraps_reaches_no_handler(core: Core, length: int) -> None:
    register_user(core.supervisor, SOMEBODY, HANDLER)
    assert send_user(core, message(SOMEBODY, b"", length)).status == Status.BAD_BUFFER_SIZE
    assert ring3(core.supervisor).calls == []


def test_the_smallest_whole_message_reaches_its_handler(core: Core) -> None:
    register_user(core.supervisor, SOMEBODY, HANDLER)
    assert send_user(core, message_v3(SOMEBODY, b"x", 0x39)).status == 0
    assert len(ring3(core.supervisor).calls) == 1


# tianocore/edk2 #13018: the size that a handler returns is believed, and as many bytes are copied out.


def test_an_answer_longer_than_the_buffer_is_not_copied_over_what_lies_behind(core: Core) -> None:
    supervisor = core.supervisor
    behind = supervisor.user.external + supervisor.user.size

    def grow(_handle: int, _context: int, _buffer: int, pointer: int, _routine: int) -> int:
        supervisor.memory.write_u64(pointer, supervisor.user.size)
        return 0

    register_user(supervisor, SOMEBODY, HANDLER, grow)
    supervisor.memory.fill(behind, 64, GUARD)
    send_user(core, message(SOMEBODY, b"x"))
    assert supervisor.memory.read(behind, 64) == bytes([GUARD]) * 64


# tianocore/edk2 #8789: 24 bytes of I/O information are written whatever width was asked for.


@pytest.mark.parametrize("vendor", [Vendor.AMD, Vendor.INTEL])
@pytest.mark.parametrize("width", [1, 8, 23])
def test_io_information_is_never_written_beyond_the_width(supervisor: Supervisor, vendor: Vendor, width: int) -> None:
    save_state(supervisor, vendor)
    _, data = read_register(supervisor, IO, width)
    assert data[width:] == bytes([GUARD]) * (64 - width)


@pytest.mark.parametrize("vendor", [Vendor.AMD, Vendor.INTEL])
def test_io_information_of_its_own_width_is_written_whole(supervisor: Supervisor, vendor: Vendor) -> None:
    save_state(supervisor, vendor)
    status, data = read_register(supervisor, IO, IO_INFO)
    assert status == 0
    assert data[8:10] == b"\xb2\x00"
    assert data[IO_INFO:] == bytes([GUARD]) * (64 - IO_INFO)


# tianocore/edk2 #8612: a read of exactly 4 bytes takes the path for the upper half too.


@pytest.mark.parametrize(("vendor", "offset"), [(Vendor.AMD, "at_FFF8"), (Vendor.INTEL, "at_7F5C")])
@pytest.mark.parametrize("width", [1, 3, 4, 5, 8])
def test_a_register_is_read_to_its_width_and_not_on(
    supervisor: Supervisor, vendor: Vendor, offset: str, width: int
) -> None:
    save_state(supervisor, vendor, **{offset: 0x1122_3344_5566_7788})
    status, data = read_register(supervisor, RAX, width)
    assert status == 0
    assert data == (0x1122_3344_5566_7788).to_bytes(8, "little")[:width].ljust(64, bytes([GUARD]))


# tianocore/edk2 #7472, confused deputy: ring 0 copies I/O data to or from where the interrupted code's registers point.


def test_string_io_is_not_fetched_from_where_the_interrupted_code_points(supervisor: Supervisor) -> None:
    """RSI and RDI name memory of the supervisor; the data of an AMD string trap is RAX all the same."""
    secret = supervisor.core_base
    save_state(supervisor, Vendor.AMD, io=0x00B2_001E, at_FFC8=secret, at_FFC0=secret, at_FFF8=0x5A)
    before = supervisor.memory.read(secret, 64)
    status, data = read_register(supervisor, IO, IO_INFO)
    assert status == 0
    assert data[:8] == (0x5A).to_bytes(8, "little")
    assert supervisor.memory.read(secret, 64) == before


def test_string_io_of_intel_is_refused(supervisor: Supervisor) -> None:
    save_state(supervisor, Vendor.INTEL, io=0x00B2_0023, at_7F8C=supervisor.core_base)
    assert read_register(supervisor, IO, IO_INFO)[0] == Status.NOT_FOUND


def test_a_register_is_not_written_where_ring_3_may_not_write(supervisor: Supervisor) -> None:
    save_state(supervisor, Vendor.AMD)
    assert system_call(supervisor, C.SMM_SC_SVST_READ, COOKIE, RAX, 0) == 0
    before = supervisor.memory.read(supervisor.core_base, 8)
    finding = fatal_call(supervisor, C.SMM_SC_SVST_READ_2, COOKIE, 8, supervisor.core_base)
    assert (finding.kind.number, finding.status) == ("MM-1002", Status.SECURITY_VIOLATION)
    assert supervisor.memory.read(supervisor.core_base, 8) == before


# microsoft/mu_feature_mm_supv #657 and #688: status pages that nobody cleared. A stray byte in the user's says "valid",
# and the next request to the supervisor is taken for a message to a driver.


def test_a_stray_byte_in_the_users_mailbox_takes_the_supervisors_turn(core: Core) -> None:
    """As on the device: the user's buffer is read instead, and the request waits; nothing else is harmed."""
    supervisor = core.supervisor
    post(supervisor, supervisor.supervisor, message(DISPATCH, bytes(1)))
    stray = CommBufferStatus(is_valid=GARBAGE)
    supervisor.memory.write(supervisor.user.status, stray.pack())
    reply = send_user(core, message(SOMEBODY, b"", 2**63))
    assert reply.status == Status.BAD_BUFFER_SIZE
    assert mailbox(supervisor, supervisor.supervisor).is_valid == 1
    assert mailbox(supervisor, supervisor.user).is_valid == 0


def dirty(session: Session) -> None:
    """Fill the memory from which the launch and DXE allocate, and the runtime pages that DXE is going to use."""
    for piece in session.memory_map:
        end = piece.physical_start + piece.number_of_pages * PAGE_SIZE
        start = max(piece.physical_start, end - MOST_FILLED)
        if piece.type in (MemoryType.CONVENTIONAL, MemoryType.RUNTIME_SERVICES_DATA):
            session.memory.fill(start, end - start, GARBAGE)


@pytest.mark.parametrize("until", [Phase.LAUNCHED, Phase.DXE, Phase.READY_TO_BOOT])
def test_status_pages_are_cleared_before_mm_is_told_of_them(until: Phase) -> None:
    """Memory that the launch and DXE allocate holds garbage; every message of the boot arrives where it belongs."""

    with boot(until=until, prepare=dirty) as session:
        assert session.launch_failure is None
        assert session.stop is None
        assert session.findings == ()
        assert session.phase is until


def test_a_status_page_that_is_not_cleared_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same boot with pages that stay as they are: what the test above looks for does happen."""

    with boot(until=Phase.LAUNCHED, prepare=dirty) as session:
        assert session.findings == ()
        monkeypatch.setattr(PhysicalMemory, "fill", lambda *_: None)
        session.advance(Phase.READY_TO_BOOT)
        assert session.findings or session.stop or session.launch_failure


# tianocore/edk2 #10018: a library that never learned where MMRAM is calls every buffer in it one from outside.


@pytest.mark.parametrize("length", [1, 16, PAGE_SIZE, 2 * PAGE_SIZE])
def test_no_buffer_that_touches_mmram_is_one_from_outside(supervisor: Supervisor, length: int) -> None:
    for address in (MMRAM - length + 1, MMRAM, MMRAM + PAGE_SIZE, MMRAM_END - length, MMRAM_END - 1):
        assert system_call(supervisor, C.SMM_MM_UNBLOCKED, address, length) == 0, hex(address)
    unblock(supervisor, FREE_RAM, 2)
    assert system_call(supervisor, C.SMM_MM_UNBLOCKED, FREE_RAM, length) == 1


# tianocore/edk2 #7015: a validator that stops the system instead of saying no.


@pytest.mark.parametrize("address", [0, MMIO - 8, 1 << 47, 0xFFFF_7FFF_FFFF_F000, 2**64 - 8])
@pytest.mark.parametrize("length", [0, 16, 2**64 - 1])
def test_a_validator_answers_whatever_it_is_asked(core: Core, address: int, length: int) -> None:
    supervisor = core.supervisor
    assert system_call(supervisor, C.SMM_MM_UNBLOCKED, address, length) == 0
    assert system_call(supervisor, C.SMM_MM_IS_COMM_BUFF, address, length) == Status.SECURITY_VIOLATION
    assert send_user(core, message(SOMEBODY, b"")).status == Status.NOT_FOUND


# microsoft/mu_feature_mm_supv #644: a read of the save state that failed was a success to the driver, of stale bytes.


def test_a_cpu_that_did_not_trap_has_no_io_and_says_so(supervisor: Supervisor) -> None:
    save_state(supervisor, Vendor.AMD, io=0)
    status, left = read_register(supervisor, IO, IO_INFO)
    assert status == Status.NOT_FOUND
    assert left == bytes([GUARD]) * 64
    save_state(supervisor, Vendor.AMD)
    assert read_register(supervisor, IO, IO_INFO)[0] == 0
