"""The four supervisor requests and the lifecycle handlers (communicate.md §6; unblock.md §4, §6, §7)."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.abi.requests import pack_request
from mmsupervisor.core.entry import Core
from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.events import RequestServed
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.memory_policy import fetch_policy
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.guid import ZERO_GUID
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import read_blob_as_runtime, write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import RootType
from tests.core.files import core_volume, driver_file
from tests.core.small import (
    DISPATCH,
    EXIT,
    FREE_RAM,
    LOCK,
    MMIO,
    MMIO_SIZE,
    MMRAM,
    REQUEST,
    SUPERVISOR_BUFFER,
    SUPERVISOR_STATUS,
    USER_BUFFER,
    USER_STATUS,
    Small,
    bugs,
    events,
    finding_numbers,
    mailbox,
    message,
    post,
    read_reply,
    register_user,
    request,
    result_of,
    send_supervisor,
    send_user,
    unblock_bytes,
)

UNBLOCK, FETCH, VERSION, UPDATE = 1, 2, 3, 4
A = FREE_RAM
BLOB = write_blob(default_policy())
XP, SP, RP = Attribute.XP, Attribute.SP, Attribute.RP


@pytest.fixture
def core(small: Small) -> Core:
    """A core with a policy and one driver file."""
    small.add_volume(core_volume(driver_file(0)))
    return small.start()


# The dispatcher's conditions


@pytest.mark.parametrize("size", [1, 8, 23])
def test_a_payload_without_a_header(core: Core, size: int) -> None:
    reply = send_supervisor(core, message(REQUEST, b"\x55" * size))
    assert reply.status == Status.NOT_FOUND
    assert reply.payload[:size] == b"\x55" * size
    assert "boot-flow.md §12.15" in bugs(core.supervisor)


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<4sIIIQ", b"PUSM", 1, VERSION, 0, 7),
        struct.pack("<4sIIIQ", b"MSUP", 0, VERSION, 0, 7),
        struct.pack("<4sIIIQ", b"MSUP", 2, VERSION, 0, 7),
        bytes(24),
    ],
)
def test_a_bad_signature_or_revision(core: Core, header: bytes) -> None:
    reply = send_supervisor(core, message(REQUEST, header + bytes(16)))
    assert result_of(reply) == Status.INVALID_PARAMETER


@pytest.mark.parametrize("number", [0, 5, 0xFFFF_FFFF])
def test_an_unknown_request(core: Core, number: int) -> None:
    assert result_of(request(core, number, bytes(300))) == Status.UNSUPPORTED


@pytest.mark.parametrize(("number", "needed"), [(UNBLOCK, 56), (VERSION, 16), (UPDATE, 224)])
def test_parameters_that_are_cut(core: Core, number: int, needed: int) -> None:
    reply = request(core, number, bytes(needed - 1))
    assert (reply.status, reply.result) == (Status.NOT_FOUND, Status.ABORTED)
    whole = request(core, number, bytes(needed))
    assert whole.status == 0
    assert whole.result != Status.ABORTED


def test_reserved_bytes_and_an_old_result_do_not_matter(core: Core) -> None:
    header = struct.pack("<4sIIIQ", b"MSUP", 1, VERSION, 0xFFFF_FFFF, (1 << 64) - 1)
    assert result_of(send_supervisor(core, message(REQUEST, header + bytes(16)))) == 0


def test_a_refused_request_is_a_finding_and_an_event(core: Core) -> None:
    request(core, UNBLOCK, unblock_bytes(MMRAM, 1))
    (event,) = events(core.supervisor, RequestServed)
    assert isinstance(event, RequestServed)
    assert (event.request, event.result) == ("UNBLOCK_MEM", "EFI_SECURITY_VIOLATION")
    assert "MM-2007" in finding_numbers(core.supervisor)


# 3, version


def test_version(core: Core) -> None:
    reply = request(core, VERSION, bytes(16))
    profile = core.supervisor.profile
    assert result_of(reply) == 0
    assert reply.size == 0x18 + 24 + 16
    assert struct.unpack("<IIQ", reply.payload[24:40]) == (profile.core_version, 0x0001_0001, 4)


def test_version_before_the_core_is_initialised(core: Core) -> None:
    core.supervisor.lifecycle.initialised = False
    assert result_of(request(core, VERSION, bytes(16))) == Status.ACCESS_DENIED


# 1, unblock


def test_unblock(core: Core) -> None:
    assert result_of(request(core, UNBLOCK, unblock_bytes(A, 2))) == 0
    assert core.supervisor.memory.state(A + PAGE_SIZE).attributes == XP
    assert core.supervisor.unblocked.regions[-1].pages == 2
    assert result_of(request(core, UNBLOCK, unblock_bytes(A, 2))) == 0
    assert result_of(request(core, UNBLOCK, unblock_bytes(A, 2, memory_type=0))) == Status.SECURITY_VIOLATION


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        (unblock_bytes(A, 1, identifier=ZERO_GUID), Status.INVALID_PARAMETER),
        (unblock_bytes(MMRAM, 1), Status.SECURITY_VIOLATION),
        (unblock_bytes(A, 0), Status.INVALID_PARAMETER),
        (unblock_bytes(MMRAM - PAGE_SIZE, 2), Status.NO_MAPPING),
        (unblock_bytes(1 << 40, 1), Status.UNSUPPORTED),
        (unblock_bytes(USER_BUFFER, 16), Status.SECURITY_VIOLATION),
    ],
)
def test_unblock_refused(core: Core, parameters: bytes, status: Status) -> None:
    assert result_of(request(core, UNBLOCK, parameters)) == status


def test_the_size_of_the_buffer_counts_not_that_of_the_message(core: Core) -> None:
    assert result_of(request(core, UNBLOCK, unblock_bytes(A, 1), room=500)) == 0


# 2, fetch


def fetch(core: Core, room: int = 0x2000) -> tuple[int, bytes]:
    """Fetch the policy: Result, and the blob that came back."""
    reply = request(core, FETCH, room=room)
    assert reply.status == 0
    size = reply.size - 0x18 - 24
    return reply.result, reply.payload[24 : 24 + size]


def test_fetch_locks_first(core: Core) -> None:
    supervisor = core.supervisor
    status, _ = fetch(core)
    assert status == 0
    assert supervisor.lifecycle.ready_to_lock
    assert supervisor.snapshot is not None
    assert supervisor.driver_cache.pages == 0
    assert send_supervisor(core, message(DISPATCH, bytes(8))).status == Status.NOT_FOUND
    assert result_of(request(core, UNBLOCK, unblock_bytes(A, 1))) == Status.ACCESS_DENIED
    assert "isolation-policy.md §17.9" in bugs(supervisor)


def test_every_byte_of_the_fetched_policy(core: Core) -> None:
    """The firmware's blob, its MEM root completed, and the descriptors of present pages outside MMRAM."""
    unblocked = request(core, UNBLOCK, unblock_bytes(A, 3))
    assert unblocked.result == 0
    status, blob = fetch(core)
    assert status == 0
    ranges = [
        (SUPERVISOR_BUFFER, 16 * PAGE_SIZE, 3),
        (USER_BUFFER, 16 * PAGE_SIZE, 3),
        (SUPERVISOR_STATUS, 2 * PAGE_SIZE, 3),  # the user's mailbox lies behind it
        (A, 3 * PAGE_SIZE, 3),
        (MMIO, MMIO_SIZE, 3),
    ]
    wanted = bytearray(BLOB)
    firmware = read_blob_as_runtime(BLOB)
    index = next(n for n, root in enumerate(firmware.roots) if root.type == RootType.MEM)
    at = firmware.root_offset + 24 * index
    struct.pack_into("<IIIIII", wanted, at, 1, 0x18, RootType.MEM, len(BLOB), len(ranges), 0)
    struct.pack_into("<I", wanted, 4, len(BLOB) + 24 * len(ranges))
    wanted += b"".join(struct.pack("<QQII", *one, 0) for one in ranges)
    assert blob == bytes(wanted)


