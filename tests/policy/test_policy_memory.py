"""The memory policy: merging, capacity, the snapshot, the comparison at fetch, and blobs that only a hand makes."""

import struct

import pytest

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import read_blob
from mmsupervisor.policy.memory_policy import (
    SNAPSHOT_CAPACITY,
    SNAPSHOT_SIZE,
    MemoryRange,
    PageLeaf,
    PolicyRequestError,
    fetch_policy,
    memory_policy_snapshot,
    memory_ranges,
    populate_memory_policy,
    same_memory_policy,
)
from mmsupervisor.policy.model import AccessAttr, MemEntry, PolicyBoundsError, RootType
from tests.policy.policy_vectors import EMPTY, EXAMPLE

PAGE, BIG, HUGE = 0x1000, 0x20_0000, 0x4000_0000
R, RW, RX, RWX = 1, 3, 5, 7


def nowhere(address: int, length: int) -> bool:
    return False


def page(number: int, size: int = PAGE, writable: bool = True, executable: bool = False) -> PageLeaf:
    return PageLeaf(number * PAGE, size, writable, executable)


def ranges(*leaves: PageLeaf, inside=nowhere) -> list[tuple[int, int, int]]:
    return [(one.base, one.size, one.attributes) for one in memory_ranges(leaves, inside)]


def every_other_page(count: int) -> list[PageLeaf]:
    return [page(2 * number) for number in range(count)]


