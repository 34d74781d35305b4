"""The launcher of today, step by step, and each way in which it fails (docs/reference/boot-flow.md §2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mmsupervisor.ipl.launcher import LaunchFailedError, PeiLauncher, choose_range
from mmsupervisor.pi.guid import ZERO_GUID
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob, ModuleAllocationHob
from mmsupervisor.pi.mmram import MmramDescriptor, MmramState
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import MmramBlock, SupervisorCommBuffer, hob_for
from tests.ipl.bench import BUFFER, CORE, DISPATCH, MIB, REQUEST, SMRAM, USER, Bench, Hobs, mmram

END_OF_PEI = known_guid("gEfiMmEndOfPeiProtocol")
COMMON = known_guid("gMmCommonRegionHobGuid")
TAKEN, TESTING, ECC = MmramState.ALLOCATED, MmramState.NEEDS_TESTING, MmramState.NEEDS_ECC_INITIALIZATION
SMALLEST = 0x3F000


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.memory.close()


def fails(bench: Bench, step: int, status: Status) -> PeiLauncher:
    launcher = bench.launcher()
    with pytest.raises(LaunchFailedError) as caught:
        launcher.launch()
    assert (caught.value.step, caught.value.status) == (step, status)
    assert not launcher.published
    return launcher


# Step 6


@pytest.mark.parametrize(
    ("ranges", "chosen"),
    [
        ([], None),
        ([mmram(MIB, SMALLEST)], 0),
        ([mmram(MIB, SMALLEST - 1)], None),
        ([mmram(MIB - 1, MIB)], None),
        ([mmram(MIB, 4 * MIB, TAKEN)], None),
        ([mmram(MIB, 4 * MIB, TESTING)], None),
        ([mmram(MIB, 4 * MIB, ECC)], None),
        ([mmram(MIB, 4 * MIB), mmram(8 * MIB, 5 * MIB), mmram(16 * MIB, 4 * MIB)], 1),
        ([mmram(MIB, 4 * MIB), mmram(8 * MIB, 4 * MIB), mmram(16 * MIB, MIB)], 1),
        ([mmram(8 * MIB, 4 * MIB), mmram(MIB, 4 * MIB)], 1),
        ([MmramDescriptor(0, 2 * MIB, MIB, 0)], 0),
        ([MmramDescriptor(2 * MIB, 0, MIB, 0)], None),
    ],
)
def test_the_range_is_the_largest_and_the_later_of_equals(ranges: list[MmramDescriptor], chosen: int | None) -> None:
    assert choose_range(tuple(ranges)) == chosen


def test_only_the_place_of_the_core_must_end_below_4_gib() -> None:
    ranges = (mmram(MIB, MIB), mmram((1 << 32) - MIB, 2 * MIB), mmram((1 << 32) - 3 * MIB, MIB))
    assert choose_range(ranges) == 1
    assert choose_range(ranges, below_4_gib=True) == 2
    assert choose_range((mmram((1 << 32) - MIB, MIB),), below_4_gib=True) == 0


# The order


def test_everything_in_order(bench: Bench) -> None:
    bench.ranges = (mmram(16 * MIB, 4 * MIB), mmram(32 * MIB, MIB))
    launcher = bench.launcher()
    launcher.launch()
    assert bench.done == [
        "open 0",
        "open 1",
        "enter 0x8000",
        "close 0",
        "close 1",
        "lock 0",
        "lock 1",
        "MMI: launcher: version query",
        "MMI: launcher: driver dispatch",
    ]
    assert launcher.published
    assert launcher.version == 0x0001_0000


def test_the_two_messages(bench: Bench) -> None:
    bench.launcher().launch()
    (first, query), (second, dispatch) = bench.messages
    assert (first, second) == (REQUEST, DISPATCH)
    assert struct.unpack("<4sIIIQ", query[:24]) == (b"MSUP", 1, 3, 0, 0)
    assert len(query) == 24 + 16
    assert dispatch == b"\0"


def test_end_of_pei_is_one_zero_byte_on_the_user_channel(bench: Bench) -> None:
    launcher = bench.launcher()
    launcher.launch()
    launcher.end_of_pei()
    assert bench.messages[-1] == (END_OF_PEI, b"\0")
    assert bench.memory.read(USER, 16) == END_OF_PEI.raw


# Step 2


def test_the_first_common_region_must_be_the_supervisors(bench: Bench) -> None:
    own = next(bench.hobs.guid_hobs(COMMON))
    wrong = hob_for(SupervisorCommBuffer(BUFFER, 16, 0x50000, type=1))
    bench.hobs.records = [wrong, own, *bench.hobs.records[1:]]
    fails(bench, 2, Status.UNSUPPORTED)
    assert bench.done == [], "nothing was touched"
    bench.hobs.records = [own, wrong, *bench.hobs.records[2:]]
    bench.launcher().launch()


def test_without_the_users_hob_it_goes_on(bench: Bench) -> None:
    del bench.hobs.records[1]
    launcher = bench.launcher()
    launcher.launch()
    assert launcher.user_channel is None
    assert launcher.end_of_pei() is None


# Steps 5 and 13


@pytest.mark.parametrize(("call", "step"), [("open 1", 5), ("close 0", 13), ("lock 1", 13)])
def test_an_error_of_mm_access_stops(bench: Bench, call: str, step: int) -> None:
    bench.ranges = (mmram(16 * MIB, 4 * MIB), mmram(32 * MIB, MIB))
    bench.fail = call
    fails(bench, step, Status.DEVICE_ERROR)
    assert bench.done[-1] == call


# Steps 6 to 8: no core


def assert_closed_and_refused(bench: Bench) -> None:
    """Without a core MMRAM is closed and locked, and the version query finds nobody."""
    bench.answers.clear()
    bench.answers[REQUEST] = lambda: (0, 0)
    fails(bench, 14, Status.SECURITY_VIOLATION)
    assert bench.done[-3:] == ["close 0", "lock 0", "MMI: launcher: version query"]
    assert not any(entry.startswith("enter") for entry in bench.done)


def test_no_usable_range(bench: Bench) -> None:
    bench.ranges = (mmram(16 * MIB, SMALLEST - 0x1000),)
    assert_closed_and_refused(bench)


def test_no_core_image(bench: Bench) -> None:
    bench.core = None
    assert_closed_and_refused(bench)


def test_no_smram_hob(bench: Bench) -> None:
    bench.hobs.forget(SMRAM)
    assert_closed_and_refused(bench)


def test_a_smram_hob_that_is_cut(bench: Bench) -> None:
    bench.hobs.forget(SMRAM)
    bench.hobs.append(GuidHob(SMRAM, struct.pack("<I4x", 5)))
    assert_closed_and_refused(bench)


def test_an_unusable_range_is_dispatched_to_and_refused(bench: Bench) -> None:
    """Somebody answers although no range was chosen: nothing is published all the same."""
    bench.ranges = (mmram(16 * MIB, SMALLEST - 0x1000),)
    fails(bench, 15, Status.UNSUPPORTED)


# Step 8 and 9: the carve-out


def smram(hobs: Hobs) -> tuple[MmramDescriptor, ...]:
    return MmramBlock.parse(Reader(next(hobs.guid_hobs(SMRAM)).data, "test")).descriptors


def test_the_carve_out(bench: Bench) -> None:
    state = MmramState.CLOSED | MmramState.CACHEABLE
    before = (
        MmramDescriptor(MIB, MIB, MIB, state),
        MmramDescriptor(16 * MIB, 16 * MIB, 4 * MIB, state),
        MmramDescriptor(32 * MIB, 32 * MIB, MIB, state),
    )
    old = hob_for(MmramBlock(before), SMRAM)
    bench.hobs.records[2] = old
    bench.launcher().launch()
    size = CORE.size + CORE.alignment
    assert smram(bench.hobs) == (
        before[0],
        replace(before[1], physical_size=4 * MIB - size),
        before[2],
        MmramDescriptor(20 * MIB - size, 20 * MIB - size, size, state | TAKEN),
    )
    assert bench.hobs.records[2] == replace(old, name=ZERO_GUID), "the old HOB loses its name and nothing else"
    (module,) = [record for record in bench.hobs.records if isinstance(record, ModuleAllocationHob)]
    assert (module.base, module.length) == (20 * MIB - size, size)
    assert module.module_name == known_guid("gMmSupervisorCoreGuid")


@pytest.mark.parametrize(("size", "alignment", "pages"), [(0x1000, 0x1000, 2), (0x1001, 0x20, 2), (0x2000, 0x8000, 10)])
def test_pages_of_the_core(bench: Bench, size: int, alignment: int, pages: int) -> None:
    bench.core = replace(CORE, size=size, alignment=alignment)
    bench.launcher().launch()
    carved = smram(bench.hobs)[-1]
    assert carved.physical_size == pages * 0x1000
    (module,) = [record for record in bench.hobs.records if isinstance(record, ModuleAllocationHob)]
    assert module.entry_point % alignment == 0
    assert carved.physical_start <= module.entry_point < carved.physical_start + alignment


def test_cpu_and_physical_addresses_may_differ(bench: Bench) -> None:
    region = MmramDescriptor(16 * MIB, 48 * MIB, 4 * MIB, MmramState.CLOSED)
    bench.hobs.records[2] = hob_for(MmramBlock((region,)), SMRAM)
    bench.launcher().launch()
    carved = smram(bench.hobs)[-1]
    assert carved.cpu_start - carved.physical_start == 32 * MIB


@pytest.mark.parametrize(
    "region",
    [
        mmram(MIB, SMALLEST - 0x1000),
        mmram(1 << 32, 4 * MIB),
        mmram((1 << 32) - MIB, MIB + 0x1000),
        mmram(16 * MIB, 4 * MIB, TAKEN),
        mmram(16 * MIB, 4 * MIB + 8),
    ],
)
def test_no_region_for_the_core_is_a_dead_loop(bench: Bench, region: MmramDescriptor) -> None:
    bench.hobs.records[2] = hob_for(MmramBlock((region,)), SMRAM)
    fails(bench, 8, Status.OUT_OF_RESOURCES)
    assert not any(entry.startswith(("close", "MMI")) for entry in bench.done), "nobody comes to close MMRAM"


def test_the_region_must_be_larger_than_the_core(bench: Bench) -> None:
    bench.core = replace(CORE, size=4 * MIB - 0x1000)
    fails(bench, 8, Status.OUT_OF_RESOURCES)
    bench.core = replace(CORE, size=4 * MIB - 0x2000)
    bench.launcher().launch()


# Step 11: the core's status


def test_the_cores_status_is_not_looked_at(bench: Bench) -> None:
    bench.core_status = Status.UNSUPPORTED
    launcher = bench.launcher()
    launcher.launch()
    assert launcher.published, "if somebody answers, nobody asks what the core returned"


# Step 14


@pytest.mark.parametrize(
    ("version", "result", "status"),
    [
        (0, 0, Status.SECURITY_VIOLATION),
        (0x0001_0000, Status.ACCESS_DENIED, Status.ACCESS_DENIED),
        (0, Status.ACCESS_DENIED, Status.ACCESS_DENIED),
    ],
)
def test_version_answers_that_are_refused(bench: Bench, version: int, result: int, status: Status) -> None:
    bench.answers[REQUEST] = lambda: bench.version(version, result)
    fails(bench, 14, status)
    assert [guid for guid, _ in bench.messages] == [REQUEST], "no dispatch"


def test_a_version_query_that_nobody_takes(bench: Bench) -> None:
    bench.answers[REQUEST] = lambda: (Status.NOT_FOUND, 0x58)
    fails(bench, 14, Status.NOT_FOUND)


def test_the_patch_level_is_not_checked(bench: Bench) -> None:
    def answer() -> tuple[int, int]:
        status = bench.version()
        bench.memory.write(BUFFER + 0x18 + 28, bytes(4))
        return status

    bench.answers[REQUEST] = answer
    bench.launcher().launch()


def test_a_trigger_that_fails(bench: Bench) -> None:
    bench.trigger_status = Status.DEVICE_ERROR
    fails(bench, 14, Status.UNSUPPORTED)


# Step 15


def test_a_dispatch_that_nobody_takes(bench: Bench) -> None:
    del bench.answers[DISPATCH]
    fails(bench, 15, Status.UNSUPPORTED)


def test_the_dispatch_status_is_what_the_version_query_left(bench: Bench) -> None:
    """One byte comes back, eight are read: the rest are the signature and revision of the request."""
    bench.launcher().launch()
    assert bench.memory.read(BUFFER + 0x18, 8) == b"\0SUP\x01\0\0\0"


def test_a_dispatch_answer_with_the_top_bit_is_an_error(bench: Bench) -> None:
    def answer() -> tuple[int, int]:
        bench.memory.write_u64(BUFFER + 0x18, Status.NOT_FOUND)
        return 0, 0x20

    bench.answers[DISPATCH] = answer
    fails(bench, 15, Status.UNSUPPORTED)
