"""PiSmmIpl's entry point, step by step: what it does, how each step fails, what remains (dxe-launch.md §2, §3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mmsupervisor.abi.dxe_launch import CommonRegion, CorePrivateData
from mmsupervisor.core.events import CoreStep, MmiBegan
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.interfaces import CoreImage
from mmsupervisor.ipl.range_table import RangeTable, image_base
from mmsupervisor.ipl.steps import LaunchStep
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob
from mmsupervisor.pi.memory_types import MemoryAttribute
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.firmware import Firmware
from mmsupervisor.platform.wiring import Platform
from tests.ipl.launches import CORE_DATA_GUID, DXE, MP_GUID, REGION_GUID, SOMEBODY, Boot, booting

MM_BASE = known_guid("gEfiMmBaseProtocolGuid")
UNBLOCK_PROTOCOL = known_guid("gMmSupervisorUnblockMemoryProtocolGuid")
DISPATCH_GUID = known_guid("gMmSupervisorDriverDispatchGuid")
UC, WB = int(MemoryAttribute.UC), int(MemoryAttribute.WB)
DEBUG = replace(DXE, debug=True)
MIB = 1 << 20


def owners(boot: Boot) -> list[str]:
    """Owners of PiSmmIpl's pages."""
    return sorted(item.owner for item in boot.platform.world.memory_map.allocations if item.owner.startswith("PiSmm"))


def failed(boot: Boot) -> tuple[int, int]:
    """Step and status of the failure."""
    assert boot.failure is not None
    assert boot.failure.rule == "dxe-launch.md §2"
    return boot.failure.step, boot.failure.status


def rename(name: object, position: int = 0) -> Callable[[Platform], None]:
    """Give a HOB another name, so that nobody finds it."""

    def act(platform: Platform) -> None:
        hob = list(platform.hobs.guid_hobs(name))[position]  # type: ignore[arg-type]
        platform.hobs.replace(hob, GuidHob(SOMEBODY, hob.data))

    return act


def second_region(kind: int) -> Callable[[Platform], None]:
    return lambda platform: platform.hobs.append(GuidHob(REGION_GUID, CommonRegion(kind, 0x1000, 1).pack()))


def without_regions(platform: Platform) -> None:
    rename(REGION_GUID)(platform)
    rename(REGION_GUID)(platform)


def states(platform: Platform, state: MmramState) -> None:
    """Give all ranges of SMM Access 2 another state."""
    access = platform.smm_access2._ranges
    access._ranges = [replace(item, region_state=item.region_state | state) for item in access._ranges]


# Step 1


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        (without_regions, Status.NOT_FOUND),
        (rename(REGION_GUID, 0), Status.NOT_FOUND),
        (rename(REGION_GUID, 1), Status.NOT_FOUND),
        (second_region(0), Status.ALREADY_STARTED),
        (second_region(1), Status.ALREADY_STARTED),
        (lambda platform: platform.hobs.append(GuidHob(REGION_GUID, bytes(8))), Status.INVALID_PARAMETER),
    ],
    ids=["none", "no type 0", "no type 1", "two of type 0", "two of type 1", "too short"],
)
def test_step_1_fails_and_nothing_is_touched(prepare: Callable[[Platform], None], status: Status) -> None:
    with booting(DXE, until=Phase.LAUNCHED, prepare=prepare) as boot:
        assert failed(boot) == (1, status)
        assert owners(boot) == []
        assert boot.platform.smm_access2.calls == []
        assert MM_BASE not in boot.platform.world.protocols


def test_step_1_skips_other_types() -> None:
    with booting(DXE, until=Phase.LAUNCHED, prepare=second_region(2)) as boot:
        assert boot.failure is None


# Steps 2 to 9