def test_neighbours_with_equal_attributes_merge():
    assert ranges(page(1), page(2), page(3)) == [(PAGE, 3 * PAGE, RW)]
    assert ranges(page(0, BIG), page(BIG // PAGE)) == [(0, BIG + PAGE, RW)]
    assert ranges(page(HUGE // PAGE, HUGE)) == [(HUGE, HUGE, RW)]


def test_gaps_attributes_and_order_part_them():
    assert ranges(page(1), page(3)) == [(PAGE, PAGE, RW), (3 * PAGE, PAGE, RW)]
    assert ranges(page(1), page(2, writable=False)) == [(PAGE, PAGE, RW), (2 * PAGE, PAGE, R)]
    assert ranges(page(2), page(1)) == [(2 * PAGE, PAGE, RW), (PAGE, PAGE, RW)]


def test_attributes():
    assert [one[2] for one in ranges(page(0), page(2, executable=True), page(4, writable=False, executable=True))] == [
        RW,
        RWX,
        RX,
    ]


def test_absent_pages_and_mmram_are_left_out():
    absent = PageLeaf(2 * PAGE, PAGE, True, False, present=False)
    assert ranges(page(1), absent, page(3)) == [(PAGE, PAGE, RW), (3 * PAGE, PAGE, RW)]
    assert ranges(page(1), page(2), page(3), inside=lambda address, length: address == 2 * PAGE) == [
        (PAGE, PAGE, RW),
        (3 * PAGE, PAGE, RW),
    ]
    asked = []
    ranges(page(0, BIG), inside=lambda address, length: bool(asked.append((address, length))))
    assert asked == [(0, BIG)]


def test_the_snapshot_byte_for_byte():
    snapshot = memory_policy_snapshot([page(1), page(2), page(9, writable=False)], nowhere)
    expected = struct.pack("<HHIIIIIQII", 0, 0, 112, 0, 0, 0, 0, 0, 40, 1)
    expected += struct.pack("<IIIIIB3x", 1, 24, 1, 64, 2, 0)
    expected += struct.pack("<QQII", PAGE, 2 * PAGE, RW, 0) + struct.pack("<QQII", 9 * PAGE, PAGE, R, 0)
    assert snapshot == expected + bytes(SNAPSHOT_SIZE - len(expected))


def test_an_empty_walk_leaves_one_bogus_descriptor():
    snapshot = memory_policy_snapshot([], nowhere)
    assert snapshot[64:88] == struct.pack("<QQII", 0xDEADBEEF, 0, 0, 0)
    assert struct.unpack_from("<I", snapshot, 40 + 16) == (1,)
    assert struct.unpack_from("<I", snapshot, 4) == (88,)


def test_a_snapshot_holds_forty():
    full = memory_policy_snapshot(every_other_page(SNAPSHOT_CAPACITY), nowhere)
    assert len(full) == SNAPSHOT_SIZE
    assert full[-24:] == struct.pack("<QQII", 78 * PAGE, PAGE, RW, 0)
    with pytest.raises(PolicyRequestError) as caught:
        memory_policy_snapshot(every_other_page(SNAPSHOT_CAPACITY + 1), nowhere)
    assert caught.value.status == Status.OUT_OF_RESOURCES


def test_populate_completes_the_mem_root():
    combined = populate_memory_policy(EXAMPLE + bytes(100), len(EXAMPLE) + 100, [page(1)], nowhere)
    policy = read_blob(combined)
    memory = policy.roots[-1]
    assert (memory.type, memory.access_attr, memory.offset, memory.count) == (RootType.MEM, AccessAttr.ALLOW, 0x150, 1)
    assert memory.entries == (MemEntry(PAGE, PAGE, RW),)
    assert policy.size == len(EXAMPLE) + 24
    assert combined[0xA0:0x150] == EXAMPLE[0xA0:]


def patched(blob: bytes, offset: int, *values: int) -> bytes:
    out = bytearray(blob)
    struct.pack_into(f"<{len(values)}I", out, offset, *values)
    return bytes(out)


def test_populate_puts_right_what_the_root_said():
    odd = patched(EMPTY, 0x28, 9, 9, 1, 0, 7)
    odd = patched(odd, 0x0C, 5)
    policy = read_blob(populate_memory_policy(odd, 0x100, [page(1)], nowhere))
    memory = policy.roots[0]
    assert (memory.version, memory.root_size, memory.offset, memory.count) == (1, 24, 64, 1)
    assert policy.memory_policy_count == 0


def test_a_mem_root_that_is_not_last_writes_over_what_follows():
    """Surprise 17.8."""
    blob = patched(EXAMPLE, 0x88 + 12, 0x130)
    combined = populate_memory_policy(blob, 0x200, [page(1)], nowhere)
    assert combined[0x130:0x148] == struct.pack("<QQII", PAGE, PAGE, RW, 0)
    assert struct.unpack_from("<I", combined, 4) == (0x148,)
    assert combined[0x148:0x150] == EXAMPLE[0x148:]


@pytest.mark.parametrize("room", [88, 87, 66])
def test_the_last_descriptor_may_stick_out(room):
    combined = populate_memory_policy(EMPTY, room, [page(1)], nowhere)
    assert len(combined) == 88


def test_no_room_at_all():
    with pytest.raises(PolicyRequestError) as caught:
        populate_memory_policy(EMPTY, 65, [page(1)], nowhere)
    assert caught.value.status == Status.OUT_OF_RESOURCES
    with pytest.raises(PolicyBoundsError):
        populate_memory_policy(EMPTY, 65, [], nowhere)


def test_populate_errors():
    with pytest.raises(PolicyRequestError) as caught:
        populate_memory_policy(patched(EMPTY, 0x30, 2), 0x100, [], nowhere)
    assert caught.value.status == Status.NOT_FOUND
    with pytest.raises(PolicyBoundsError, match="root 1"):
        populate_memory_policy(patched(patched(EMPTY, 0x30, 2), 0x24, 2), 0x100, [], nowhere)
    with pytest.raises(PolicyBoundsError):
        populate_memory_policy(EMPTY[:30], 0x100, [], nowhere)
    for offset in (4, 0x20, 0x28, 0x3F):
        with pytest.raises(PolicyBoundsError, match="over the header or the roots"):
            populate_memory_policy(patched(EMPTY, 0x34, offset), 0x100, [page(1)], nowhere)
    with pytest.raises(PolicyRequestError):
        populate_memory_policy(patched(EMPTY, 0x34, 0xFFFF_FFFF), 0x100, [page(1)], nowhere)


# -------------------------------------------------------------------------------------------- comparison and fetch


def test_the_comparison_looks_at_the_root_and_the_bytes():
    leaves = [page(1), page(5)]
    snapshot = memory_policy_snapshot(leaves, nowhere)
    combined = populate_memory_policy(EXAMPLE, 0x400, leaves, nowhere)
    assert same_memory_policy(combined, snapshot)
    at = 0x88
    for offset in (at, at + 4, at + 16):
        assert not same_memory_policy(patched(combined, offset, 2 if offset != at + 16 else 1), snapshot)
    changed = bytearray(combined)
    changed[at + 20] = 1
    assert not same_memory_policy(bytes(changed), snapshot)
    for byte in range(0x150, 0x150 + 48):
        changed = bytearray(combined)
        changed[byte] ^= 1
        assert not same_memory_policy(bytes(changed), snapshot)
    assert not same_memory_policy(patched(combined, at + 8, 9), snapshot)


def test_a_comparison_that_would_leave_the_policy():
    combined = populate_memory_policy(EXAMPLE, 0x400, [page(1)], nowhere)
    with pytest.raises(PolicyBoundsError):
        same_memory_policy(combined, combined[:-1])


def test_a_fetch():
    leaves = [page(1), page(5)]
    snapshot = memory_policy_snapshot(leaves, nowhere)
    answer = fetch_policy(EXAMPLE + b"tail", snapshot, 0x1000, leaves, nowhere)
    policy = read_blob(answer)
    assert len(answer) == policy.size == len(EXAMPLE) + 48
    assert policy.extras == ()
    assert policy.roots[-1].entries == (MemEntry(PAGE, PAGE, RW), MemEntry(5 * PAGE, PAGE, RW))
    assert fetch_policy(EXAMPLE, snapshot, len(EXAMPLE) + 48, leaves, nowhere) == answer


def refusal(*args) -> Status:
    with pytest.raises(PolicyRequestError) as caught:
        fetch_policy(*args, nowhere)
    return caught.value.status


def test_fetch_refusals():
    leaves = [page(1)]
    snapshot = memory_policy_snapshot(leaves, nowhere)
    assert refusal(EXAMPLE, snapshot, len(EXAMPLE) + 23, leaves) == Status.BUFFER_TOO_SMALL
    assert fetch_policy(EXAMPLE, snapshot, len(EXAMPLE) + 24, leaves, nowhere)
    assert refusal(EXAMPLE, snapshot, 0x1000, [page(2)]) == Status.SECURITY_VIOLATION
    assert refusal(EXAMPLE, snapshot, len(EXAMPLE) + 24, every_other_page(5)) == Status.OUT_OF_RESOURCES
    unchecked = patched(EXAMPLE, 0xA0, 0x0004_0CFC)  # the two port entries now overlap
    assert refusal(unchecked, snapshot, 0x1000, leaves) in {Status.SECURITY_VIOLATION}
    with pytest.raises(FormatError):
        fetch_policy(EXAMPLE[:-1], snapshot, 0x1000, leaves, nowhere)


def test_a_fetch_says_which_check_failed():
    leaves = [page(1)]
    snapshot = memory_policy_snapshot(leaves, nowhere)
    twice = patched(EXAMPLE, 0x28 + 24 + 8, RootType.IO)
    with pytest.raises(PolicyRequestError, match="policy check rule 2"):
        fetch_policy(twice, snapshot, 0x1000, leaves, nowhere)


def test_a_supplied_size_without_bound_is_harmless():
    leaves = [page(1)]
    snapshot = memory_policy_snapshot(leaves, nowhere)
    assert fetch_policy(EXAMPLE, snapshot, (1 << 64) - 1, leaves, nowhere)


def test_ranges_are_values():
    assert MemoryRange(0, PAGE, RW) == next(iter(memory_ranges([page(0)], nowhere)))
