"""The shipped samples executed under the shipped broker: steps, twins, and where the Offender breaks its rules."""

from __future__ import annotations

import struct

import pytest
import unicorn
from unicorn import x86_const as x86

from firmware.samples import catalogue
from mmsupervisor.pi.status import Status
from tests.firmware.sample_ring0 import APIC_ID, CPUS, HOB_LIST, HOBS, MESSAGES, PORT_VALUE, SampleRing0, StoppedError

SAMPLES = {sample.name: sample for sample in catalogue.samples()}
STEP = "<QII6Q"
UNTOUCHED = 0xFFFF_FFFF_FFFF_FFFF
STEPPERS = [sample for sample in SAMPLES.values() if sample.message and sample.message.format == STEP]
OFFENDER = SAMPLES["Offender"]
CALLS = [case for case in OFFENDER.cases if case.stop == "call"]

# Touched in this ring 0 as on the device: the address is one that nobody may touch so.
MEMORY = [case for case in OFFENDER.cases if case.vector == 14 and case.name != "Push"]


def efi(name: str | None) -> int:
    return int(Status[name or "SUCCESS"])


def step(ring0: SampleRing0, sample: str, number: int, *values: int) -> tuple[int, tuple[int, ...]]:
    """Send a step; its status and values."""
    payload = struct.pack(STEP, UNTOUCHED, number, 0, *values, *[0] * (6 - len(values)))
    handler = SAMPLES[sample].handler
    assert handler
    status, _, _, *answer = struct.unpack(STEP, ring0.send(handler, payload))
    return status, tuple(answer)


def steps(ring0: SampleRing0, sample: str) -> dict[str, tuple[int, ...]]:
    """All steps that come back, in order, each with the status of the catalogue; the values by name."""
    values = {}
    for case in SAMPLES[sample].cases:
        if case.stop == "none" and case.number is not None:
            status, values[case.name] = step(ring0, sample, case.number)
            assert status == efi(case.status), f"{sample} {case.name}: {status:#x}"
    return values


@pytest.fixture
def offender() -> SampleRing0:
    return SampleRing0("Offender")


@pytest.fixture(scope="module")
def lasting_offender() -> SampleRing0:
    """For cases that leave the emulator fit for the next one."""
    return SampleRing0("Offender")


def offend(ring0: SampleRing0, case: catalogue.Case, *, benign: bool) -> tuple[int, int]:
    """Send a case; its status and result."""
    assert OFFENDER.handler
    arguments = case.arguments or (0x7B00_0000,)
    payload = struct.pack("<QIIQ8Q", UNTOUCHED, case.number, benign, 0, *arguments, *[0] * (8 - len(arguments)))
    status, _, _, result, *_ = struct.unpack("<QIIQ8Q", ring0.send(OFFENDER.handler, payload))
    return status, result


def test_every_sample_that_should_start_starts() -> None:
    starts = [
        sample
        for sample in SAMPLES.values()
        if all(case.stop not in {"entry", "never"} for case in sample.cases)
        and not any(case.name == "Dispatch" and case.stop != "none" for case in sample.cases)
    ]
    names = sorted((sample.name for sample in starts), key=lambda name: name != "Producer")
    assert len(names) > 20
    assert set(SampleRing0(*names).started.values()) == {0}


@pytest.mark.parametrize("twin", [sample.twin for sample in SAMPLES.values() if sample.twin])
def test_twins_start(twin: str) -> None:
    assert SampleRing0(twin).started == {twin: 0}


@pytest.mark.parametrize("name", ["EntryError", "RevisionTooNew"])
def test_entry_points_fail_as_written(name: str) -> None:
    case = SAMPLES[name].case("Dispatch")
    assert SampleRing0(name).started[name] == efi(case.status)


def test_pool_and_pages() -> None:
    values = steps(SampleRing0("PoolPages"), "PoolPages")
    assert values["PoolSmall"][1:4] == (8, values["PoolSmall"][0] & 0xFFF, 64)
    assert values["PoolZero"][3] == 64
    assert values["PoolPage"][2] == 0x18
    assert values["PoolBuckets"] == (64, 128, 256, 512, 1024, 2048)
    assert values["PoolBucketEdges"] == (128, 256, 512, 1024, 2048, 4096)
    assert values["PoolFreeHead"][:2] == (int.from_bytes(b"sphd", "little"), 0)
    assert values["PoolFreeTail"][:2] == (int.from_bytes(b"sptl", "little"), 0)
    assert values["PagesThree"][0] % 0x1000 == 0
    assert values["PagesDescending"][1] < values["PagesDescending"][0]