def test_steps_2_and_4_the_mailbox_and_its_table() -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        assert owners(boot) == ["PiSmmIpl: mailbox", "PiSmmIpl: range table"]
        mailbox = boot.launcher.mailbox.read()
        assert boot.launcher.mailbox.address % PAGE_SIZE == 0
        table = boot.platform.machine.memory.read(mailbox.ranges, mailbox.range_count * MmramDescriptor.SIZE)
        assert table == b"".join(item.pack() for item in boot.supervisor.mmram.ranges)
        assert mailbox.range_count == len(boot.platform.smm_access2.capabilities()) + 1


def test_an_assert_stops_a_debug_build_only() -> None:
    def locked(platform: Platform) -> None:
        platform.smm_access2.lock()

    with booting(DEBUG, until=Phase.LAUNCHED, prepare=locked) as boot:
        assert failed(boot) == (5, Status.DEVICE_ERROR)
        assert "ASSERT" in str(boot.failure)
        assert boot.platform.core is None
    with booting(DXE, until=Phase.LAUNCHED, prepare=locked) as boot:
        assert (5, "EFI_DEVICE_ERROR") in boot.steps
        assert failed(boot) == (16, Status.UNSUPPORTED)


@pytest.mark.parametrize("state", [MmramState.ALLOCATED, MmramState.NEEDS_TESTING, MmramState.NEEDS_ECC_INITIALIZATION])
def test_step_6_without_a_range(state: MmramState) -> None:
    with booting(DXE, until=Phase.LAUNCHED, prepare=lambda platform: states(platform, state)) as boot:
        assert failed(boot) == (16, Status.UNSUPPORTED)
        assert {number for number, _ in boot.steps} & set(range(7, 13)) == set()
        assert boot.platform.smm_access2.calls == ["capabilities", "open", "close", "lock"]
        assert owners(boot) == ["PiSmmIpl: mailbox"]  # the table is freed, the mailbox stays
        assert boot.mmis == []


def ranges(*places: tuple[int, int]) -> tuple[MmramDescriptor, ...]:
    return tuple(MmramDescriptor(start, start, size, 0) for start, size in places)


def test_step_6_the_largest_and_the_later_of_equals() -> None:
    assert RangeTable(ranges((1 * MIB, MIB), (8 * MIB, 2 * MIB), (16 * MIB, 2 * MIB))).chosen == 2
    assert RangeTable(ranges((0xA0000, 2 * MIB), (1 * MIB, MIB))).chosen == 1  # not below 1 MiB
    assert RangeTable(ranges((1 << 33, MIB))).chosen == 0
    assert RangeTable(ranges((MIB, 0x3EFFF))).chosen is None
    assert RangeTable(ranges((MIB, 0x3F000))).chosen == 0
    assert RangeTable(()).chosen is None


def test_step_7_the_window_takes_all_neighbours_in() -> None:
    table = RangeTable(ranges((4 * MIB, MIB), (2 * MIB, MIB), (8 * MIB, 4 * MIB), (5 * MIB, 3 * MIB)))
    assert (table.window().start, table.window().end) == (4 * MIB, 12 * MIB)
    with pytest.raises(ValueError, match="no MMRAM range"):
        RangeTable(()).window()


def test_step_8_cacheability() -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        base, size = boot.platform.description.mmram_base, boot.platform.description.mmram_size
        space = boot.platform.memory_space
        assert {space.attributes(base), space.attributes(base + size - 1)} == {WB}  # joined with the SMBASE pages
        assert space.attributes(base - 1) == UC


def test_step_8_adds_no_capability_that_is_there() -> None:
    def capable(platform: Platform) -> None:
        platform.memory_space.set_capabilities(0, 1 << 36, UC | WB | MemoryAttribute.XP)
        platform.memory_space.set_attributes(0, 1 << 36, UC | MemoryAttribute.XP)
        platform.memory_space.calls.clear()

    with booting(DXE, until=Phase.LAUNCHED, prepare=capable) as boot:
        assert boot.platform.memory_space.calls == [f"attributes {WB:#x}"]
        assert boot.platform.memory_space.attributes(boot.platform.description.mmram_base) == WB