def test_the_room_behind_the_policy_is_zeroed(core: Core) -> None:
    channel = core.supervisor.supervisor
    reply = request(core, FETCH, b"\x55" * 0x2000)
    assert reply.result == 0
    rest = core.supervisor.memory.read(channel.internal + reply.size, 0x18 + 24 + 0x2000 - reply.size)
    assert rest == bytes(len(rest))


def test_fetch_again_gives_the_same(core: Core) -> None:
    assert fetch(core) == fetch(core)
    assert fetch(core)[0] == 0


@pytest.mark.parametrize(("short", "status"), [(0, 0), (1, Status.BUFFER_TOO_SMALL)])
def test_the_room_that_a_fetch_needs(core: Core, short: int, status: int) -> None:
    """24 bytes more than the policy has; the memory descriptors need room besides."""
    needed = 24 + len(BLOB)
    reply = request(core, FETCH, room=needed - short + (0 if short else 24 * 8))
    assert reply.result == status
    assert core.supervisor.lifecycle.ready_to_lock, "locked all the same"
    assert ("communicate.md §13.6" in bugs(core.supervisor)) is bool(short)


def test_a_fetch_that_fails_changes_only_the_result(core: Core) -> None:
    reply = request(core, FETCH, b"\x77" * 100)
    assert reply.result == Status.BUFFER_TOO_SMALL
    assert reply.size == 0x18 + 24 + 100
    assert reply.payload[24:124] == b"\x77" * 100