def test_protocols() -> None:
    values = steps(SampleRing0("Protocols"), "Protocols")
    assert values["InstallNew"][0]
    for name in ("HandleFound", "LocateFirst", "LocateByRegistration", "LocateIgnoresGuid", "ListByNotify"):
        assert values[name][0] == values[name][1] != 0
    for name in ("LocateByRegistration", "LocateIgnoresGuid", "ListByNotify"):
        assert values[name][2] == efi("NOT_FOUND")
    assert values["HandleAbsent"][0] == values["HandleBadHandle"][0] == 0
    assert values["ListAll"][0] >= 8
    assert values["ListByProtocol"][1:3] == values["ListByProtocol"][3:5]
    assert values["ListUnknown"][0] == 16
    assert (values["ListTooSmall"][0], values["ListTooSmall"][1]) == (16, values["ListTooSmall"][3])
    assert (values["NotifyCalled"][0], values["NotifyCalled"][3]) == (1, 0)
    assert values["NotifySame"][4] == 1
    assert values["NotifyUnhooked"][0] == values["NotifyExisting"][0] == 0
    assert values["NotifyOrder"][1] == 12


def test_protocol_steps_leave_nothing_behind() -> None:
    ring0 = SampleRing0("Protocols")
    assert steps(ring0, "Protocols")["ListAll"] == steps(ring0, "Protocols")["ListAll"]


def test_handlers() -> None:
    ring0 = SampleRing0("HandlerReg")
    values = steps(ring0, "HandlerReg")
    assert values["RootCount"][:2] == (0, 0)
    (root,) = ring0.handlers[b""]
    assert ring0.demote(ring0.address("CentralRing3JumpPointer"), 0x9000, 0, 0, 0, root) == 0
    assert step(ring0, "HandlerReg", 0x03)[1][:2] == (1, 1)

    first, second = ring0.handlers[catalogue.guids()["gSampleHandlerRegPairGuid"].bytes_le]
    unregistered = [call for call in ring0.calls if call[0] == 0x10018]
    for handler in (first, second, first):
        ring0.status(handler, bytes(8))
    assert step(ring0, "HandlerReg", 0x22)[1][:2] == (2, 1)
    assert len([call for call in ring0.calls if call[0] == 0x10018]) == len(unregistered) + 1, "once only"


def test_statuses() -> None:
    ring0 = SampleRing0("StatusReturner")
    handlers = ring0.handlers[catalogue.guids()["gSampleStatusHandlerGuid"].bytes_le]
    for case in SAMPLES["StatusReturner"].cases:
        payload = struct.pack("<Q2Q2Q", UNTOUCHED, *case.arguments, 0, 0)
        assert [ring0.status(handler, payload)[0] for handler in handlers] == list(case.arguments)


def test_configuration_tables_stay_invisible() -> None:
    ring0 = SampleRing0("ConfigTable")
    values = steps(ring0, "ConfigTable")
    assert values["ConfigInstall"][:2] == values["ConfigReplace"][:2] == (0, 0)
    assert [call[3] for call in ring0.calls if call[0] == 0x10001] == [8, 8]


@pytest.mark.parametrize(
    "case", [each for each in SAMPLES["CpuIo"].cases if each.arguments], ids=lambda each: each.name
)
def test_cpu_io(case: catalogue.Case) -> None:
    payload = struct.pack("<QIIIIQ4Q", UNTOUCHED, *case.arguments, 0, 0, 0, 0)
    answer = struct.unpack("<QIIIIQ4Q", SampleRing0("CpuIo").send("gSampleCpuIoHandlerGuid", payload))
    assert answer[0] == efi(case.status)
    assert answer[6] == (0 if case.status else PORT_VALUE)


def test_cpu_io_reaches_memory_in_the_width_asked_for() -> None:
    ring0 = SampleRing0("CpuIo")
    page = ring0.new_page()
    for width in range(4):
        write = struct.pack("<QIIIIQ4Q", UNTOUCHED, 0, 1, width, 1, page + 0x80 * width, 0x1122334455667788, 0, 0, 0)
        read = struct.pack("<QIIIIQ4Q", UNTOUCHED, 0, 0, width, 1, page + 0x80 * width, 0, 0, 0, 0)
        ring0.send("gSampleCpuIoHandlerGuid", write)
        mask = (1 << (8 << width)) - 1
        assert struct.unpack("<QIIIIQ4Q", ring0.send("gSampleCpuIoHandlerGuid", read))[6] == 0x1122334455667788 & mask
        assert ring0.read(page + 0x80 * width + (1 << width), 1) == b"\xaa"