def test_step_8_a_failure_is_a_warning() -> None:
    def refuse(platform: Platform) -> None:
        platform.memory_space.set_capabilities = lambda *_: Status.UNSUPPORTED  # type: ignore[method-assign]

    with booting(DXE, until=Phase.LAUNCHED, prepare=refuse) as boot:
        assert [status for number, status in boot.steps if number == 8] == ["EFI_UNSUPPORTED"] * 2
        assert boot.failure is None


# Steps 10 to 13


def without_core(firmware: Firmware) -> Firmware:
    return replace(firmware, core=None)


def test_step_10_without_a_core_the_reason_is_lost() -> None:
    with booting(DXE, until=Phase.LAUNCHED, change=without_core) as boot:
        assert (10, "EFI_NOT_FOUND") in boot.steps
        assert (13, "EFI_NOT_FOUND") in boot.steps
        assert boot.platform.memory_space.calls[-1] == f"attributes {UC:#x}"
        assert failed(boot) == (17, Status.SECURITY_VIOLATION)  # surprise 3: only this is ever returned
        assert owners(boot) == ["PiSmmIpl: mailbox", "PiSmmIpl: range table"]
        assert MM_BASE not in boot.platform.world.protocols


def test_step_13_changes_no_cacheability_without_the_cpu() -> None:
    no_cpu = frozenset({known_guid("gEfiCpuArchProtocolGuid")})

    def withhold(platform: Platform) -> None:
        platform.world.boot_services.withheld = no_cpu

    with booting(DXE, until=Phase.LAUNCHED, change=without_core, prepare=withhold) as boot:
        assert 13 not in {number for number, _ in boot.steps}
        assert f"attributes {UC:#x}" not in boot.platform.memory_space.calls


def test_step_11_cuts_from_the_top() -> None:
    core = CoreImage(0x5800, 0x2000, 1, 0)
    table = RangeTable(ranges((0x1000_0000, 4 * MIB), (0x2000_0000, MIB)))
    pages = table.carve(core)
    assert pages is not None
    assert (pages.start, pages.size) == (0x1040_0000 - 0x8000, 0x8000)
    assert [item.physical_size for item in table.ranges] == [4 * MIB - 0x8000, MIB, 0x8000]
    assert table.ranges[2].region_state & MmramState.ALLOCATED
    assert image_base(pages, core) == pages.start
    assert image_base(replace(pages, start=pages.start + 0x1000), core) == pages.start + 0x2000


@pytest.mark.parametrize(("more", "rest"), [(0, 0), (0x1000, 0x1000), (-0x1000, None)])
def test_step_11_a_range_may_be_used_up(more: int, rest: int | None) -> None:
    core = CoreImage(4 * MIB - 0x1000, 0x1000, 1, 0)
    table = RangeTable(ranges((0x1000_0000, 4 * MIB + more)))
    assert (table.carve(core) is None) is (rest is None)
    assert rest is None or table.ranges[0].physical_size == rest


def test_step_11_a_range_smaller_than_the_core() -> None:
    huge = replace(DXE, core_image_pages=0x4000)
    with booting(huge, until=Phase.LAUNCHED) as boot:
        assert failed(boot) == (11, Status.OUT_OF_RESOURCES)
        assert "wraps" in str(boot.failure)
        assert boot.platform.core is None


def test_step_12_without_the_hob_for_the_mailbox() -> None:
    with booting(DXE, until=Phase.LAUNCHED, prepare=rename(CORE_DATA_GUID)) as boot:
        assert failed(boot) == (12, Status.NOT_FOUND)
        assert "NULL pointer" in str(boot.failure)


