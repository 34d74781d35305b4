"""Shipped images executed under a minimal ring 0: relocations, stubs and calling convention as linked."""

from __future__ import annotations

import struct

import pytest
import unicorn

from mmsupervisor import prebuilt
from mmsupervisor.pi.guid_names import known_guid
from tests.firmware.little_ring0 import BASE, LittleRing0, SystemCall

BROKER = "MmSupervisorRing3Broker"
REPORTER = "MmSupervisorErrorReport"
QUERY_HOB, ALLOCATE_PAGE, REGISTER_HANDLER, REPORT_JUMP = 0x1001B, 0x10004, 0x10007, 0x1001C


def answer(call: SystemCall) -> int | None:
    if call[0] == ALLOCATE_PAGE:
        return None  # a new page
    return 0x5000 if call[0] == REGISTER_HANDLER else 0


@pytest.fixture
def broker() -> LittleRing0:
    ring0 = LittleRing0(BROKER, answer)
    assert ring0.demote(ring0.entry, 0x1234, 0) == 0
    return ring0


def guid_at(ring0: LittleRing0, address: int) -> bytes:
    return ring0.read(address, 16)


def test_broker_starts_in_the_order_of_the_sheet(broker: LittleRing0) -> None:
    assert [call[0] for call in broker.calls] == [
        *(QUERY_HOB, 0x10000, 0x10019, ALLOCATE_PAGE, 0x1001A, 0x1001A),
        *[REGISTER_HANDLER] * 5,
    ]
    assert broker.calls[1][1:3] == (broker.address("CentralRing3JumpPointer"), broker.address("ApRing3JumpPointer"))
    assert broker.calls[2][1] == broker.address("gBrokerMmst")
    assert guid_at(broker, broker.calls[4][1]) == known_guid("gEfiMmCpuProtocolGuid").raw
    assert guid_at(broker, broker.calls[5][1]) == known_guid("gMmRing3HandlerReadyProtocol").raw


def test_table_points_into_the_loaded_image(broker: LittleRing0) -> None:
    table = broker.read(broker.address("gBrokerMmst"), 0xF0)
    assert struct.unpack_from("<Q", table, 0x50)[0] == broker.address("BrokerAllocatePool")


def test_messages_come_in_by_the_central_jump_pointer(broker: LittleRing0) -> None:
    """Fifth argument on the stack; the handler announces, and its status goes back."""
    central = broker.address("CentralRing3JumpPointer")
    handlers = {guid_at(broker, call[2]): call[1] for call in broker.calls if call[0] == REGISTER_HANDLER}
    for message in ("gEfiMmEndOfPeiProtocol", "gEfiEventReadyToBootGuid"):
        before = len(broker.calls)
        assert broker.demote(central, 0x5000, 0, 0, 0, handlers[known_guid(message).raw]) == 0
        (install,) = (call for call in broker.calls[before:] if call[0] == 0x1001A)
        assert guid_at(broker, install[1]) == known_guid(message).raw


def test_services_keep_what_the_convention_keeps(broker: LittleRing0) -> None:
    """A service called through the jump pointer, as a handler would be: four arguments, status in RAX."""
    out = broker.new_page()
    central = broker.address("CentralRing3JumpPointer")
    assert broker.demote(central, 6, 24, out, 0, broker.address("BrokerAllocatePool")) == 0
    pointer = struct.unpack("<Q", broker.read(out, 8))[0]
    assert pointer % 16 == 8
    assert broker.read(pointer - 24, 4) == b"sphd"
    assert broker.demote(central, pointer, 0, 0, 0, broker.address("BrokerFreePool")) == 0
    assert broker.demote(central, pointer, 0, 0, 0, broker.address("BrokerFreePool")) == 0x8000000000000002