def test_hobs() -> None:
    reply = SampleRing0("HobReader").send("gSampleHobReaderHandlerGuid", bytes(64))
    status, where, size, blocks, total, *kinds = struct.unpack("<QQQII8I", reply)
    assert (status, where, size, blocks, total) == (0, HOBS, len(HOB_LIST), 4, sum(HOB_LIST))
    assert kinds == [1, 0, 1, 1, 0, 1, 0, 0]


def test_producer_and_consumer() -> None:
    ring0 = SampleRing0("Producer", "Consumer")
    assert step(ring0, "Consumer", 1, 40, 2)[1][2] == 42
    for count in (1, 2):
        assert step(ring0, "Producer", 1)[0] == 0
        assert step(ring0, "Consumer", 2)[1][0] == count


def test_consumer_alone_is_not_found() -> None:
    assert SampleRing0("Consumer").started["Consumer"] == efi("NOT_FOUND")


def test_lifecycle() -> None:
    ring0 = SampleRing0("Lifecycle")
    relays = [handlers[0] for guid, handlers in ring0.handlers.items() if guid][:5]
    for handler in relays:
        assert ring0.status(handler, b"\0")[0] == 0
    answer = struct.unpack("<Q8Q", ring0.send("gSampleLifecycleHandlerGuid", bytes(72)))
    assert answer == (0, 1, 1, 1, 1, 1, 0, 0, 0)


def test_application_processors() -> None:
    ring0 = SampleRing0("ApUser")
    assert step(ring0, "ApUser", 1)[1][:2] == (CPUS, 0)
    assert step(ring0, "ApUser", 3)[1][0] == CPUS - 1
    started = ring0.calls[-1]
    assert started[0::2] == (0x10006, 1)
    ring0.demote(ring0.address("ApRing3JumpPointer"), started[1], started[3])
    assert step(ring0, "ApUser", 4, 1)[1][1:3] == (1, 1)


@pytest.mark.parametrize("name", ["Unblocked", "UnblockedUnchecked"])
def test_unblocked_memory(name: str) -> None:
    ring0 = SampleRing0(name)
    handler = SAMPLES[name].handler
    assert handler
    page = ring0.new_page()
    request = struct.pack("<QIIQQQQ", UNTOUCHED, 0, 0, page, 16, 0, 0)
    status, *_, total, allowed = struct.unpack("<QIIQQQQ", ring0.send(handler, request))
    expected = (0, 16 * 0xAA, 2) if name == "UnblockedUnchecked" else (efi("ACCESS_DENIED"), 0, 0)
    assert (status, total, allowed) == expected, "this ring 0 unblocks nothing"


def test_unchecked_access_faults_at_its_label() -> None:
    ring0 = SampleRing0("UnblockedUnchecked")
    for write, label in ((0, "AtTouchRead"), (1, "AtTouchWrite")):
        with pytest.raises(unicorn.UcError):
            ring0.send(
                "gSampleUnblockedUncheckedHandlerGuid",
                struct.pack("<QIIQQQQ", UNTOUCHED, write, 0, 0x7B00_0000, 16, 0, 0),
            )
        assert ring0.uc.reg_read(x86.UC_X86_REG_RIP) == ring0.place("UnblockedUnchecked", label)


def test_save_state() -> None:
    ring0 = SampleRing0("SaveState")
    reply = ring0.send("gSampleSaveStateHandlerGuid", struct.pack("<QIIQ24s", UNTOUCHED, 514, 8, 1, bytes(24)))
    assert (reply[:8], reply[24:32]) == (bytes(8), struct.pack("<Q", APIC_ID))
    assert [call[0] for call in ring0.calls[-2:]] == [0x7, 0x10021]