def test_an_answer_that_does_not_lie_in_the_copy_is_refused(core: Core) -> None:
    """No message leads here: sizes were judged before."""
    assert fetch(core)[0] == 0
    supervisor, channel = core.supervisor, core.supervisor.supervisor
    end = channel.internal + channel.size
    for destination, room in ((end - 0x1000, 0x1001), (channel.internal - 1, 0x1000)):
        with pytest.raises(CoreError) as caught:
            fetch_policy(supervisor, destination, room)
        assert caught.value.status is Status.SECURITY_VIOLATION
    assert fetch_policy(supervisor, end - 0x1000, 0x1000) > 0


def test_fetch_without_a_policy(small: Small) -> None:
    core = small.start()
    assert request(core, FETCH, room=0x2000).result == Status.SECURITY_VIOLATION


def test_fetch_finds_memory_that_changed_since_the_lock(core: Core) -> None:
    assert fetch(core)[0] == 0
    core.supervisor.memory.assign(A, PAGE_SIZE, XP)
    assert request(core, FETCH, room=0x2000).result == Status.SECURITY_VIOLATION
    core.supervisor.memory.assign(A, PAGE_SIZE, RP | XP)
    assert fetch(core)[0] == 0


def test_too_many_ranges_fail_the_lock_and_the_flag_is_set_anyway(core: Core) -> None:
    for number in range(40):
        assert result_of(request(core, UNBLOCK, unblock_bytes(A + 0x2000 * number, 1))) == 0
    reply = request(core, FETCH, room=0x2000)
    assert reply.result == Status.OUT_OF_RESOURCES
    assert core.supervisor.lifecycle.ready_to_lock
    assert "communicate.md §13.7" in bugs(core.supervisor)


def test_forty_ranges_are_not_too_many(core: Core) -> None:
    begin = 4  # both comm buffers, the mailboxes, MMIO
    for number in range(40 - begin):
        assert result_of(request(core, UNBLOCK, unblock_bytes(A + 0x2000 * number, 1))) == 0
    status, blob = fetch(core)
    assert status == 0
    assert len(blob) == len(BLOB) + 24 * 40


def test_the_answer_may_be_larger_than_what_was_sent(core: Core) -> None:
    """Only the room counts, and the room is the buffer that the sender passed."""
    assert request(core, FETCH, room=len(BLOB) + 24).result == Status.OUT_OF_RESOURCES


# 4, comm buffer update

NEW = {"buffer": 0x90_0000, "user": 0x92_0000, "status": 0x94_0000, "user_status": 0x94_1000}
ATTRIBUTE = 0x44000


def block(start: int, pages: int, **changes: int) -> bytes:
    return unblock_bytes(start, pages, **({"virtual": start, "attribute": ATTRIBUTE} | changes))  # type: ignore[arg-type]


def parameters(**changes: bytes) -> bytes:
    """The four blocks in their order in the message; some of them otherwise."""
    blocks = {
        "status": block(NEW["status"], 1),
        "user_status": block(NEW["user_status"], 1),
        "buffer": block(NEW["buffer"], 16),
        "user": block(NEW["user"], 16),
    }
    return b"".join((blocks | changes).values())


def is_open(core: Core, address: int) -> bool:
    return core.supervisor.memory.state(address).attributes == XP | SP


