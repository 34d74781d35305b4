"""One MMI: both channels, all size rules, mailboxes, root handlers (communicate.md §3, §4; boot-flow.md §10)."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import MmiEnded
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import CommBufferStatus
from mmsupervisor.pi.status import Status
from tests.core.small import (
    DISPATCH,
    EXIT,
    HOLE,
    LOCK,
    OTHER,
    REQUEST,
    SOMEBODY,
    bugs,
    events,
    finding_numbers,
    mailbox,
    message,
    message_v3,
    post,
    read_reply,
    register_user,
    ring3,
    send_supervisor,
    send_user,
    unblock,
    user_page,
)

ROOT, HANDLER = 0x9000, 0x8000
BUFFER_SIZE = 16 << 12
MAX = (1 << 64) - 1
BAD_SIZE = Status.BAD_BUFFER_SIZE


def called(core: Core) -> list[int]:
    """Routines that the central jump was asked to call, in order."""
    return [arguments[4] for _, arguments, _ in ring3(core.supervisor).calls]


@pytest.fixture
def echo(core: Core) -> Core:
    """A handler that takes what it is given, and a root handler."""
    register_user(core.supervisor, SOMEBODY, HANDLER)
    register_user(core.supervisor, None, ROOT)
    return core


def answers(core: Core, size: int | None = None, status: int = 0) -> None:
    """Let the handler change the size at its size pointer and return a status."""

    def act(_handle: int, _context: int, _buffer: int, size_pointer: int, _handler: int) -> int:
        if size is not None:
            core.supervisor.memory.write_u64(size_pointer, size)
        return status

    ring3(core.supervisor).answers[HANDLER] = act


# What a handler is given (§3.2)


def test_arguments_of_a_handler(echo: Core) -> None:
    supervisor = echo.supervisor
    seen: list[int] = []

    def act(*arguments: int) -> int:
        seen.extend(arguments)
        seen.append(supervisor.memory.read_u64(arguments[3]))
        return 0

    ring3(supervisor).answers[HANDLER] = act
    send_user(echo, message(SOMEBODY, b"payload"))
    handler = next(h for h in supervisor.handlers.all() if h.guid == SOMEBODY)
    assert seen == [handler.handle, 0, supervisor.user.internal + 0x18, supervisor.shared_page, HANDLER, 7]
    routine, arguments, cpu = ring3(supervisor).calls[1]
    assert (routine, cpu) == (supervisor.jumps.central, 0)
    assert arguments[1:4] == (0, 0, 0), "a root handler has neither buffer nor size"


def test_the_handler_works_on_the_copy_and_the_copy_comes_back(echo: Core) -> None:
    supervisor = echo.supervisor

    def act(_handle: int, _context: int, buffer: int, _size: int, _handler: int) -> int:
        assert supervisor.memory.read(buffer, 7) == b"payload"
        supervisor.memory.write(buffer, b"PAYLOAD")
        assert supervisor.memory.read(supervisor.user.external + 0x18, 7) == b"payload"
        return 0

    ring3(supervisor).answers[HANDLER] = act
    reply = send_user(echo, message(SOMEBODY, b"payload"))
    assert (reply.valid, reply.status, reply.size) == (0, 0, 0x18 + 7)
    assert reply.payload[:7] == b"PAYLOAD"


def test_the_whole_external_buffer_is_copied_in_each_time(echo: Core) -> None:
    supervisor = echo.supervisor
    supervisor.memory.fill(supervisor.user.internal, BUFFER_SIZE, 0xEE)
    supervisor.memory.write(supervisor.user.external + BUFFER_SIZE - 4, b"tail")
    seen = []

    def act(_handle: int, _context: int, buffer: int, _size: int, _handler: int) -> int:
        seen.append(supervisor.memory.read(buffer + 1, BUFFER_SIZE - 0x18 - 1))
        return 0

    ring3(supervisor).answers[HANDLER] = act
    send_user(echo, message(SOMEBODY, b"x"))
    assert seen[0][-4:] == b"tail"
    assert b"\xee" not in seen[0]


def test_version_3(echo: Core) -> None:
    supervisor = echo.supervisor
    seen: list[int] = []
    ring3(supervisor).answers[HANDLER] = lambda *a: seen.extend((a[2], supervisor.memory.read_u64(a[3]))) or 0
    reply = send_user(echo, message_v3(SOMEBODY, b"data", 0x38 + 100))
    assert seen == [supervisor.user.internal + 0x38, 100], "MessageSize is not looked at"
    assert reply.size == 0x38 + 100
    assert "communicate.md §13.10" in bugs(supervisor)


def test_version_3_with_its_own_size_is_no_surprise(echo: Core) -> None:
    send_user(echo, message_v3(SOMEBODY, b"data"))
    assert "communicate.md §13.10" not in bugs(echo.supervisor)


# Sizes (§3.1)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(SOMEBODY, b"", BUFFER_SIZE - 0x18), 0),
        (message(SOMEBODY, b"", BUFFER_SIZE - 0x17), BAD_SIZE),
        (message(SOMEBODY, b"", MAX - 0x17), BAD_SIZE),  # 2^64 with the header
        (message(SOMEBODY, b"", MAX - 0x18), BAD_SIZE),
        (message(SOMEBODY, b"", MAX), BAD_SIZE),
        (message_v3(SOMEBODY, b"", BUFFER_SIZE), 0),
        (message_v3(SOMEBODY, b"", BUFFER_SIZE + 1), BAD_SIZE),
        (message_v3(SOMEBODY, b"", 0x39), 0),
        (message_v3(SOMEBODY, b"", 0x37), BAD_SIZE),
        (message_v3(SOMEBODY, b"", 0), BAD_SIZE),
        (message_v3(SOMEBODY, b"", MAX), BAD_SIZE),
    ],
)
def test_sizes_of_user_messages(echo: Core, data: bytes, status: int) -> None:
    reply = send_user(echo, data)
    assert reply.status == status
    assert reply.valid == 0
    if status:
        assert reply.size == 0
        assert called(echo) == [], "root handlers do not run either"
        assert "MM-2008" in finding_numbers(echo.supervisor)
    else:
        assert called(echo) == [HANDLER, ROOT]


@pytest.mark.parametrize("data", [message(SOMEBODY, b""), message_v3(SOMEBODY, b"")])
def test_length_zero_never_reaches_a_handler(echo: Core, data: bytes) -> None:
    reply = send_user(echo, data)
    assert (reply.status, reply.size) == (Status.NOT_FOUND, len(data))
    assert called(echo) == [ROOT]
    assert echo.supervisor.handlers.depth == 1, "and leaks the nesting depth"
    assert "communicate.md §13.1" in bugs(echo.supervisor)


@pytest.mark.parametrize("size", [0, 1, 7, 100, BUFFER_SIZE - 0x18])
def test_a_handler_may_change_the_size(echo: Core, size: int) -> None:
    answers(echo, size)
    reply = send_user(echo, message(SOMEBODY, b"payload"))
    assert (reply.status, reply.size) == (0, 0x18 + size)


def test_an_answer_that_fills_the_buffer_is_copied_whole(echo: Core) -> None:
    supervisor = echo.supervisor

    def fill(_handle: int, _context: int, buffer: int, size_pointer: int, _handler: int) -> int:
        supervisor.memory.fill(buffer, BUFFER_SIZE - 0x18, 0xA5)
        supervisor.memory.write_u64(size_pointer, BUFFER_SIZE - 0x18)
        return 0

    ring3(supervisor).answers[HANDLER] = fill
    reply = send_user(echo, message(SOMEBODY, b"x"))
    assert (reply.status, reply.size) == (0, BUFFER_SIZE)
    assert set(reply.payload) == {0xA5}


def test_an_answer_that_is_too_long_is_reported_and_not_copied(echo: Core) -> None:
    supervisor = echo.supervisor

    def act(_handle: int, _context: int, buffer: int, size: int, _handler: int) -> int:
        supervisor.memory.write(buffer, b"PAYLOAD")
        supervisor.memory.write_u64(size, BUFFER_SIZE)
        return 0

    ring3(supervisor).answers[HANDLER] = act
    reply = send_user(echo, message(SOMEBODY, b"payload"))
    assert (reply.status, reply.size) == (0, BUFFER_SIZE + 0x18)
    assert reply.payload[:7] == b"payload"
    assert "communicate.md §13.3" in bugs(supervisor)
    assert called(echo) == [HANDLER, ROOT]


@pytest.mark.parametrize("size", [MAX, MAX - 0x17])
def test_an_answer_that_overflows(echo: Core, size: int) -> None:
    answers(echo, size)
    reply = send_user(echo, message(SOMEBODY, b"payload"))
    assert (reply.status, reply.size) == (BAD_SIZE, 0)
    assert called(echo) == [HANDLER], "root handlers are skipped"


# Status (§3.3)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (0, 0),
        (Status.WARN_INTERRUPT_SOURCE_QUIESCED, 0),
        (Status.WARN_INTERRUPT_SOURCE_PENDING, Status.NOT_FOUND),
        (Status.INTERRUPT_PENDING, Status.NOT_FOUND),
        (Status.ACCESS_DENIED, Status.NOT_FOUND),
        (Status.WARN_UNKNOWN_GLYPH, Status.NOT_FOUND),
        (MAX, Status.NOT_FOUND),
    ],
)
def test_statuses_collapse(echo: Core, status: int, wanted: int) -> None:
    answers(echo, status=status)
    assert send_user(echo, message(SOMEBODY, b"x")).status == wanted
    assert ("communicate.md §13.11" in bugs(echo.supervisor)) is bool(wanted)


def test_no_handler(echo: Core) -> None:
    reply = send_user(echo, message(OTHER, b"x"))
    assert (reply.status, reply.size) == (Status.NOT_FOUND, 0x19)
    assert called(echo) == [ROOT]


def test_before_the_broker_there_is_no_way_to_a_handler(echo: Core) -> None:
    echo.supervisor.jumps.central = 0
    assert send_user(echo, message(SOMEBODY, b"x")).status == Status.NOT_FOUND
    assert called(echo) == []


# Which mailbox


def test_no_mailbox_means_root_handlers_only(echo: Core) -> None:
    supervisor = echo.supervisor
    untouched = CommBufferStatus(0, 0x1234, 0x5678, b"reserve").pack()
    supervisor.memory.write(supervisor.user.status, untouched)
    supervisor.memory.write(supervisor.supervisor.status, untouched)
    serve_mmi(supervisor, "test")
    assert called(echo) == [ROOT]
    assert supervisor.memory.read(supervisor.user.status, 24) == untouched
    assert supervisor.memory.read(supervisor.supervisor.status, 24) == untouched


def test_any_byte_but_zero_is_valid_and_reserved_bytes_come_back(echo: Core) -> None:
    supervisor = echo.supervisor
    post(supervisor, supervisor.user, message(SOMEBODY, b"x"))
    supervisor.memory.write(supervisor.user.status, CommBufferStatus(0x80, 1, 2, b"reserve").pack())
    serve_mmi(supervisor, "test")
    box = mailbox(supervisor, supervisor.user)
    assert (box.is_valid, box.return_status, box.return_buffer_size) == (0, 0, 0x19)
    assert box.reserved == b"reserve"


def test_both_mailboxes_the_user_is_served_and_the_supervisor_waits(echo: Core) -> None:
    supervisor = echo.supervisor
    post(supervisor, supervisor.supervisor, message(DISPATCH, bytes(1)))
    reply = send_user(echo, message(SOMEBODY, b"x"))
    assert reply.status == 0
    assert mailbox(supervisor, supervisor.supervisor).is_valid == 1
    assert "communicate.md §13.4" in bugs(supervisor)
    serve_mmi(supervisor, "the next one")
    assert mailbox(supervisor, supervisor.supervisor).is_valid == 0
    assert called(echo) == [HANDLER, ROOT], "root handlers do not run for the supervisor channel"


# The supervisor channel (§4)


def register_supervisor(core: Core, status: int = 0, size: int | None = None) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []

    def serve(buffer: int, length: int) -> tuple[int, int]:
        seen.append((buffer, length))
        core.supervisor.memory.write(buffer, b"ANSWER")
        return status, length if size is None else size

    core.supervisor.handlers.register(OTHER, supervisor=serve)
    return seen


def test_the_supervisor_channel_calls_supervisor_handlers(echo: Core) -> None:
    seen = register_supervisor(echo)
    register_user(echo.supervisor, OTHER, HANDLER)
    reply = send_supervisor(echo, message(OTHER, b"request"))
    assert seen == [(echo.supervisor.supervisor.internal + 0x18, 7)]
    assert (reply.valid, reply.status, reply.size, reply.payload[:7]) == (0, 0, 0x1F, b"ANSWERt")
    assert called(echo) == []


def test_user_handlers_are_not_reached_from_the_supervisor_channel(echo: Core) -> None:
    assert send_supervisor(echo, message(SOMEBODY, b"x")).status == Status.NOT_FOUND
    assert called(echo) == []


def test_supervisor_handlers_are_not_reached_from_the_user_channel(echo: Core) -> None:
    seen = register_supervisor(echo)
    assert send_user(echo, message(OTHER, b"x")).status == Status.NOT_FOUND
    assert seen == []


@pytest.mark.parametrize(
    ("data", "status", "size"),
    [
        (message(OTHER, b"", BUFFER_SIZE - 0x18), 0, BUFFER_SIZE),
        (message(OTHER, b"", BUFFER_SIZE - 0x17), BAD_SIZE, 0),
        (message(OTHER, b"", MAX), BAD_SIZE, 0),
        (message_v3(OTHER, b"data"), Status.UNSUPPORTED, 0),
        (message(OTHER, b""), Status.NOT_FOUND, 0x18),
    ],
)
def test_sizes_of_supervisor_messages(echo: Core, data: bytes, status: int, size: int) -> None:
    seen = register_supervisor(echo)
    reply = send_supervisor(echo, data)
    assert (reply.valid, reply.status, reply.size) == (0, status, size)
    assert len(seen) == (1 if status == 0 else 0)
    assert called(echo) == []


@pytest.mark.parametrize("status", [Status.ABORTED, Status.INTERRUPT_PENDING])
def test_statuses_of_supervisor_handlers_collapse_too(echo: Core, status: int) -> None:
    register_supervisor(echo, status)
    assert send_supervisor(echo, message(OTHER, b"x")).status == Status.NOT_FOUND
    assert "boot-flow.md §12.15" in bugs(echo.supervisor)


# At runtime


def test_at_runtime_the_supervisor_channel_is_refused_and_nobody_sees_it(echo: Core) -> None:
    """The refusal is kept in a copy of the supervisor's mailbox, and the user's is what is written back."""
    supervisor = echo.supervisor
    seen = register_supervisor(echo)
    assert send_user(echo, message(SOMEBODY, b"x" * 5)).size == 0x18 + 5
    ring3(supervisor).calls.clear()
    supervisor.lifecycle.runtime = True
    post(supervisor, supervisor.supervisor, message(OTHER, b"x"))
    serve_mmi(supervisor, "test")
    assert seen == []
    assert mailbox(supervisor, supervisor.supervisor).is_valid == 1, "its owner sees no status"
    user = mailbox(supervisor, supervisor.user)
    assert (user.is_valid, user.return_status, user.return_buffer_size) == (0, 0, 0x18 + 5), "as it was"
    assert "communicate.md §13.2" in bugs(supervisor)
    (ended,) = events(supervisor, MmiEnded)[-1:]
    assert ended == MmiEnded("EFI_ACCESS_DENIED", 0)
    serve_mmi(supervisor, "a later MMI")
    assert called(echo) == [], "root handlers do not run from then on"
    assert send_user(echo, message(SOMEBODY, b"x")).status == 0
    assert called(echo) == [HANDLER, ROOT], "but with a user message they do"


def test_an_older_profile_keeps_the_channel_open() -> None:
    from mmsupervisor.abi.profile import PROFILES
    from tests.core.small import Small

    core = Small(profile=PROFILES["q35"]).start()
    core.supervisor.lifecycle.runtime = True
    register_supervisor(core)
    assert send_supervisor(core, message(OTHER, b"x")).status == 0
    assert send_supervisor(core, message(EXIT, b"x")).status == Status.NOT_FOUND, "and has no handler that closes it"
    core.supervisor.memory.close()


# The dispatch handler


def test_driver_dispatch_answers_only_eight_bytes_or_more(core: Core) -> None:
    short = send_supervisor(core, message(DISPATCH, b"\xaa" * 7))
    assert (short.status, short.payload[:7]) == (0, b"\xaa" * 7)
    assert bugs(core.supervisor).count("boot-flow.md §12.7") == 1
    long = send_supervisor(core, message(DISPATCH, b"\xaa" * 8))
    assert long.status == 0
    assert struct.unpack("<Q", long.payload[:8])[0] == Status.NOT_FOUND, "there was no driver to dispatch"
    assert bugs(core.supervisor).count("boot-flow.md §12.7") == 1


def test_after_ready_to_lock_there_is_no_dispatch(core: Core) -> None:
    assert send_supervisor(core, message(LOCK, bytes(1))).status == 0
    assert send_supervisor(core, message(DISPATCH, bytes(8))).status == Status.NOT_FOUND
    assert send_supervisor(core, message(LOCK, bytes(1))).status == Status.NOT_FOUND


def test_after_a_leak_the_dispatch_handler_survives_ready_to_lock(core: Core) -> None:
    send_user(core, message(OTHER, b"x"))
    assert send_supervisor(core, message(LOCK, bytes(1))).status == 0
    assert send_supervisor(core, message(DISPATCH, bytes(8))).status == 0


# The entry context and the end


def test_the_system_table_is_brought_up_to_date_in_each_mmi(core: Core) -> None:
    supervisor = core.supervisor
    table = user_page(supervisor)
    supervisor.memory.fill(table, 0x1000, 0xFF)
    supervisor.jumps.user_table = table
    serve_mmi(supervisor, "test")
    fields = struct.unpack("<6Q", supervisor.memory.read(table + 0x70, 0x30))
    assert fields == (MAX, 0, 2, 0, 0, MAX), "MmStartupThisAp stays ring 3's own"


def test_a_dead_system_serves_nothing(echo: Core) -> None:
    supervisor = echo.supervisor

    def die(*_arguments: int) -> int:
        raise supervisor.die(make_finding("MM-1106", "division by zero"))

    ring3(supervisor).answers[HANDLER] = die
    with pytest.raises(SystemStopError):
        send_user(echo, message(SOMEBODY, b"x"))
    number = supervisor.log.mmi
    with pytest.raises(SystemStopError):
        serve_mmi(supervisor, "test")
    assert supervisor.log.mmi == number
    assert mailbox(supervisor, supervisor.user).is_valid == 1, "nothing was answered"


# Buffers in places where no memory is


@pytest.mark.parametrize("which", ["buffer", "mailbox"])
def test_a_channel_in_a_hole_reads_as_an_empty_bus(echo: Core, which: str) -> None:
    """Reading gives all ones and writing is lost; the supervisor goes on."""
    channel = echo.supervisor.user
    unblock(echo.supervisor, HOLE, 16, attribute=0x40000)
    if which == "buffer":
        post(echo.supervisor, channel, message(SOMEBODY, b"x"))
        channel.external = HOLE
        serve_mmi(echo.supervisor, "test")
        assert mailbox(echo.supervisor, channel).return_status == BAD_SIZE
    else:
        post(echo.supervisor, channel, message(SOMEBODY, b"x"))
        channel.status = HOLE
        serve_mmi(echo.supervisor, "test")
        serve_mmi(echo.supervisor, "all ones are a valid mailbox, for ever")
        assert called(echo) == [HANDLER, ROOT] * 2


@pytest.mark.parametrize("which", ["buffer", "mailbox"])
def test_a_channel_that_is_not_present_kills_ring_0(echo: Core, which: str) -> None:
    channel = echo.supervisor.user
    post(echo.supervisor, channel, message(SOMEBODY, b"x"))
    start, pages = (channel.external, channel.pages) if which == "buffer" else (channel.status, 1)
    echo.supervisor.unblocked.block(start, pages)
    with pytest.raises(SystemStopError) as caught:
        serve_mmi(echo.supervisor, "test")
    assert (caught.value.finding.kind.number, caught.value.finding.vector) == ("MM-1302", 14)


def test_the_internal_copies_are_of_their_owners(core: Core) -> None:
    supervisor = core.supervisor
    user, other = (supervisor.memory.state(c.internal).attributes for c in (supervisor.user, supervisor.supervisor))
    assert user == Attribute.XP
    assert other == Attribute.XP | Attribute.SP
    assert send_supervisor(core, message(REQUEST, b"x" * 24)).status == 0
    assert read_reply(supervisor, supervisor.supervisor).result == Status.INVALID_PARAMETER


def test_an_unnamed_guid_in_the_message_is_no_error(core: Core) -> None:
    assert send_user(core, message(Guid(b"\xff" * 16), b"x")).status == Status.NOT_FOUND