@pytest.mark.parametrize("case", SAMPLES["Sizes"].cases, ids=lambda case: case.name)
def test_sizes(case: catalogue.Case) -> None:
    ring0 = SampleRing0("Sizes")
    (size,) = case.arguments
    reply = ring0.send("gSampleSizesHandlerGuid", struct.pack("<QQQ", UNTOUCHED, 0, size))
    assert len(reply) == min(size, 0x10000 - 0x18)
    assert ring0.read(MESSAGES + 0x18, 16) == struct.pack("<QQ", 0, 24)
    if case.name == "Longer":
        assert reply[24:] == bytes(index & 0xFF for index in range(1000))


def test_echo() -> None:
    ring0 = SampleRing0("Echo")
    expected = [b"aZ1", bytes(~byte & 0xFF for byte in b"aZ1"), b"1Za", b"AZ1", b"aZ1"]
    for calls, (case, data) in enumerate(zip(SAMPLES["Echo"].cases, expected, strict=True), 1):
        reply = ring0.send("gSampleEchoHandlerGuid", struct.pack("<QIIQ", UNTOUCHED, case.number, 0, 0) + b"aZ1")
        assert struct.unpack_from("<QIIQ", reply) == (efi(case.status), case.number, sum(b"aZ1"), calls)
        assert reply[24:] == data


def test_short_messages_are_refused() -> None:
    for sample in SAMPLES.values():
        if sample.message and sample.name not in {"Consumer", "EntryError"}:
            ring0 = SampleRing0(sample.name)
            handlers = ring0.handlers[catalogue.guids()[str(sample.handler)].bytes_le]
            for handler in handlers:
                status, _ = ring0.status(handler, bytes(sample.message.size - 1))
                assert status == efi("INVALID_PARAMETER"), sample.name


@pytest.mark.parametrize("case", SAMPLES["IoMsr"].cases, ids=lambda case: case.name)
def test_gated_resources(case: catalogue.Case) -> None:
    ring0 = SampleRing0("IoMsr")
    payload = struct.pack("<QIIQQ", UNTOUCHED, case.number, 0, 0x80, 0x11)
    status, *_, value = struct.unpack("<QIIQQ", ring0.send("gSampleIoMsrHandlerGuid", payload))
    assert status == efi(case.status)
    if case.call is not None:
        assert ring0.calls[-1][0] == case.call
        assert value == {0x3: PORT_VALUE, 0x0: APIC_ID}.get(case.call, 0)


@pytest.mark.parametrize("case", [each for each in OFFENDER.cases if each.number], ids=lambda case: case.name)
def test_benign_twins_come_back(lasting_offender: SampleRing0, case: catalogue.Case) -> None:
    status, result = offend(lasting_offender, case, benign=True)
    assert status == 0
    assert case.name != "Divide" or result == 100


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name)
def test_offending_call_is_made_at_its_label(lasting_offender: SampleRing0, case: catalogue.Case) -> None:
    lasting_offender.stop_at = lasting_offender.place("Offender", str(case.at))
    try:
        with pytest.raises(StoppedError) as stopped:
            offend(lasting_offender, case, benign=False)
    finally:
        lasting_offender.stop_at = None
    assert stopped.value.call[0] == case.call


@pytest.mark.parametrize("case", MEMORY, ids=lambda case: case.name)
def test_offending_access_is_at_its_label(offender: SampleRing0, case: catalogue.Case) -> None:
    with pytest.raises(unicorn.UcError):
        offend(offender, case, benign=False)
    assert offender.touched
    target = struct.unpack("<Q", offender.read(offender.place("Offender", "gOffenderTarget"), 8))[0]
    places = {"*gOffenderTarget": target, "0": 0, "below the stacks": offender.touched.address}
    for named, seen in ((case.address, offender.touched.address), (case.at, offender.uc.reg_read(x86.UC_X86_REG_RIP))):
        assert named is not None
        assert seen == (places[named] if named in places else offender.place("Offender", named))


def test_reported_addresses(offender: SampleRing0) -> None:
    payload = struct.pack("<QIIQ8Q", UNTOUCHED, 0, 0, 0, *[0] * 8)
    assert OFFENDER.handler
    status, *_, image, dispatch, table, hobs, code, constant, data, cpu = struct.unpack(
        "<QIIQ8Q", offender.send(OFFENDER.handler, payload)
    )
    assert (status, cpu, hobs, table) == (0, 0, HOBS, offender.address("gBrokerMmst"))
    assert image == dispatch != 0
    assert code == offender.place("Offender", "ReturnStub")
    assert offender.read(constant, 1) == offender.read(data, 1) == b"\xc3"