def update(core: Core, data: bytes) -> tuple[int, int]:
    """Send the update; status and Result, wherever the answer came."""
    supervisor = core.supervisor
    reply = send_supervisor(core, message(REQUEST, pack_request(UPDATE, data)))
    assert mailbox(supervisor, supervisor.supervisor).is_valid == 0
    return reply.status, reply.result


def test_all_four_move(core: Core) -> None:
    supervisor = core.supervisor
    assert update(core, parameters()) == (0, 0)
    assert (supervisor.supervisor.external, supervisor.supervisor.status) == (NEW["buffer"], NEW["status"])
    assert (supervisor.user.external, supervisor.user.status) == (NEW["user"], NEW["user_status"])
    for name, address in NEW.items():
        assert is_open(core, address), name
    for old in (SUPERVISOR_BUFFER, USER_BUFFER, SUPERVISOR_STATUS, USER_STATUS):
        assert supervisor.memory.state(old).attributes & RP
        assert all(region.start != old for region in supervisor.unblocked.regions)
    wanted = [NEW["buffer"], NEW["user"], NEW["user_status"], NEW["status"]]
    assert [region.start for region in supervisor.unblocked.regions[-4:]] == wanted, "the order in which they move"


def test_the_answer_is_in_the_new_place_and_the_old_mailbox_stays(core: Core) -> None:
    supervisor = core.supervisor
    post(supervisor, supervisor.supervisor, message(REQUEST, pack_request(UPDATE, parameters())))
    old = supervisor.memory.read(SUPERVISOR_STATUS, 24)
    before = supervisor.memory.read(NEW["user_status"], PAGE_SIZE)
    serve_mmi(supervisor, "test")
    assert supervisor.memory.read(SUPERVISOR_STATUS, 24) == old
    assert supervisor.memory.read(NEW["user_status"], PAGE_SIZE) == before, "the user's new mailbox is not initialised"
    reply = read_reply(supervisor, supervisor.supervisor)
    assert (reply.valid, reply.status, reply.result, reply.size) == (0, 0, 0, 0x18 + 24 + 224)
    assert reply.data[:16] == REQUEST.raw


def test_afterwards_messages_go_by_the_new_place(core: Core) -> None:
    register_user(core.supervisor, REQUEST, 0x8000)
    assert update(core, parameters()) == (0, 0)
    assert send_user(core, message(REQUEST, b"x")).status == 0
    assert result_of(request(core, VERSION, bytes(16))) == 0


def test_only_once(core: Core) -> None:
    assert update(core, parameters()) == (0, 0)
    assert update(core, parameters()) == (0, Status.ACCESS_DENIED)


def test_not_after_ready_to_lock(core: Core) -> None:
    assert send_supervisor(core, message(LOCK, bytes(1))).status == 0
    assert update(core, parameters()) == (0, Status.ACCESS_DENIED)
    assert core.supervisor.user.external == USER_BUFFER


BAD = {
    "pages": {"pages": 15},
    "type": {"memory_type": 0},
    "attribute": {"attribute": 0x40000},
    "identifier": {"identifier": ZERO_GUID},
    "MMRAM": {"start": MMRAM},
}


@pytest.mark.parametrize("rule", BAD)
@pytest.mark.parametrize("name", ["buffer", "user", "user_status", "status"])
def test_each_block_by_each_rule_and_what_stays_moved(core: Core, name: str, rule: str) -> None:
    """The order is supervisor buffer, user buffer, user mailbox, supervisor mailbox; earlier moves stay."""
    supervisor = core.supervisor
    fields: dict[str, int] = {"start": NEW[name], "pages": 16 if name in ("buffer", "user") else 1} | BAD[rule]  # type: ignore[operator]
    status, result = update(core, parameters(**{name: block(**fields)}))
    wanted = Status.INVALID_PARAMETER if rule == "identifier" else Status.SECURITY_VIOLATION
    assert (status, result) == (0, wanted)
    order = ["buffer", "user", "user_status", "status"]
    moved = order[: order.index(name)]
    assert [key for key in order if is_open(core, NEW[key])] == moved
    assert supervisor.supervisor.external == (NEW["buffer"] if "buffer" in moved else SUPERVISOR_BUFFER)
    assert supervisor.user.external == (NEW["user"] if "user" in moved else USER_BUFFER)
    assert (supervisor.supervisor.status, supervisor.user.status) == (SUPERVISOR_STATUS, USER_STATUS)
    assert not supervisor.lifecycle.comm_moved


