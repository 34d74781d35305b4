"""Every gMmst service, asked by the samples under the supervisor, on any broker file given.

The same tests run on our broker and on each file that the environment variable MMSUP_BROKER names, so that
a broker built elsewhere can be held to docs/reference/gmmst.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.status import Status
from mmsupervisor.session import PortTrap, Session
from tests.samples.support import (
    GUIDS,
    SAMPLES,
    STEP,
    UNTOUCHED,
    boot_samples,
    broker_files,
    efi,
    send,
    step,
)

STEPPERS = [sample.name for sample in SAMPLES.values() if sample.message and sample.message.format == STEP.format]
FATAL = [
    pytest.param(sample, case, id=f"{sample.name}-{case.name}")
    for sample in SAMPLES.values()
    for case in sample.cases
    if sample.name in STEPPERS and case.stop == "call" and case.number is not None
]
MASK = (1 << 64) - 1
Boot = Callable[..., Session]


@pytest.fixture(params=broker_files(), ids=lambda file: file.name if file else "ours")
def boot(request: pytest.FixtureRequest) -> Iterator[Boot]:
    sessions: list[Session] = []

    def start(*names: str, **options: Any) -> Session:
        broker: Path | None = request.param
        sessions.append(boot_samples(*names, broker=broker, **options))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


def steps(session: Session, sample: str) -> dict[str, tuple[int, ...]]:
    """All steps that come back, in order, each with the status of the catalogue; the values by name."""
    values = {}
    for case in SAMPLES[sample].cases:
        if case.stop == "none" and case.number is not None:
            status, values[case.name] = step(session, sample, case.number)
            assert status == efi(case.status), f"{sample} {case.name}: {status:#x}"
    return values


def is_user(session: Session, address: int) -> bool:
    return bool(session.memory.state(address).ring3)


def test_pool_and_pages(boot: Boot) -> None:
    session = boot("PoolPages")
    values = steps(session, "PoolPages")
    assert values["PoolSmall"][1] == 8
    assert (values["PoolSmall"][3], values["PoolZero"][3], values["PoolPage"][2]) == (64, 64, 0x18)
    assert values["PoolBuckets"] == (64, 128, 256, 512, 1024, 2048)
    assert values["PoolBucketEdges"] == (128, 256, 512, 1024, 2048, 4096)
    assert values["PoolFreeHead"][:2] == (int.from_bytes(b"sphd", "little"), 0)
    assert values["PoolFreeTail"][:2] == (int.from_bytes(b"sptl", "little"), 0)
    assert values["PagesThree"][0] % 0x1000 == 0
    assert values["PagesDescending"][1] < values["PagesDescending"][0]
    assert is_user(session, values["PoolSmall"][0])
    assert not is_user(session, values["PagesThree"][0]), "freed pages are the supervisor's again"
    assert session.stop is None


def test_protocols(boot: Boot) -> None:
    values = steps(boot("Protocols"), "Protocols")
    for name in ("HandleFound", "LocateFirst", "LocateByRegistration", "LocateIgnoresGuid", "ListByNotify"):
        assert values[name][0] == values[name][1] != 0
    for name in ("LocateByRegistration", "LocateIgnoresGuid", "ListByNotify"):
        assert values[name][2] == Status.NOT_FOUND
    assert values["HandleAbsent"][0] == values["HandleBadHandle"][0] == 0
    assert values["ListByProtocol"][1:3] == values["ListByProtocol"][3:5]
    assert values["ListUnknown"][0] == 16
    assert (values["ListTooSmall"][0], values["ListTooSmall"][1]) == (16, values["ListTooSmall"][3])
    assert (values["NotifyCalled"][0], values["NotifyCalled"][3]) == (1, 0)
    assert values["NotifySame"][4] == 1
    assert values["NotifyUnhooked"][0] == values["NotifyExisting"][0] == 0
    assert values["NotifyOrder"][1] == 12


def test_each_installation_reaches_the_supervisor_and_stays_there(boot: Boot) -> None:
    session = boot("Protocols")
    assert session.core is not None
    database = session.core.supervisor.protocols
    before = database.instances(GUIDS["gSampleProtocolAGuid"])
    steps(session, "Protocols")
    once = database.instances(GUIDS["gSampleProtocolAGuid"])
    steps(session, "Protocols")
    assert database.instances(GUIDS["gSampleProtocolAGuid"]) - once == once - before > 0, "uninstalling is never told"


@pytest.mark.parametrize(("sample", "case"), FATAL)
def test_services_that_are_fatal(boot: Boot, sample: catalogue.Sample, case: catalogue.Case) -> None:
    session = boot(sample.name)
    assert case.number is not None
    with pytest.raises(SystemStopError) as stopped:
        step(session, sample.name, case.number)
    finding = stopped.value.finding
    assert finding.kind.number in ("MM-1002", "MM-1004")
    assert finding.place is not None
    assert finding.place.driver == sample.name, "the driver that asked is named, not the broker"
    if case.status:
        assert finding.status == efi(case.status)
    with pytest.raises(SystemStopError):
        step(session, sample.name, case.number)


def test_root_handlers_run_at_every_mmi_of_the_user_channel(boot: Boot) -> None:
    session = boot("HandlerReg")
    assert step(session, "HandlerReg", 0x2)[0] == 0
    assert step(session, "HandlerReg", 0x3)[1][:2] == (1, 1), "it ran after the message that registered it"
    session.trigger()
    session.communicate("gEfiEventReadyToBootGuid", b"\0")
    assert step(session, "HandlerReg", 0x3)[1][0] == 4
    assert step(session, "HandlerReg", 0x4)[0] == 0
    count = step(session, "HandlerReg", 0x3)[1][0]
    session.trigger()
    assert step(session, "HandlerReg", 0x3)[1][0] == count, "unregistered: no more calls"


def test_a_handler_that_unregisters_itself_is_called_once(boot: Boot) -> None:
    session = boot("HandlerReg")
    step(session, "HandlerReg", 0x11)
    assert session.communicate(GUIDS["gSampleHandlerRegSelfGuid"], bytes(8)).status == Status.SUCCESS
    assert session.communicate(GUIDS["gSampleHandlerRegSelfGuid"], bytes(8)).status == Status.NOT_FOUND
    assert step(session, "HandlerReg", 0x12)[1][:3] == (1, 1, 0)


def test_a_flagged_handler_still_runs_in_the_same_dispatch(boot: Boot) -> None:
    session = boot("HandlerReg")
    step(session, "HandlerReg", 0x21)
    session.communicate(GUIDS["gSampleHandlerRegPairGuid"], bytes(8))
    assert step(session, "HandlerReg", 0x22)[1][:2] == (1, 1)
    session.communicate(GUIDS["gSampleHandlerRegPairGuid"], bytes(8))
    assert step(session, "HandlerReg", 0x22)[1][:2] == (2, 1)


@pytest.mark.parametrize("case", SAMPLES["StatusReturner"].cases, ids=lambda case: case.name)
def test_statuses_of_handlers_are_combined(boot: Boot, case: catalogue.Case) -> None:
    session = boot("StatusReturner")
    payload = struct.pack("<Q2Q2Q", UNTOUCHED, *case.arguments, 0, 0)
    answer, body = send(session, "StatusReturner", payload)
    assert answer.status == efi(case.mailbox)
    calls = struct.unpack("<Q2Q2Q", body)[3:]
    assert [bool(count) for count in calls] == [True, case.shows == "both run"]


@pytest.mark.parametrize("case", SAMPLES["Sizes"].cases, ids=lambda case: case.name)
def test_sizes_of_answers(boot: Boot, case: catalogue.Case) -> None:
    session = boot("Sizes")
    (size,) = case.arguments
    answer, body = send(session, "Sizes", struct.pack("<QQQ", UNTOUCHED, 0, size))
    assert answer.status == efi(case.mailbox)
    if case.mailbox:
        assert answer.size == 0
        return
    assert answer.size == 0x18 + size
    if case.name == "TooLong":
        assert body[:24] == struct.pack("<QQQ", UNTOUCHED, 0, size), "nothing is copied back"
    elif size >= 16:
        assert body[:16] == struct.pack("<QQ", 0, 24)
        assert body[24:] == bytes(index & 0xFF for index in range(size - 24))


def test_configuration_tables_go_to_the_supervisor_only(boot: Boot) -> None:
    session = boot("ConfigTable")
    values = steps(session, "ConfigTable")
    assert values["ConfigInstall"][:2] == values["ConfigReplace"][:2] == (0, 0)
    assert session.core is not None
    assert GUIDS["gSampleConfigTableGuid"] in session.core.supervisor.configuration


@pytest.mark.parametrize(
    "case", [case for case in SAMPLES["CpuIo"].cases if case.arguments], ids=lambda case: case.name
)
def test_cpu_io_by_system_call(boot: Boot, case: catalogue.Case) -> None:
    payload = struct.pack("<QIIIIQ4Q", UNTOUCHED, *case.arguments, 0, 0, 0, 0)
    _, body = send(boot("CpuIo"), "CpuIo", payload)
    answer = struct.unpack("<QIIIIQ4Q", body)
    assert answer[0] == efi(case.status)
    if not case.status:
        assert answer[6] == 0xFF, "an empty bus reads all ones"


def test_cpu_io_reaches_a_devices_page(boot: Boot) -> None:
    session = boot("CpuIo")
    for width in range(4):
        read = struct.pack("<QIIIIQ4Q", UNTOUCHED, 0, 0, width, 1, 0xFED0_0000 + 8 * width, 0, 0, 0, 0)
        _, body = send(session, "CpuIo", read)
        answer = struct.unpack("<QIIIIQ4Q", body)
        assert (answer[0], answer[6]) == (0, (1 << (8 << width)) - 1)


def test_the_hob_list_is_a_read_only_copy(boot: Boot) -> None:
    session = boot("HobReader")
    _, body = send(session, "HobReader", bytes(64))
    status, where, size, blocks, total, *_ = struct.unpack("<QQQII8I", body)
    assert session.core is not None
    raw = session.core.inputs.raw
    assert (status, where, size) == (0, session.core.supervisor.hob_list, len(raw))
    assert total == sum(raw) & 0xFFFF_FFFF
    assert blocks == len(session.core.inputs.hobs.entries)


def test_a_consumer_waits_for_its_producer_and_is_notified(boot: Boot) -> None:
    session = boot("Consumer", "Producer")
    assert step(session, "Consumer", 1, 40, 2)[1][2] == 42
    for count in (1, 2):
        assert step(session, "Producer", 1)[0] == 0
        assert step(session, "Consumer", 2)[1][0] == count


def test_application_processors_run_procedures_in_ring_3(boot: Boot) -> None:
    session = boot("ApUser")
    assert step(session, "ApUser", 1)[1][:2] == (4, 0)
    assert step(session, "ApUser", 2, 2)[0] == 0
    assert step(session, "ApUser", 3)[1][0] == 3
    assert session.core is not None
    stacks = session.core.supervisor.stacks
    for cpu, runs in ((1, 1), (2, 2), (3, 1)):
        _, (_, seen, squared, on_stack, *_) = step(session, "ApUser", 4, cpu)
        assert (seen, squared) == (runs, cpu * cpu)
        assert stacks.base + cpu * stacks.size <= on_stack < stacks.base + (cpu + 1) * stacks.size
    assert {record.position.cpu for record in session.events if record.event.kind == "system-call"} >= {0}


def test_an_ap_procedure_with_a_null_argument_is_silently_not_run(boot: Boot) -> None:
    session = boot("ApUser")
    assert step(session, "ApUser", 5, 1)[0] == 0
    assert step(session, "ApUser", 4, 1)[1][1] == 0
    assert any(record.event.kind == "reference-bug" for record in session.events)


def save_state(session: Session, register: int, width: int, cpu: int) -> tuple[int, bytes]:
    _, body = send(session, "SaveState", struct.pack("<QIIQ24s", UNTOUCHED, register, width, cpu, bytes(24)))
    status, _, _, _, buffer = struct.unpack("<QIIQ24s", body)
    return status, buffer


def test_the_save_state_tells_of_the_trapped_write(boot: Boot) -> None:
    session = boot("SaveState")
    status, buffer = save_state(session, 0x200, 24, 0)
    data, port, width, kind = struct.unpack("<QIII4x", buffer)
    assert (status, data, port, width, kind) == (0, 0, 0xB2, 0, 2), "MM Control writes port 0xB2"
    assert save_state(session, 0x200, 24, 1)[0] == Status.NOT_FOUND, "the other CPUs did not trap"
    assert save_state(session, 0x202, 8, 3) == (0, (3).to_bytes(24, "little"))
    assert save_state(session, 0x202, 4, 0)[0] == Status.INVALID_PARAMETER
    assert save_state(session, 0x201, 1, 0)[0] == Status.ACCESS_DENIED
    assert save_state(session, 38, 1, 0)[0] == Status.ACCESS_DENIED, "RAX: the limit is an enum value, 0 for 8 bits"


def test_software_mmis_latch_their_command(boot: Boot) -> None:
    session = boot("IoMsr")
    session.trigger(PortTrap(value=0x5A))
    payload = struct.pack("<QIIQQ", UNTOUCHED, 1, 0, 0xB2, 0)
    assert send(session, "IoMsr", payload)[0].status == Status.SUCCESS


UNBLOCKED = struct.Struct("<QIIQQQQ")


def ask_unblocked(session: Session, address: int, length: int, *, write: int = 0) -> tuple[int, int, int]:
    _, body = send(session, "Unblocked", UNBLOCKED.pack(UNTOUCHED, write, 0x5A, address, length, 0, 0))
    status, *_, total, allowed = UNBLOCKED.unpack(body)
    return status, total, allowed


def test_unblocked_memory_is_usable_and_nothing_around_it(boot: Boot) -> None:
    session = boot("Unblocked", until=Phase.DXE)
    page = session.allocate(2)
    assert ask_unblocked(session, page, 16) == (Status.ACCESS_DENIED, 0, 0)
    assert session.unblock(page, 1, "VariableStandaloneMm").granted
    session.memory.write(page, b"\x01" * 16)
    assert ask_unblocked(session, page, 16) == (0, 16, 1)
    assert ask_unblocked(session, page, 16, write=1)[0] == 0
    assert session.memory.read(page, 16) == b"\x5a" * 16
    assert ask_unblocked(session, page + 0xFF8, 16) == (Status.ACCESS_DENIED, 0, 0), "runs out of the region"
    assert ask_unblocked(session, page + 0x1000, 16) == (Status.ACCESS_DENIED, 0, 0)
    assert session.unblock(page + 0x1000, 1, "VariableStandaloneMm").granted
    assert ask_unblocked(session, page + 0xFF8, 16) == (Status.ACCESS_DENIED, 0, 0), "neighbours never merge"
    assert session.core is not None
    assert ask_unblocked(session, session.core.supervisor.user.internal + 0x18, 16)[2] == 0, "the message is MMRAM"


@pytest.mark.parametrize(("write", "label"), [(0, "AtTouchRead"), (1, "AtTouchWrite")])
def test_memory_that_nobody_unblocked_ends_the_system(boot: Boot, write: int, label: str) -> None:
    session = boot("UnblockedUnchecked", until=Phase.DXE)
    page = session.allocate(1)
    with pytest.raises(SystemStopError) as stopped:
        send(session, "UnblockedUnchecked", UNBLOCKED.pack(UNTOUCHED, write, 0, page, 16, 0, 0))
    finding = stopped.value.finding
    assert (finding.kind.number, finding.vector, finding.address) == ("MM-1201", 14, page)
    assert finding.place is not None
    labels = {symbol.name: symbol.rva for symbol in prebuilt.symbols("UnblockedUnchecked")}
    assert finding.place.offset == labels[label]
    assert session.events[-1].event.kind == "reset"


def test_memory_unblocked_in_pei_is_open_from_the_first_driver_on(boot: Boot) -> None:
    pages: list[int] = []

    def pei(session: Session) -> None:
        pages.append(session.allocate(1))
        session.unblock(pages[0], 1, "VariableStandaloneMm")

    session = boot("Unblocked", prepare=pei)
    assert ask_unblocked(session, pages[0], 16)[2] == 1
    assert [record.window for record in session.unblock_requests] == ["PEI"]
