"""The test table of docs/reference/dxe-launch.md §7: each row's observable, under the PEI and the DXE launch."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor.abi.dxe_launch import CommonRegion
from mmsupervisor.abi.profile import Profile
from mmsupervisor.core.events import MmiBegan
from mmsupervisor.core.inputs import CORE_GUID
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.communicate import communicate
from mmsupervisor.ipl.slot_communicate import SlotCommunicate
from mmsupervisor.ipl.steps import LaunchStep
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.memory_types import MemoryAttribute
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import MmramBlock
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.firmware import Firmware
from mmsupervisor.platform.wiring import Platform
from tests.ipl.launches import (
    DXE,
    LEGACY_BOOT_GUID,
    LOCK_GUID,
    MP_GUID,
    PEI,
    REGION_GUID,
    SMRAM_GUID,
    SOMEBODY,
    booting,
    is_dxe,
)

SHEET = Path(__file__).resolve().parents[2] / "docs/reference/dxe-launch.md"
MM_BASE = known_guid("gEfiMmBaseProtocolGuid")
COMMUNICATION_1 = known_guid("gEfiMmCommunicationProtocolGuid")
COMMUNICATION_2 = known_guid("gEfiMmCommunication2ProtocolGuid")
COMMUNICATION_3 = known_guid("gEfiMmCommunication3ProtocolGuid")
SUPERVISOR_PROTOCOL = known_guid("gMmSupervisorCommunicationProtocolGuid")
VARIABLE_MARKERS = {known_guid("gEfiSmmVariableProtocolGuid"), known_guid("gSmmVariableWriteGuid")}
BOTH = pytest.mark.parametrize("launch", [PEI, DXE], ids=["pei", "dxe"])
OVERSIZE = 16 * PAGE_SIZE + 1
FOUR_GIB = 1 << 32


def message(guid: Guid, payload: bytes = bytes(1)) -> bytes:
    return guid.raw + len(payload).to_bytes(8, "little") + payload


def test_every_row_of_the_fact_sheet_has_its_test() -> None:
    table = SHEET.read_text("utf-8").split("## 7.")[1].split("\n## ")[0]
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.M)}
    tests = {int(found[1]) for name in globals() if (found := re.match(r"test_row_(\d+)_", name))}
    assert rows == tests == set(range(1, 27))


@pytest.mark.parametrize(
    ("launch", "withheld"),
    [
        (PEI, "gEfiPeiMmAccessPpiGuid"),
        (PEI, "gEfiPeiMmControlPpiGuid"),
        (PEI, "gMmCommunicationBufferReadyPpiGuid"),
        (DXE, "gEfiSmmAccess2ProtocolGuid"),
        (DXE, "gEfiSmmControl2ProtocolGuid"),
    ],
)
def test_row_01_a_launcher_without_its_dependencies_never_runs(launch: Profile, withheld: str) -> None:
    missing = known_guid(withheld)
    other = known_guid("gEfiSmmAccess2ProtocolGuid" if launch is PEI else "gEfiPeiMmAccessPpiGuid")
    with booting(
        launch, until=Phase.READY_TO_BOOT, description=PlatformDescription(withheld=frozenset({missing}))
    ) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (0, Status.NOT_FOUND)
        assert missing.label in str(boot.failure)
        assert (boot.mmis, boot.platform.core) == ([], None)
    with booting(launch, until=Phase.LAUNCHED, description=PlatformDescription(withheld=frozenset({other}))) as boot:
        assert boot.failure is None


def put_type_1_in_front(platform: Platform) -> None:
    records = platform.hobs.records
    hob = GuidHob(REGION_GUID, CommonRegion(1, platform.world.memory_map.allocate(16, 6, "test"), 16).pack() + bytes(8))
    for old in [one for one in platform.hobs.guid_hobs(REGION_GUID) if one.data[0] == 1]:
        hob = old
        records.remove(old)
    first = next(platform.hobs.guid_hobs(REGION_GUID))
    records.insert(records.index(first), hob)
    platform.hobs.append(GuidHob(SOMEBODY, b""))  # writes the list


def test_row_02_a_type_1_hob_in_front() -> None:
    with booting(PEI, until=Phase.LAUNCHED, prepare=put_type_1_in_front) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (2, Status.UNSUPPORTED)
    with booting(DXE, until=Phase.LAUNCHED, prepare=put_type_1_in_front) as boot:
        assert boot.failure is None
        assert [body.data[0] for body in boot.platform.hobs.guid_hobs(REGION_GUID)] == [1, 0]
    with booting(PEI, until=Phase.LAUNCHED) as boot:
        assert [body.data[0] for body in boot.platform.hobs.guid_hobs(REGION_GUID)] == [0]  # none of type 1: no effect
        assert boot.failure is None


def test_row_02_no_type_1_hob_at_all() -> None:
    def without(platform: Platform) -> None:
        second = list(platform.hobs.guid_hobs(REGION_GUID))[1]
        platform.hobs.replace(second, GuidHob(SOMEBODY, second.data))

    with booting(DXE, until=Phase.LAUNCHED, prepare=without) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (1, Status.NOT_FOUND)


@BOTH
def test_row_03_mailbox_pages_in_the_unblocked_list(launch: Profile) -> None:
    with booting(launch, until=Phase.LAUNCHED) as boot:
        own = [region for region in boot.supervisor.unblocked.regions if region.identifier == CORE_GUID]
        mailboxes = [region.start for region in own if region.supervisor and region.pages == 1]
        assert len(mailboxes) == (1 if is_dxe(launch) else 2)
        if is_dxe(launch):
            assert mailboxes == [boot.launcher.mailbox.address]


def test_row_04_both_pending_in_pei_the_user_wins() -> None:
    with booting(PEI, until=Phase.LAUNCHED) as boot:
        launcher, memory = boot.pei._launcher, boot.platform.machine.memory
        channel = launcher.supervisor_channel
        posted = communicate(memory, channel, lambda _: Status.DEVICE_ERROR, message(SOMEBODY), size=25, source="test")
        assert posted.status == Status.UNSUPPORTED
        boot.platform.world.send(SOMEBODY, bytes(1))
        assert boot.mmis[-1] == ("user", SOMEBODY.label)
        assert memory.read(channel.status, 1) == b"\1"  # still pending
        boot.platform.trigger("next")
        assert boot.mmis[-1] == ("supervisor", SOMEBODY.label)


def test_row_04_one_slot_in_dxe_the_second_post_overwrites_the_first() -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        launcher, platform = boot.launcher, boot.platform
        refusing = SlotCommunicate(
            platform.machine.memory,
            boot.dxe._runtime_map,
            launcher.mailbox,
            lambda _: Status.DEVICE_ERROR,
            lambda *_: None,
        )
        first = refusing.send(launcher.supervisor.channel, message(SOMEBODY), size=None, source="test")
        assert first.status == Status.UNSUPPORTED
        assert launcher.mailbox.read().communication_buffer == launcher.supervisor.channel.address
        before = len(boot.mmis)
        platform.world.send(SOMEBODY, bytes(1))
        platform.trigger("next")
        assert boot.mmis[before:] == [("user", SOMEBODY.label), ("none", "")]
        assert "dxe-launch.md §5" in boot.bugs


@BOTH
def test_row_05_hob_and_capability_differ(launch: Profile) -> None:
    less = 16 << 20

    def shrink_the_hob(platform: Platform) -> None:
        hob = next(platform.hobs.guid_hobs(SMRAM_GUID))
        tiles, heap = MmramBlock.parse(Reader(hob.data, "HOB")).descriptors
        ranges = MmramBlock((tiles, replace(heap, physical_size=heap.physical_size - less)))
        platform.hobs.replace(hob, GuidHob(SMRAM_GUID, ranges.pack()))

    with booting(launch, until=Phase.LAUNCHED, prepare=shrink_the_hob) as boot:
        ranges = boot.supervisor.mmram.ranges
        whole = boot.platform.description.mmram_size
        assert sum(item.physical_size for item in ranges) == (whole if is_dxe(launch) else whole - less)
        assert len(ranges) == 3
        assert ranges[-1].region_state & MmramState.ALLOCATED  # the core's own carve-out is the last one in both


def test_row_06_only_a_range_above_4_gib() -> None:
    high = MmramDescriptor(FOUR_GIB, FOUR_GIB, 64 << 20, MmramState.CLOSED)

    def only_high(platform: Platform) -> None:
        hob = next(platform.hobs.guid_hobs(SMRAM_GUID))
        tiles = MmramBlock.parse(Reader(hob.data, "HOB")).descriptors[0]
        platform.hobs.replace(hob, GuidHob(SMRAM_GUID, MmramBlock((tiles, high)).pack()))
        platform.smm_access2._ranges._ranges = [tiles, high]

    description = PlatformDescription(above_4g=64 << 20)
    with booting(PEI, until=Phase.LAUNCHED, description=description, prepare=only_high) as boot:
        assert boot.failure is not None
        assert boot.failure.step == 8
        assert "loops for ever" in str(boot.failure)
    with booting(DXE, "Echo", until=Phase.LAUNCHED, description=description, prepare=only_high) as boot:
        assert boot.failure is None
        assert boot.launcher.mailbox.read().image_base > FOUR_GIB
        assert boot.platform.core is not None
        assert boot.platform.core.dispatcher.results["Echo"] == 0


def test_row_07_calls_for_mmram() -> None:
    with booting(PEI, until=Phase.LAUNCHED) as boot:
        assert boot.platform.access.calls == ["capabilities", "open 0", "close 0", "lock 0"]
        assert boot.platform.memory_space.calls == []
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        assert boot.platform.smm_access2.calls == ["capabilities", "open", "close", "lock"]
        both, write_back = int(MemoryAttribute.UC | MemoryAttribute.WB), int(MemoryAttribute.WB)
        assert boot.platform.memory_space.calls == [f"capabilities {both:#x}", f"attributes {write_back:#x}"]
    no_cpu = PlatformDescription(withheld=frozenset({known_guid("gEfiCpuArchProtocolGuid")}))
    with booting(DXE, until=Phase.LAUNCHED, description=no_cpu) as boot:
        assert not [call for call in boot.platform.memory_space.calls if call.startswith("attributes")]


def test_row_07_the_first_error_stops_one_of_them() -> None:
    def lock_early(platform: Platform) -> None:
        platform.access.lock(0)
        platform.smm_access2.lock()

    with booting(PEI, until=Phase.LAUNCHED, prepare=lock_early) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (5, Status.DEVICE_ERROR)
        assert boot.platform.core is None
    with booting(DXE, until=Phase.LAUNCHED, prepare=lock_early) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (16, Status.UNSUPPORTED)
        assert boot.platform.core is not None  # it goes on to the end of its entry point


def only_in_a_nested_volume(firmware: Firmware) -> Firmware:
    return replace(firmware, volumes=tuple(one for one in firmware.volumes if one.name != firmware.core_volume))


def test_row_08_the_core_in_a_volume_without_hob() -> None:
    with booting(PEI, "Echo", until=Phase.LAUNCHED, change=only_in_a_nested_volume) as boot:
        assert (7, "EFI_NOT_FOUND") in boot.steps
        assert boot.platform.core is None
    with booting(DXE, "Echo", until=Phase.LAUNCHED, change=only_in_a_nested_volume) as boot:
        assert boot.failure is None
        assert boot.launcher.mailbox.read().boot_volume == 0
        assert boot.platform.core is not None
        assert boot.platform.core.dispatcher.drivers == []
        assert "dxe-launch.md §8.8" in boot.bugs
    with booting(DXE, "Echo", until=Phase.LAUNCHED) as boot:
        assert boot.launcher.mailbox.read().boot_volume == boot.platform.core.discovery.core_volume != 0  # type: ignore[union-attr]


@BOTH
def test_row_09_a_hob_built_late_in_pei(launch: Profile) -> None:
    with booting(launch) as boot:
        if not is_dxe(launch):
            boot.advance(Phase.LAUNCHED)
        boot.platform.hobs.append(GuidHob(SOMEBODY, b"late"))
        boot.advance(Phase.DXE)
        supervisor = boot.supervisor
        seen = supervisor.memory.read(supervisor.hob_list, 2 * PAGE_SIZE)
        assert (SOMEBODY.raw in seen) is is_dxe(launch)


@BOTH
def test_row_10_a_failing_core_is_first_seen_by_the_version_query(launch: Profile) -> None:
    def without_processors(platform: Platform) -> None:
        hob = next(platform.hobs.guid_hobs(MP_GUID))
        platform.hobs.replace(hob, GuidHob(SOMEBODY, hob.data))

    with booting(launch, until=Phase.LAUNCHED, prepare=without_processors) as boot:
        assert boot.failure is not None
        assert boot.platform.core_failure is not None
        query = 17 if is_dxe(launch) else 14
        assert (boot.failure.step, boot.failure.status) == (query, Status.SECURITY_VIOLATION)
        uncached = boot.platform.memory_space.calls[-1:] == [f"attributes {int(MemoryAttribute.UC):#x}"]
        assert uncached is is_dxe(launch)


@BOTH
def test_row_11_message_length_of_the_version_query(launch: Profile) -> None:
    lengths = []
    with booting(launch) as boot:
        records = boot.platform.hobs.guid_hobs(REGION_GUID)
        address = next(int.from_bytes(hob.data[8:16], "little") for hob in records if hob.data[0] == 0)
        boot.on(MmiBegan, lambda _: lengths.append(boot.platform.machine.memory.read_u64(address + 0x10)))
        boot.advance(Phase.LAUNCHED)
        assert lengths[0] == (0x18 if is_dxe(launch) else 0x28)
        sizes = [event.size for event in boot.of(MmiBegan) if isinstance(event, MmiBegan)]
        assert sizes[0] == 0x28  # the handler sees the same payload


@BOTH
def test_row_12_bytes_beyond_the_message(launch: Profile) -> None:
    with booting(launch, until=Phase.DXE) as boot:
        channel = boot.supervisor.user
        boot.platform.machine.memory.fill(channel.external, channel.size, 0xEE)
        boot.platform.world.send(SOMEBODY, bytes(4))
        beyond = boot.supervisor.memory.read(channel.internal + 0x18 + 4, 64)
        assert set(beyond) == ({0} if is_dxe(launch) else {0xEE})


@BOTH
def test_row_13_a_core_of_version_0(launch: Profile) -> None:
    with booting(replace(launch, core_version=0), until=Phase.LAUNCHED) as boot:
        assert boot.failure is not None
        assert (boot.failure.step, boot.failure.status) == (17 if is_dxe(launch) else 14, Status.SECURITY_VIOLATION)
        assert boot.platform.core is not None


@BOTH
def test_row_14_a_dispatch_message_that_nobody_answers(launch: Profile) -> None:
    with booting(launch) as boot:

        def take_the_handler_away(event: object) -> None:
            if isinstance(event, LaunchStep) and event.number == (17 if is_dxe(launch) else 14):
                handler = boot.supervisor.lock_time_handlers[0]
                boot.supervisor.handlers.unregister(handler.handle, user=False)

        boot.on(LaunchStep, take_the_handler_away)
        boot.advance(Phase.LAUNCHED)
        if is_dxe(launch):
            assert boot.failure is None
            assert boot.launcher.published
            assert (18, "EFI_NOT_FOUND") in boot.steps
        else:
            assert boot.failure is not None
            assert (boot.failure.step, boot.failure.status) == (15, Status.UNSUPPORTED)
            assert not boot.pei._launcher.published


@BOTH
def test_row_15_what_is_published(launch: Profile) -> None:
    with booting(launch, until=Phase.LAUNCHED) as boot:
        early = set(boot.platform.world.protocols)
        boot.advance(Phase.DXE)
        later = set(boot.platform.world.protocols)
        assert {COMMUNICATION_1, COMMUNICATION_2, SUPERVISOR_PROTOCOL} <= later
        assert (COMMUNICATION_1 in early) is is_dxe(launch)
        assert (COMMUNICATION_3 in later) is not is_dxe(launch)
        assert (MM_BASE in later) is is_dxe(launch)


@BOTH
def test_row_16_mm_base_till_the_end(launch: Profile) -> None:
    with booting(launch, until=Phase.EXIT_BOOT_SERVICES) as boot:
        assert (MM_BASE in boot.platform.world.protocols) is is_dxe(launch)
        if is_dxe(launch):
            assert boot.launcher.mm_base.in_mm() is False
            assert boot.launcher.mm_base.mmst_location() == (Status.UNSUPPORTED, 0)


@BOTH
def test_row_17_end_of_pei_in_mm(launch: Profile) -> None:
    with booting(launch, until=Phase.READY_TO_BOOT) as boot:
        present = boot.supervisor.protocols.has(known_guid("gEfiMmEndOfPeiProtocol"))
        assert present is not is_dxe(launch)
        assert (("user", "gEfiMmEndOfPeiProtocol") in boot.mmis) is not is_dxe(launch)


@pytest.mark.parametrize("moves", [True, False])
@BOTH
def test_row_18_request_4_moves_the_buffers(launch: Profile, moves: bool) -> None:
    with booting(launch, until=Phase.READY_TO_BOOT, description=PlatformDescription(moves_comm_buffers=moves)) as boot:
        assert ("COMM_UPDATE" in boot.requests) is (moves and not is_dxe(launch))


@BOTH
def test_row_19_ready_to_lock_user_first(launch: Profile) -> None:
    with booting(launch, until=Phase.END_OF_DXE) as boot:
        before = len(boot.mmis)
        boot.advance(Phase.READY_TO_LOCK)
        assert boot.mmis[before:] == [("user", LOCK_GUID.label), ("supervisor", LOCK_GUID.label)]
        assert boot.supervisor.lifecycle.ready_to_lock


@BOTH
def test_row_20_legacy_boot(launch: Profile) -> None:
    with booting(launch, until=Phase.READY_TO_BOOT) as boot:
        before = len(boot.mmis)
        boot.platform.world.signal(LEGACY_BOOT_GUID)
        assert boot.mmis[before:] == ([("user", LEGACY_BOOT_GUID.label)] if is_dxe(launch) else [])


@BOTH
def test_row_21_exit_boot_services(launch: Profile) -> None:
    with booting(launch, until=Phase.READY_TO_BOOT) as boot:
        before = len(boot.mmis)
        boot.advance(Phase.EXIT_BOOT_SERVICES)
        channels = [channel for channel, _ in boot.mmis[before:]]
        assert channels == (["user"] if is_dxe(launch) else ["user", "supervisor"])
        status, version = boot.ask_version()
        assert boot.mmis[-1][0] == ("supervisor" if is_dxe(launch) else "refused")
        assert (status == Status.SUCCESS and version != 0) is is_dxe(launch)


def test_row_22_a_message_too_large_for_the_user_channel() -> None:
    long = message(SOMEBODY, bytes(OVERSIZE - 0x18))
    with booting(PEI, until=Phase.LAUNCHED) as boot:
        launcher = boot.pei._launcher
        assert launcher.user_channel is not None
        answer = communicate(
            boot.platform.machine.memory,
            launcher.user_channel,
            boot.platform.trigger,
            long,
            size=len(long),
            source="test",
        )
        assert (answer.status, answer.size) == (Status.BAD_BUFFER_SIZE, launcher.user_channel.size)
        boot.advance(Phase.DXE)
        assert boot.platform.world.send(SOMEBODY, bytes(OVERSIZE - 0x18)).status == Status.INVALID_PARAMETER
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        answer = boot.platform.world.send(SOMEBODY, bytes(OVERSIZE - 0x18))
        assert (answer.status, answer.size) == (Status.BAD_BUFFER_SIZE, 16 * PAGE_SIZE)


def test_row_23_comm_size_that_is_not_the_message_s() -> None:
    short = message(SOMEBODY, bytes(8))
    with booting(PEI, until=Phase.DXE) as boot:
        assert boot.pei.communication is not None
        assert boot.pei.communication.communicate(short, len(short) + 8).status == Status.INVALID_PARAMETER
        assert boot.pei.communication.communicate(short, len(short)).status == Status.NOT_FOUND
    with booting(DXE, until=Phase.DXE) as boot:
        for size in (len(short) + 8, len(short)):
            assert boot.launcher.user.communicate(short, size).status == Status.NOT_FOUND
            assert boot.mmis[-1] == ("user", SOMEBODY.label)


@BOTH
def test_row_24_unblocking_by_hob(launch: Profile) -> None:
    with booting(launch) as boot:
        assert (boot.unblock().window, boot.unblock().status) == ("PEI", Status.SUCCESS)
        boot.advance(Phase.LAUNCHED)
        opened = [one for one in boot.supervisor.unblocked.regions if one.identifier == SOMEBODY]
        assert len(opened) == 2
        late = boot.unblock()
        if is_dxe(launch):
            assert late.window == "DXE"  # PEI was over before the launch, and no call in PEI was ever late
        else:
            assert (late.window, late.status) == ("PEI", Status.ACCESS_DENIED)


@BOTH
def test_row_25_unblocking_by_protocol(launch: Profile) -> None:
    with booting(launch, until=Phase.END_OF_PEI) as boot:
        early = boot.unblock()
        if is_dxe(launch):
            assert (early.window, early.status) == ("DXE", Status.NOT_AVAILABLE_YET)
            boot.advance(Phase.LAUNCHED)
        else:
            assert early.window == "PEI"
            boot.advance(Phase.DXE)
        now = boot.unblock()
        assert (now.window, now.status) == ("DXE", Status.SUCCESS)
        boot.advance(Phase.READY_TO_LOCK)
        assert boot.unblock().status == Status.ACCESS_DENIED


@BOTH
def test_row_26_variable_markers(launch: Profile) -> None:
    with booting(launch, until=Phase.DXE) as boot:
        assert VARIABLE_MARKERS.isdisjoint(boot.platform.world.protocols) is not is_dxe(launch)
        boot.platform.world.boot_services.install(*VARIABLE_MARKERS)  # as a driver with VariableMmDependency does
        assert set(boot.platform.world.protocols) >= VARIABLE_MARKERS