def test_procedures_of_other_processors_get_their_argument(broker: LittleRing0) -> None:
    """HandleFrom stands for a procedure: it takes one argument, and gives back a handle that it recognises."""
    handle = broker.new_page()
    broker.uc.mem_write(handle, b"hndl" + bytes(4))
    start = broker.address("ApRing3JumpPointer")
    assert broker.demote(start, broker.address("HandleFrom"), handle) == handle
    assert broker.demote(start, broker.address("HandleFrom"), 0) == 0


def report(signature: bytes = b"MSVT") -> bytes:
    driver = known_guid("VariableStandaloneMm").raw
    return signature + struct.pack("<IQ", 904, 14) + driver + struct.pack("<QQ", 0x7E001234, 0x7E000000) + bytes(856)


def test_error_report_is_kept() -> None:
    ring0 = LittleRing0(REPORTER, answer)
    assert ring0.demote(ring0.entry, 0x1234, 0x0) == 0
    assert ring0.calls == [(REPORT_JUMP, ring0.address("ErrorReportJumpPointer"), 0, 0)]
    page = ring0.new_page()
    ring0.uc.mem_write(page + 8, report())
    jump = ring0.calls[0][1]
    assert ring0.demote(jump, 3, page + 8) == 0
    assert struct.unpack("<Q", ring0.read(ring0.address("gErrorReportCount"), 8))[0] == 1
    assert struct.unpack("<Q", ring0.read(ring0.address("gErrorReportCpu"), 8))[0] == 3
    entry = ring0.read(ring0.address("gErrorReportEntry"), 56)
    assert struct.unpack_from("<BBHIQQ", entry) == (0, 0, 0, 0x03CE000E, 0x7E001234, 0x7E000000)
    assert entry[24:40] == known_guid(REPORTER).raw
    assert entry[40:56] == known_guid("VariableStandaloneMm").raw


def test_error_report_refuses_what_is_none() -> None:
    ring0 = LittleRing0(REPORTER, answer)
    jump = ring0.address("ErrorReportJumpPointer")
    page = ring0.new_page()
    ring0.uc.mem_write(page + 8, report(b"TVSM"))
    assert ring0.demote(jump, 0, page + 8) == 0x8000000000000002
    assert ring0.demote(jump, 0, 0) == 0x8000000000000002
    assert ring0.read(ring0.address("gErrorReportCount"), 8) == bytes(8)


def test_error_report_never_writes_past_its_room() -> None:
    ring0 = LittleRing0(REPORTER, answer)
    page = ring0.new_page()
    ring0.uc.mem_write(page, report())
    statuses = [ring0.demote(ring0.address("ErrorReportJumpPointer"), 0, page) for _ in range(10)]
    assert statuses == [0] * 8 + [0x8000000000000009] * 2


def test_reporter_waits_for_the_ready_protocol() -> None:
    """Its INF says TRUE; a built file carries the ready protocol alone (docs/reference/telemetry.md section 2)."""
    assert prebuilt.driver(REPORTER).guid == known_guid(REPORTER)
    assert prebuilt.driver(REPORTER).depex == b"\x02" + known_guid("gMmRing3HandlerReadyProtocol").raw + b"\x08"


def test_an_old_table_is_refused_before_anything_runs() -> None:
    ring0 = LittleRing0(REPORTER, answer)
    table = ring0.new_page()
    for revision, status in ((0x00010031, 0x8000000000000019), (0x00010032, 0)):
        ring0.uc.mem_write(table, struct.pack("<QI", 0x54534D53, revision))
        assert ring0.demote(ring0.entry, 0, table) == status
    assert len(ring0.calls) == 1, "the refused start made no system call"


def test_data_cannot_be_executed(broker: LittleRing0) -> None:
    """What these tests rely on: leaving the code section would be an exception of the emulator, not a pass."""
    for address in (BASE + 0x3000, broker.address("gBrokerMmst")):
        with pytest.raises(unicorn.UcError, match="non-executable"):
            broker.uc.emu_start(address, address + 1, count=1)