def test_after_a_failure_at_the_last_block_the_next_mmi_kills_ring_0(core: Core) -> None:
    """The user's old mailbox is closed, and the supervisor goes on to read it."""
    assert update(core, parameters(status=block(NEW["status"], 1, memory_type=0))) == (0, Status.SECURITY_VIOLATION)
    with pytest.raises(SystemStopError) as caught:
        serve_mmi(core.supervisor, "test")
    assert (caught.value.finding.kind.number, caught.value.finding.address) == ("MM-1302", USER_STATUS)


@pytest.mark.parametrize("name", ["buffer", "user", "user_status"])
def test_after_an_earlier_failure_the_supervisor_lives(core: Core, name: str) -> None:
    pages = 1 if name == "user_status" else 16
    assert update(core, parameters(**{name: block(NEW[name], pages, memory_type=0)}))[1] == Status.SECURITY_VIOLATION
    assert result_of(request(core, VERSION, bytes(16))) == 0


def test_a_buffer_that_moves_onto_itself_closes_itself(core: Core) -> None:
    """Identical to its own region, it is "opened" and then blocked; the answer cannot be written."""
    supervisor = core.supervisor
    data = parameters(buffer=block(SUPERVISOR_BUFFER, 16, virtual=0))
    post(supervisor, supervisor.supervisor, message(REQUEST, pack_request(UPDATE, data)))
    with pytest.raises(SystemStopError) as caught:
        serve_mmi(supervisor, "test")
    assert caught.value.finding.kind.number == "MM-1302"


def test_a_move_into_a_hole_loses_the_answer_and_not_the_supervisor(core: Core) -> None:
    supervisor = core.supervisor
    hole = 0x4000_0000
    post(supervisor, supervisor.supervisor, message(REQUEST, pack_request(UPDATE, parameters(buffer=block(hole, 16)))))
    serve_mmi(supervisor, "test")
    assert supervisor.supervisor.external == hole
    serve_mmi(supervisor, "test")


# Ready to lock and ExitBootServices


def test_ready_to_lock(core: Core) -> None:
    supervisor = core.supervisor
    cache = supervisor.driver_cache.address
    assert supervisor.driver_cache.pages
    assert send_supervisor(core, message(LOCK, bytes(1))).status == 0
    assert supervisor.lifecycle.ready_to_lock
    assert supervisor.memory.state(cache).attributes == XP | SP, "the cache is free"
    guids = {handler.guid for handler in supervisor.handlers.all()}
    assert DISPATCH not in guids
    assert LOCK not in guids
    assert REQUEST in guids
    assert EXIT in guids
    assert supervisor.snapshot is not None


def test_open_regions_stay_open_after_the_lock(core: Core) -> None:
    request(core, UNBLOCK, unblock_bytes(A, 1))
    send_supervisor(core, message(LOCK, bytes(1)))
    assert core.supervisor.unblocked.is_outside_and_open(A, 1)
    assert result_of(request(core, VERSION, bytes(16))) == 0


def test_exit_boot_services(core: Core) -> None:
    assert send_supervisor(core, message(EXIT, bytes(1))).status == 0
    assert core.supervisor.lifecycle.runtime
    post(core.supervisor, core.supervisor.supervisor, message(REQUEST, pack_request(VERSION, bytes(16))))
    serve_mmi(core.supervisor, "test")
    assert mailbox(core.supervisor, core.supervisor.supervisor).is_valid == 1


def test_the_ready_to_boot_fallback_locks_nothing(core: Core) -> None:
    """No supervisor handler serves that GUID; with the broker's entry there is no leak, without one there is."""
    ready_to_boot = known_guid("gEfiEventReadyToBootGuid")
    register_user(core.supervisor, ready_to_boot, 0x8000)
    assert send_supervisor(core, message(ready_to_boot, bytes(1))).status == Status.NOT_FOUND
    assert core.supervisor.handlers.depth == 0
    assert not core.supervisor.lifecycle.ready_to_lock
    assert "boot-flow.md §12.8" in bugs(core.supervisor)
    assert send_supervisor(core, message(known_guid("gEfiEventLegacyBootGuid"), bytes(1))).status == Status.NOT_FOUND
    assert core.supervisor.handlers.depth == 1
