"""What the entry point takes from the HOB list, its steps and its failures (docs/reference/boot-flow.md §3, §4)."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest

from mmsupervisor.core.entry import start_core
from mmsupervisor.core.errors import LaunchError
from mmsupervisor.core.events import CoreStep
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, BusError
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob, HobRecord, ModuleAllocationHob, ResourceHob, ResourceType, build_hob_list
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import (
    GuardFlags,
    MemoryProtectionSettings,
    MmramBlock,
    MpInformation2,
    ProtectedRegion,
    SmmBase,
    SupervisorCommBuffer,
    UserCommBuffer,
    hob_for,
)
from tests.core.files import CORE, core_volume, driver_file
from tests.core.small import (
    FREE_RAM,
    HOBS,
    HOLE,
    MMIO,
    MMIO_SIZE,
    MMRAM,
    MMRAM_END,
    MMRAM_SIZE,
    OTHER,
    SMRAM_GUID,
    SOMEBODY,
    SUPERVISOR_BUFFER,
    SUPERVISOR_STATUS,
    TILES,
    USER_BUFFER,
    USER_STATUS,
    Ring3Double,
    Small,
    bugs,
    events,
    finding_numbers,
    free_range,
    memory_resource,
    message,
    post,
    processors,
    taken_range,
    unblock_bytes,
)

RESERVE_GUID = known_guid("gEfiMmPeiMmramMemoryReserveGuid")
UNBLOCK_GUID = known_guid("gMmSupvUnblockRegionHobGuid")
PROTECTED_GUID = known_guid("gMmProtectedRegionHobGuid")
CONFIGURATION = known_guid("gEfiMmConfigurationProtocolGuid")
A = FREE_RAM
RP, XP, RO, SP = Attribute.RP, Attribute.XP, Attribute.RO, Attribute.SP


def refused(small: Small) -> Status:
    with pytest.raises(LaunchError) as caught:
        small.start()
    return caught.value.status


def state(supervisor: Supervisor, address: int) -> Attribute:
    return supervisor.memory.state(address).attributes


# MMRAM


def test_the_reserve_hob_wins(small: Small) -> None:
    other = hob_for(MmramBlock((free_range(MMRAM, MMRAM_SIZE),)), RESERVE_GUID)
    small.mmram = (*small.mmram, other)
    assert len(small.start().supervisor.mmram.ranges) == 1
    assert len(small.machine.memory.banks) == 4


def test_without_an_mmram_hob(small: Small) -> None:
    small.mmram = ()
    assert refused(small) is Status.UNSUPPORTED


def test_without_a_range(small: Small) -> None:
    small.mmram = (hob_for(MmramBlock(()), SMRAM_GUID),)
    assert refused(small) is Status.NOT_FOUND


def test_a_count_beyond_the_hob(small: Small) -> None:
    small.mmram = (GuidHob(SMRAM_GUID, struct.pack("<I4x", 0xFFFF_FFFF)),)
    refused(small)


@pytest.mark.parametrize(
    "ranges",
    [
        (free_range(MMRAM + 8, 0x10_0000),),
        (free_range(MMRAM, 0x10_0008),),
        (free_range(1 << 40, 0x10_0000),),
        (free_range(MMRAM, (1 << 64) - 0x1000),),
        (free_range(MMRAM, 1 << 40),),
    ],
)
def test_ranges_that_no_page_table_can_hold(small: Small, ranges: tuple[MmramDescriptor, ...]) -> None:
    small.mmram = (hob_for(MmramBlock(ranges), SMRAM_GUID),)
    assert refused(small) is Status.INVALID_PARAMETER


def test_no_free_range_no_memory(small: Small) -> None:
    small.mmram = (hob_for(MmramBlock((taken_range(MMRAM, MMRAM_SIZE),)), SMRAM_GUID),)
    assert refused(small) is Status.OUT_OF_RESOURCES


def test_the_hob_list_is_copied_to_its_end_and_no_further(small: Small) -> None:
    core = small.start()
    raw = core.inputs.raw
    assert raw[-8:] == struct.pack("<HHI", 0xFFFF, 8, 0)
    copy = core.supervisor.hob_list
    assert core.supervisor.memory.read(copy, len(raw)) == raw
    assert core.supervisor.memory.read(copy + len(raw), 8) == bytes(8)
    assert core.supervisor.configuration[known_guid("gEfiHobListGuid")] == copy
    assert state(core.supervisor, copy) == RO | XP


@pytest.mark.parametrize("address", [HOLE, MMIO, 1 << 40])
def test_a_hob_list_that_lies_nowhere(small: Small, address: int) -> None:
    with pytest.raises(LaunchError):
        start_core(small.machine, None, address)  # type: ignore[arg-type]


# Processors


def test_cpus(small: Small) -> None:
    cpus = small.start().supervisor.cpus
    assert [(cpu.index, cpu.apic_id, cpu.smbase) for cpu in cpus] == [(0, 0, MMRAM - 0x8000), (1, 4, MMRAM - 0x6000)]


def bases(*values: int, index: int = 0) -> HobRecord:
    return hob_for(SmmBase(tuple(values), index))


def mp(*identifiers: int, index: int = 0, size: int = 0x38) -> HobRecord:
    return hob_for(MpInformation2(processors(*identifiers), index, size))


def identifiers(small: Small) -> list[tuple[int, int]]:
    return [(cpu.apic_id, cpu.smbase) for cpu in small.start().supervisor.cpus]


B = MMRAM


@pytest.mark.parametrize(
    ("hobs", "wanted"),
    [
        ([mp(7), bases(B)], [(7, B)]),
        ([mp(1, 2, size=0x40), bases(B, B)], [(1, B), (2, B)]),
        ([mp(3, index=2), mp(1, 2), bases(1, 2, 3)], [(1, 1), (2, 2), (3, 3)]),  # any order
        ([mp(1), bases(2, index=1), bases(1)], None),  # the second HOB is not read: it does not begin at 0
        ([mp(1, 2), bases(2, index=1), bases(1)], [(1, 1), (2, 2)]),
        ([mp(1), bases(1), bases(9, 9)], [(1, 1)]),  # what follows the sum is not read
        ([mp(1, 2), mp(), mp(3, index=2), bases(1, 2)], [(1, 1), (2, 2)]),  # an empty HOB ends the count
        ([mp(index=9), mp(1), bases(1)], None),
    ],
)
def test_chains_of_processor_hobs(small: Small, hobs: list[HobRecord], wanted: list[tuple[int, int]] | None) -> None:
    small.cpus = hobs
    if wanted is None:
        refused(small)
    else:
        assert identifiers(small) == wanted


@pytest.mark.parametrize(
    "hobs",
    [
        [],
        [bases(1)],
        [mp(1)],
        [mp(1, 2), bases(1)],
        [mp(1), bases(1, 2)],
        [mp(1, 2, 3), bases(1, 2), bases(3, 4, index=2)],
        [mp(1, index=1), bases(1)],
        [mp(1), mp(2, index=2), bases(1, 2)],
        [mp(1, 2), bases(1), bases(2, index=2)],
        [GuidHob(known_guid("gMpInformation2HobGuid"), b"\xff" * 16), bases(1)],
        [mp(1), GuidHob(known_guid("gSmmBaseHobGuid"), b"\xff" * 8)],
    ],
)
def test_processors_that_do_not_add_up(small: Small, hobs: list[HobRecord]) -> None:
    small.cpus = hobs
    refused(small)


def test_each_cpu_has_a_stack(small: Small) -> None:
    supervisor = small.start().supervisor
    stacks = supervisor.stacks
    assert (stacks.count, stacks.size) == (2, 0x5000)
    assert all(state(supervisor, stacks.base + n * PAGE_SIZE) == XP for n in range(10))


# Comm buffers


@pytest.mark.parametrize(
    ("comm", "status"),
    [
        ([hob_for(UserCommBuffer(USER_BUFFER, 16, USER_STATUS))], Status.NOT_FOUND),
        ([hob_for(SupervisorCommBuffer(SUPERVISOR_BUFFER, 16, SUPERVISOR_STATUS))], Status.NOT_FOUND),
        (
            [
                hob_for(SupervisorCommBuffer(SUPERVISOR_BUFFER, 16, SUPERVISOR_STATUS, type=1)),
                hob_for(UserCommBuffer(USER_BUFFER, 16, USER_STATUS)),
            ],
            Status.UNSUPPORTED,
        ),
        (
            [
                GuidHob(known_guid("gMmCommonRegionHobGuid"), bytes(24)),
                hob_for(UserCommBuffer(USER_BUFFER, 16, USER_STATUS)),
            ],
            None,
        ),
        (
            [
                hob_for(SupervisorCommBuffer(SUPERVISOR_BUFFER, 1 << 50, SUPERVISOR_STATUS)),
                hob_for(UserCommBuffer(USER_BUFFER, 16, USER_STATUS)),
            ],
            None,
        ),
    ],
)
def test_comm_buffers_that_are_missing_or_wrong(small: Small, comm: list[HobRecord], status: Status | None) -> None:
    small.comm = comm
    found = refused(small)
    assert status is None or found is status


def test_their_place_is_not_judged(small: Small) -> None:
    """The check runs on a zero address: a buffer in MMRAM fails only when its pages are opened, at lock-down."""
    small.comm[0] = hob_for(SupervisorCommBuffer(MMRAM_END - 0x20000, 16, SUPERVISOR_STATUS))
    supervisor = small.start().supervisor
    assert "boot-flow.md §12.3" in bugs(supervisor)
    assert "MM-2007" in finding_numbers(supervisor)
    assert state(supervisor, USER_BUFFER) & RP, "the failure ends the step"


def test_descriptor_tables_are_the_supervisors_and_read_only(small: Small) -> None:
    supervisor = small.start().supervisor
    pages = [piece for piece in supervisor.memory.pages if piece.value.use.startswith("descriptor tables")]
    assert [(piece.size, piece.value.attributes) for piece in pages] == [(0x1000, RO | XP | SP)]


def test_copies_and_their_owners(small: Small) -> None:
    supervisor = small.start().supervisor
    assert state(supervisor, supervisor.supervisor.internal) == XP | SP
    assert state(supervisor, supervisor.user.internal) == XP
    assert state(supervisor, supervisor.shared_page) == XP
    for address in (SUPERVISOR_BUFFER, USER_BUFFER, SUPERVISOR_STATUS, USER_STATUS):
        assert state(supervisor, address) == XP | SP, "outside they are the supervisor's, both channels'"


# Unblock and protected regions


def test_unblock_hobs_in_order_after_the_supervisors_own(small: Small) -> None:
    raws = [unblock_bytes(A + 0x2000, 1, memory_type=0), unblock_bytes(A, 1, attribute=0x40000, identifier=OTHER)]
    small.extra = [GuidHob(UNBLOCK_GUID, raw) for raw in raws]
    supervisor = small.start().supervisor
    wanted = [MMIO, SUPERVISOR_BUFFER, USER_BUFFER, SUPERVISOR_STATUS, USER_STATUS, A + 0x2000, A]
    assert [region.start for region in supervisor.unblocked.regions] == wanted
    assert [region.identifier for region in supervisor.unblocked.regions] == [CORE] * 5 + [SOMEBODY, OTHER]
    assert [region.type for region in supervisor.unblocked.regions] == [0, 6, 6, 6, 6, 0, 6]
    assert (state(supervisor, A + 0x2000), state(supervisor, A)) == (XP, XP | SP)


def test_a_bad_unblock_hob_does_not_stop_the_others(small: Small) -> None:
    starts = (A, MMRAM, A, A + 0x1000)
    small.extra = [GuidHob(UNBLOCK_GUID, unblock_bytes(start, 1, memory_type=n)) for n, start in enumerate(starts)]
    small.extra.append(GuidHob(UNBLOCK_GUID, unblock_bytes(A + 0x4000, 1)[:40] + bytes(16)))
    supervisor = small.start().supervisor
    assert [region.start for region in supervisor.unblocked.regions[5:]] == [A, A + 0x1000]
    assert finding_numbers(supervisor).count("MM-2007") == 3


def protected(address: int, pages: int, kind: int = 0) -> GuidHob:
    return GuidHob(PROTECTED_GUID, ProtectedRegion(kind, address, pages).pack())


def test_protected_regions_stay_readable(small: Small) -> None:
    small.extra = [protected(A, 2), protected(MMIO, 1)]
    supervisor = small.start().supervisor
    assert state(supervisor, A) == state(supervisor, A + PAGE_SIZE) == RO | XP
    assert state(supervisor, MMIO) == RO | XP, "an IOMMU in an MMIO range ends read-only"
    assert state(supervisor, MMIO + PAGE_SIZE) == XP
    assert len(supervisor.unblocked.regions) == 5, "they are not in the list"


@pytest.mark.parametrize("kind", [1, 2, 99])
def test_a_type_that_is_not_supported_ends_the_protected_regions(small: Small, kind: int) -> None:
    small.extra = [protected(A, 1), protected(A + 0x2000, 1, kind), protected(A + 0x4000, 1)]
    supervisor = small.start().supervisor
    assert state(supervisor, A) == RO | XP
    assert state(supervisor, A + 0x2000) & RP
    assert state(supervisor, A + 0x4000) & RP
    assert "MM-2007" in finding_numbers(supervisor)


@pytest.mark.parametrize(("address", "pages"), [(A + 8, 1), (1 << 40, 1), (A, 1 << 52), (A, (1 << 64) - 1), (A, 0)])
def test_protected_regions_that_are_no_pages(small: Small, address: int, pages: int) -> None:
    small.extra = [protected(address, pages)]
    assert state(small.start().supervisor, A) & RP


# Resource descriptors


def test_a_map_that_does_not_nest_is_a_cold_reset(small: Small) -> None:
    small.resources.append(memory_resource(MMRAM - PAGE_SIZE, PAGE_SIZE))
    with pytest.raises(SystemStopError) as caught:
        small.start()
    assert caught.value.finding.kind.number == "MM-2009"


def test_what_lies_outside(small: Small) -> None:
    small.resources.append(memory_resource(0xFFC0_0000, 0x1800, ResourceType.FIRMWARE_DEVICE))
    supervisor = small.start().supervisor
    assert state(supervisor, MMIO) == state(supervisor, MMIO + MMIO_SIZE - 1) == XP
    assert state(supervisor, 0xFFC0_1FFF) == XP, "lengths are rounded up"
    for address in (0, 0x1000, A, HOLE, MMIO - 1, MMIO + MMIO_SIZE, 0xFFC0_2000, (1 << 36) - 1):
        assert state(supervisor, address) & RP


def test_mmio_that_is_not_aligned_is_not_opened(small: Small) -> None:
    small.resources.append(ResourceHob(ResourceType.MEMORY_MAPPED_IO, 0xFFC0_0800, 0x1000, 0))
    supervisor = small.start().supervisor
    assert state(supervisor, 0xFFC0_0800) & RP
    assert "memory.md surprise 9" in bugs(supervisor)


# Heap guards


def test_page_guards(small: Small) -> None:
    settings = MemoryProtectionSettings(guards=int(GuardFlags.PAGE_GUARD), page_types=1 << 6)
    small.extra = [hob_for(settings)]
    supervisor = small.start().supervisor
    assert state(supervisor, supervisor.user.internal - 1) & RP
    assert state(supervisor, supervisor.user.internal + supervisor.user.size) & RP
    assert supervisor.hob_list + PAGE_SIZE == MMRAM_END, "code pages are not guarded"


@pytest.mark.parametrize("settings", [MemoryProtectionSettings(page_types=1 << 6), None])
def test_no_guards(small: Small, settings: MemoryProtectionSettings | None) -> None:
    small.extra = [] if settings is None else [hob_for(settings)]
    assert small.start().supervisor.pages.guards == set()


# Order, and what the core has of its own


def test_steps_are_in_order(small: Small) -> None:
    small.add_volume(core_volume(driver_file(0)))
    steps = [event.number for event in events(small.start().supervisor, CoreStep) if isinstance(event, CoreStep)]
    assert steps == sorted(steps)
    assert steps[-2:] == [19, 20]


def test_handlers_and_protocols_of_the_core(small: Small) -> None:
    supervisor = small.start().supervisor
    found = [handler.label for handler in supervisor.handlers.all()]
    assert found == [
        "gMmSupervisorDriverDispatchGuid",
        "gEfiDxeMmReadyToLockProtocolGuid",
        "gMmSupervisorRequestHandlerGuid",
        "gEfiEventExitBootServicesGuid",
    ]
    assert supervisor.protocols.installed() == (CONFIGURATION, known_guid("gEfiLoadedImageProtocolGuid"))


def test_the_final_attributes(small: Small) -> None:
    """The table of memory.md §4, row by row, where a Python core has the row."""
    image = MMRAM_END - 0x60000
    small.mmram = (
        hob_for(
            MmramBlock(
                (
                    taken_range(MMRAM, TILES),
                    free_range(MMRAM + TILES, MMRAM_SIZE - TILES - 0x60000),
                    taken_range(image, 0x60000),
                )
            ),
            SMRAM_GUID,
        ),
    )
    small.extra = [ModuleAllocationHob(image, 0x60000, CORE, image + 0x1000, 5)]
    small.add_volume(core_volume(driver_file(0)))
    core = small.start()
    supervisor = core.supervisor
    data = XP | SP
    wanted = {
        "free MMRAM": (MMRAM + TILES, data),
        "SMI entry code": (MMRAM, RO | SP),
        "save state": (MMRAM - 0x8000 + 0xFC00, data),
        "core image": (image + 0x1000, RO | SP),
        "policy": (supervisor.policy_address, RO | XP | SP),
        "HOB copy": (supervisor.hob_list, RO | XP),
        "ring-3 stacks": (supervisor.stacks.base, XP),
        "user comm copy": (supervisor.user.internal, XP),
        "supervisor comm copy": (supervisor.supervisor.internal, data),
        "supervisor to user page": (supervisor.shared_page, XP),
        "driver cache": (supervisor.driver_cache.address, RO | XP),
        "a handle": (supervisor.handlers.all()[0].handle, data),
        "NULL page": (0, RP | XP),
    }
    assert {name: state(supervisor, address) for name, (address, _) in wanted.items()} == {
        name: attributes for name, (_, attributes) in wanted.items()
    }
    assert core.dispatcher.dispatch() == 0
    module = supervisor.modules.by_name("D0")
    assert module is not None
    assert state(supervisor, module.entry) == RO
    writable_code = [
        piece.value.use
        for piece in supervisor.memory.slice(MMRAM, MMRAM_SIZE)
        if not piece.value.attributes & (XP | RO)
    ]
    assert writable_code == []


def test_needs_testing_is_no_heap(small: Small) -> None:
    held = MmramDescriptor(MMRAM, MMRAM, MMRAM_SIZE // 2, MmramState.NEEDS_TESTING)
    rest = free_range(MMRAM + MMRAM_SIZE // 2, MMRAM_SIZE // 2)
    small.mmram = (hob_for(MmramBlock((held, rest)), SMRAM_GUID),)
    small.cpus = [mp(0), bases(MMRAM - 0x8000)]
    supervisor = small.start().supervisor
    assert supervisor.stacks.base > rest.physical_start


# Hostile lists


def damaged(small: Small, seed: int) -> bytes:
    """The HOB list with a few fields changed to values that hurt."""
    chance = random.Random(seed)
    small.extra = [GuidHob(UNBLOCK_GUID, unblock_bytes(A, 1)), protected(A + 0x4000, 1)]
    small.add_volume(core_volume(driver_file(0)))
    small.hob_list()
    records = [*small.resources, *small.mmram, *small.cpus, *small.comm, *small.extra]
    data = bytearray(build_hob_list(records, HOBS))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) // 4) * 4
        value = chance.choice([0, 1, 7, 0xFFF, 0x1000, 0x7FFF_FFFF, 0xFFFF_F000, 0xFFFF_FFFF, chance.getrandbits(32)])
        data[at : at + 4] = struct.pack("<I", value)
    return bytes(data)


@pytest.mark.parametrize("seed", range(400))
def test_a_damaged_hob_list_is_an_error_or_a_core(small: Small, seed: int) -> None:
    data = damaged(small, seed)
    small.machine.memory.fill(HOBS, len(data) + 0x1000, 0xFF)
    small.machine.memory.write(HOBS, data)
    with suppress(LaunchError, SystemStopError):
        core = start_core(small.machine, None, HOBS)  # type: ignore[arg-type]
        core.supervisor.ring3 = Ring3Double()
        core.dispatcher.dispatch()
        with suppress(BusError):  # the buffer's HOB may point anywhere
            post(core.supervisor, core.supervisor.user, message(OTHER, b"x"))
        serve_mmi(core.supervisor, "test")