def test_step_12_hands_image_and_mailbox_over() -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        mailbox = boot.launcher.mailbox.read()
        hob = next(boot.platform.hobs.guid_hobs(CORE_DATA_GUID))
        assert int.from_bytes(hob.data, "little") == boot.launcher.mailbox.address
        assert mailbox.image_base == mailbox.image_entry == boot.supervisor.core_base
        assert mailbox.image_size == DXE.core_image_pages * PAGE_SIZE
        carved = boot.supervisor.mmram.ranges[-1]
        assert carved.physical_start <= mailbox.image_base
        assert mailbox.image_base + mailbox.image_size <= carved.physical_start + carved.physical_size
        assert mailbox.entry_point_registered == 1
        assert (mailbox.communication_buffer, mailbox.in_mm, mailbox.return_status) == (0, 0, 0)


def test_a_core_that_fails_after_its_smi_set_up_answers_access_denied() -> None:
    def no_user_pages(platform: Platform) -> None:
        user = list(platform.hobs.guid_hobs(REGION_GUID))[1]
        region = CommonRegion(1, int.from_bytes(user.data[8:16], "little"), 0)
        platform.hobs.replace(user, GuidHob(REGION_GUID, region.pack()))

    with booting(DXE, until=Phase.LAUNCHED, prepare=no_user_pages) as boot:
        assert (12, "EFI_INVALID_PARAMETER") in boot.steps
        assert failed(boot) == (17, Status.ACCESS_DENIED)


def test_a_core_that_fails_before_answers_nothing() -> None:
    with booting(DXE, until=Phase.LAUNCHED, prepare=rename(MP_GUID)) as boot:
        assert failed(boot) == (17, Status.SECURITY_VIOLATION)


# Steps 14 to 16


def test_steps_15_and_16_a_lock_that_fails_leaves_the_core_alive() -> None:
    def refuse(platform: Platform) -> None:
        platform.smm_access2.lock = lambda: Status.DEVICE_ERROR  # type: ignore[method-assign]

    with booting(DXE, until=Phase.LAUNCHED, prepare=refuse) as boot:
        assert boot.steps[-3:] == [(15, "EFI_DEVICE_ERROR"), (15, "EFI_SUCCESS"), (16, "EFI_UNSUPPORTED")]
        assert failed(boot) == (16, Status.UNSUPPORTED)
        assert boot.platform.core is not None
        assert owners(boot) == ["PiSmmIpl: mailbox"]
        assert boot.mmis == []


# Steps 17 and 18


def test_step_17_asks_for_the_version_only() -> None:
    with booting(replace(DXE, core_patch_level=0), until=Phase.LAUNCHED) as boot:
        assert boot.failure is None  # surprise 2: the patch level is not judged
        assert boot.launcher.version == DXE.core_version


def answer_dispatch(boot: Boot, results: list[int]) -> None:
    """Let the core answer the dispatch message with these bytes, the last one for ever."""

    def serve(buffer: int, size: int) -> tuple[int, int]:
        result = results.pop(0) if len(results) > 1 else results[0]
        boot.supervisor.memory.write(buffer, bytes([result]))
        return Status.SUCCESS, size

    def replace_handler(event: object) -> None:
        if isinstance(event, LaunchStep) and event.number == 17:
            boot.supervisor.lock_time_handlers[0].supervisor = serve

    boot.on(LaunchStep, replace_handler)


@pytest.mark.parametrize(("results", "messages"), [([1], 1), ([0], 1), ([2, 2, 1], 3), ([3], 1)])
def test_step_18_repeats_while_the_core_asks_for_it(results: list[int], messages: int) -> None:
    with booting(DXE) as boot:
        answer_dispatch(boot, list(results))
        boot.advance(Phase.LAUNCHED)
        assert len([number for number, _ in boot.steps if number == 18]) == messages
        assert boot.failure is None
        assert boot.launcher.published


