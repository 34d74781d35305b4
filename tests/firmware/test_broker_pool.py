"""The broker's pool against docs/reference/gmmst.md section 3, on the host."""

from __future__ import annotations

import struct

import pytest

from tests.firmware.broker_host import INVALID_PARAMETER, OUT_OF_RESOURCES, Host, after

DATA = 6
CODE = 5
GUARD_POOL = 2
GUARD_HEAD = 4
BUCKETS = (64, 128, 256, 512, 1024, 2048)


def alloc(size: int, slot: int = 1, kind: int = DATA) -> str:
    return f"pool {kind:x} {size:x} {slot:x}"


def test_first_allocation_leaves_one_free_block_of_each_size(host: Host) -> None:
    first = alloc(24, 1)
    rest = [alloc(size - 40, slot) for slot, size in enumerate(BUCKETS, start=2)]
    answers = host.answers(first, *rest)
    assert answers[0] == "0 0:fd8", "block at 0xFC0, pointer behind the 24-byte header"
    assert answers[1:] == ["0 0:f98", "0 0:f18", "0 0:e18", "0 0:c18", "0 0:818", "0 0:18"]
    assert host.since(first, start="start-pool")[0] == "sys 10004 0 6 1", "one page, any address, data"


@pytest.mark.parametrize("size", BUCKETS)
def test_each_bucket_holds_its_size_less_40(host: Host, size: int) -> None:
    dump = f"dump 1 18 {size:x}"
    block = bytes.fromhex(host.answers(alloc(size - 40), dump)[1])
    assert block[:5] == b"sphd\0"
    assert struct.unpack_from("<IQ", block, 8)[0] == DATA
    assert struct.unpack_from("<Q", block, 16)[0] == size
    assert block[-16:] == b"sptl" + bytes(4) + struct.pack("<Q", size)
    assert set(block[40:-16]) <= {0xAA}, "payload beyond the free list's link is not touched"
    bigger = bytes.fromhex(host.answers(alloc(size - 39), "dump 1 18 18")[1])
    assert struct.unpack_from("<Q", bigger, 16)[0] == (2 * size if size < 2048 else 4096)


@pytest.mark.parametrize("size", [0, 1, 24, 25, 100, 2008, 2009, 5000])
def test_pointers_are_8_modulo_16(host: Host, size: int) -> None:
    status, address = host.answers(alloc(size))[0].split()
    assert status == "0"
    assert int(address.split(":")[1], 16) % 16 == 8


def test_large_blocks_are_pages_of_their_own(host: Host) -> None:
    lines = host.since(alloc(2009), alloc(4096 - 40, 2), alloc(4096 - 39, 3), "free 3", start="start-pool")
    assert [line for line in lines if line.startswith("sys")] == [
        "sys 10004 0 6 1",
        "sys 10004 0 6 1",
        "sys 10004 0 6 2",
        "sys 10005 3:0 2 NULL",
    ]


def test_refused_requests(host: Host) -> None:
    for kind in (0, 3, 4, 7, 9):
        assert host.answers(alloc(8, kind=kind)) == [f"{INVALID_PARAMETER} NULL"]
    assert host.answers(alloc((1 << 64) - 40)) == [f"{OUT_OF_RESOURCES} NULL"]


def test_code_pool_asks_for_code_pages_which_is_fatal(host: Host) -> None:
    assert host.since(alloc(8, kind=CODE), start="start-pool") == ["sys 10004 0 5 1", "fatal"]


def test_free_goes_to_the_head_and_never_coalesces(host: Host) -> None:
    commands = [alloc(24, 1), alloc(24, 2), "free 1", "free 2", alloc(24, 3), alloc(24, 4), alloc(24, 5)]
    answers = host.answers(*commands)
    assert answers[4:] == [answers[1], answers[0], "0 0:f58"], "last freed, first taken; then the next split"


def test_a_block_freed_twice_or_damaged_is_refused(host: Host) -> None:
    assert host.answers("free 1") == [f"{INVALID_PARAMETER} NULL"], "NULL"
    assert host.answers(alloc(24), "free 1", "free 1")[1:] == ["0 NULL", f"{INVALID_PARAMETER} NULL"]
    for place in ("18", "8", after(24), after(32)):  # head signature, head size, tail signature, tail size
        damaged = host.answers(alloc(24), f"set-before 1 {place} 1", "free 1")
        assert damaged[2] == f"{INVALID_PARAMETER} NULL", f"damage at {place}"
    assert host.answers(alloc(24), "set-before 1 10 7", "free 1")[2] == f"{INVALID_PARAMETER} NULL", "type"
    assert host.answers(alloc(24), f"set-before 1 {after(23)} 1", "free 1")[2] == "0 NULL", "last byte of the payload"


def guard(flags: int, types: int = 1 << DATA, version: int = 2) -> str:
    return f"guard {version:x} {flags:x} {types:x}"


def talk_guarded(host: Host, setting: str, *commands: str) -> list[str]:
    lines = host.talk([setting, "start-pool", *commands])
    return lines[lines.index("sys 1001b") + 2 :]


def test_guard_at_tail_ends_the_payload_at_the_page(host: Host) -> None:
    lines = talk_guarded(host, guard(GUARD_POOL), alloc(24), alloc(20, 2), alloc(4096 - 24, 3), "free 1")
    assert lines == [
        "sys 10004 0 6 1",
        "0 0:fe8",
        "sys 10004 0 6 1",
        "0 1:fe8",  # rounded up to 8
        "sys 10004 0 6 1",  # no tail: header and payload fill the page
        "0 2:18",
        "sys 10005 0:0 1 NULL",
        "0 NULL",
    ]


def test_guard_at_head_keeps_header_and_tail(host: Host) -> None:
    lines = talk_guarded(host, guard(GUARD_POOL | GUARD_HEAD), alloc(24), f"dump 1 {after(0xFD8)} 10", "free 1")
    assert lines[1] == "0 0:18"
    assert bytes.fromhex(lines[2])[:4] == b"sptl"
    assert lines[3] == "sys 10005 0:0 1 NULL"


@pytest.mark.parametrize("setting", [guard(GUARD_POOL, version=1), guard(1), guard(GUARD_POOL, types=1 << CODE)])
def test_no_guard_without_the_bit_the_type_or_the_version(host: Host, setting: str) -> None:
    assert talk_guarded(host, setting, alloc(24))[1] == "0 0:fd8"


def test_an_unguarded_block_is_freed_into_its_bucket_whatever_the_guard(host: Host) -> None:
    """The reference gives the whole page back here, with its neighbours; ours has the status and not the damage."""
    lines = talk_guarded(host, guard(GUARD_POOL, types=1 << CODE), alloc(24), "free 1", alloc(24, 2))
    assert lines == ["sys 10004 0 6 1", "0 0:fd8", "0 NULL", "0 0:fd8"]