def test_step_18_the_core_s_own_answers() -> None:
    with booting(DXE, "Echo", until=Phase.LAUNCHED) as boot:
        step = next(event for event in boot.of(LaunchStep) if isinstance(event, LaunchStep) and event.number == 18)
        assert "result 1;" in step.what
        again = boot.launcher.ask_supervisor(DISPATCH_GUID.raw + (1).to_bytes(8, "little") + b"\xee", "test")
        assert (again.status, again.data[0x18:]) == (Status.SUCCESS, b"\0")  # nothing is left to be dispatched


def test_step_18_for_ever() -> None:
    with booting(DXE) as boot:
        answer_dispatch(boot, [2])
        boot.advance(Phase.LAUNCHED)
        assert failed(boot) == (18, Status.TIMEOUT)


def test_step_18_comes_before_any_protocol() -> None:
    present = []
    with booting(DXE, "Echo") as boot:
        boot.on(MmiBegan, lambda _: present.append(MM_BASE in boot.platform.world.protocols))
        boot.advance(Phase.END_OF_DXE)
        assert present == [False, False, True]
        assert boot.platform.core is not None
        assert boot.platform.core.dispatcher.results["Echo"] == 0


# Steps 19 to 21


def test_step_19_installs_all_before_anybody_is_notified() -> None:
    seen = []
    with booting(DXE, until=Phase.END_OF_PEI) as boot:
        services = boot.platform.world.boot_services
        services.notify_on_protocol(MM_BASE, lambda: seen.append(list(services.protocols)))
        at_step_20: list[bool] = []
        boot.on(
            LaunchStep,
            lambda event: (
                at_step_20.append(services.has(UNBLOCK_PROTOCOL))
                if isinstance(event, LaunchStep) and event.number == 20
                else None
            ),
        )
        boot.advance(Phase.LAUNCHED)
        assert seen[0].count(MM_BASE) == 0
        assert [guid.label for guid in seen[1][-4:]] == [
            "gEfiMmBaseProtocolGuid",
            "gEfiMmCommunicationProtocolGuid",
            "gEfiMmCommunication2ProtocolGuid",
            "gMmSupervisorCommunicationProtocolGuid",
        ]
        assert at_step_20 == [True]  # §6: the unblock protocol comes with step 19


def test_the_steps_of_a_good_launch() -> None:
    with booting(DXE, until=Phase.LAUNCHED) as boot:
        assert [number for number, _ in boot.steps] == [1, 2, 4, 5, 8, 8, 12, 14, 15, 15, 17, 18, 19, 20, 21]
        assert {status for _, status in boot.steps} == {"EFI_SUCCESS"}
        assert boot.of(CoreStep)


# §3: the MMIs of one boot


def test_the_seven_mmis() -> None:
    posted = []
    with booting(DXE) as boot:

        def note(_: object) -> None:
            mailbox = boot.launcher.mailbox.read()
            length = boot.platform.machine.memory.read_u64(mailbox.communication_buffer + 0x10)
            data = boot.platform.machine.memory.read(mailbox.communication_buffer + 0x18, mailbox.buffer_size - 0x18)
            posted.append((mailbox.buffer_size, length, data))

        boot.on(MmiBegan, note)
        boot.advance(Phase.EXIT_BOOT_SERVICES)
        assert boot.mmis == [
            ("supervisor", "gMmSupervisorRequestHandlerGuid"),
            ("supervisor", "gMmSupervisorDriverDispatchGuid"),
            ("user", "gEfiEndOfDxeEventGroupGuid"),
            ("user", "gEfiDxeMmReadyToLockProtocolGuid"),
            ("supervisor", "gEfiDxeMmReadyToLockProtocolGuid"),
            ("user", "gEfiEventReadyToBootGuid"),
            ("user", "gEfiEventExitBootServicesGuid"),
        ]
        assert [(size, length) for size, length, _ in posted] == [(0x40, 0x18)] + [(0x19, 1)] * 6
        assert [data for _, _, data in posted[1:]] == [b"\0"] * 6
        assert CorePrivateData.SIZE == 0x68
