"""Attacks that the supervisor answers with a refusal and outlives: questions by ring 3, and messages from outside.

Each is answered with exactly its status, what it aimed at is as it was, and its benign twin succeeds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

import pytest

from mmsupervisor.abi.requests import Request, pack_request
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.events import MmiEnded
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.interval_map import Interval
from mmsupervisor.machine.memory import PAGE_SIZE, PageState
from mmsupervisor.pi.guid import ZERO_GUID, Guid
from mmsupervisor.pi.status import Status
from tests.core import small
from tests.hostile.scripts import Of, Scene, Script, Step, call, hand_page_back, scene
from tests.samples.stage import GUIDS
from tests.support.invariants import broken_invariants

C, S = CallNumber, Status
COOKIE, PROCESSOR_ID = 0x7777, 514
SCRIPT = Guid.parse(GUIDS["gSampleScriptHandlerGuid"])


# Questions of ring 3


@dataclass(frozen=True)
class Question:
    """A system call that is refused by its result.

    Attributes:
        name: What it asks, short.
        ask: The steps; the last one's result counts.
        answer: What it must be.
        twin: The steps of the twin.
        gain: What the twin's last step gives.
    """

    name: str
    ask: Callable[[Scene], list[Step]]
    answer: int
    twin: Callable[[Scene], list[Step]]
    gain: int


def unblocked(name: str, address: Callable[[Scene], int], length: int) -> Question:
    return Question(
        f"whether {name} is unblocked",
        lambda here: [call(C.SMM_MM_UNBLOCKED, address(here), length)],
        0,
        lambda here: [call(C.SMM_MM_UNBLOCKED, here.outside, 0x2000)],
        1,
    )


def message(name: str, address: Callable[[Scene], int], length: int) -> Question:
    return Question(
        f"whether {name} is the message",
        lambda here: [call(C.SMM_MM_IS_COMM_BUFF, address(here), length)],
        S.SECURITY_VIOLATION,
        lambda here: [call(C.SMM_MM_IS_COMM_BUFF, here.message, 792)],
        0,
    )


def state(name: str, answer: Status, register: int, width: int, cookie: int = COOKIE, cpu: int = 0) -> Question:
    return Question(
        name,
        lambda here: [
            call(C.SMM_SC_SVST_READ, COOKIE, register, cpu),
            call(C.SMM_SC_SVST_READ_2, cookie, width, here.data),
        ],
        answer,
        lambda here: [
            call(C.SMM_SC_SVST_READ, COOKIE, PROCESSOR_ID, cpu),
            call(C.SMM_SC_SVST_READ_2, COOKIE, 8, here.data + 64),
        ],
        0,
    )


def end_of_message(here: Scene) -> int:
    return here.core.supervisor.user.internal + here.core.supervisor.user.size


QUESTIONS = (
    unblocked("MMRAM", lambda here: here.data, 8),
    unblocked("the message", lambda here: here.message, 8),
    unblocked("the policy", lambda here: here.core.supervisor.policy_address, 8),
    unblocked("the outer comm buffer", lambda here: here.core.supervisor.user.external, 8),
    unblocked("closed memory", lambda _: 0x200_0000, 8),
    unblocked("one byte too much", lambda here: here.outside + 0x1000, 0x1001),
    unblocked("one byte before", lambda here: here.outside - 1, 2),
    unblocked("a range that wraps", lambda here: here.outside, (1 << 64) - 1),
    unblocked("all of memory", lambda _: 0, (1 << 64) - 1),
    unblocked("nothing", lambda here: here.outside, 0),
    message("own data", lambda here: here.data, 8),
    message("the outer comm buffer", lambda here: here.core.supervisor.user.external, 8),
    message("the supervisor channel's copy", lambda here: here.core.supervisor.supervisor.internal, 8),
    message("one byte behind its end", end_of_message, 1),
    message("a range that leaves it", lambda here: end_of_message(here) - 8, 9),
    message("a range that begins before it", lambda here: here.core.supervisor.user.internal - 1, 8),
    message("a range that wraps", lambda here: here.message, (1 << 64) - 1),
    state("the saved RBX of a CPU", S.ACCESS_DENIED, 37, 8),
    state("the saved RIP of a CPU", S.ACCESS_DENIED, 31, 8),
    state("a CPU's identity in 4 bytes", S.INVALID_PARAMETER, PROCESSOR_ID, 4),
    state("a register by another one's cookie", S.NOT_STARTED, PROCESSOR_ID, 8, COOKIE + 1),
)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_question(question: Question) -> None:
    with scene() as here:
        for steps, wanted in ((question.twin(here), question.gain), (question.ask(here), question.answer)):
            before = here.core.supervisor.memory.read(here.data, 64)
            status, results = here.run(Script(steps))
            assert status == Status.SUCCESS
            assert results[len(steps) - 1] == wanted
            assert here.core.supervisor.memory.read(here.data, 64) == before
        assert here.session.stop is None
        assert broken_invariants(here.core) == []


# Messages from outside


@dataclass(frozen=True)
class Message:
    """A message that is refused.

    Attributes:
        name: What it tries.
        send: Sends it; the status that comes back.
        status: What it must be.
        twin: Sends the benign one; must be SUCCESS.
        until: How far the boot has come.
    """

    name: str
    send: Callable[[Scene], int]
    status: Status
    twin: Callable[[Scene], int]
    until: Phase = field(default=Phase.DXE)


def ask_unblock(start: Callable[[Scene], int], pages: int = 1, **fields: int | Guid) -> Callable[[Scene], int]:
    def send(here: Scene) -> int:
        parameters = small.unblock_bytes(start(here), pages, **fields)  # type: ignore[arg-type]
        return int(small.request(here.core, Request.UNBLOCK_MEM, parameters).result)

    return send


def new_page(here: Scene) -> int:
    return here.session.allocate(1)


def user(guid: Guid, payload: bytes, length: int | None = None) -> Callable[[Scene], int]:
    return lambda here: small.send_user(here.core, small.message(guid, payload, length)).status


def version(number: int = 1, v3: int | None = None) -> Callable[[Scene], int]:
    """A user message with a V3 header whose size is a lie."""
    return lambda here: small.send_user(here.core, small.message_v3(SCRIPT, bytes(792), v3)).status


def on_supervisor(guid: Guid, payload: bytes) -> Callable[[Scene], int]:
    return lambda here: small.send_supervisor(here.core, small.message(guid, payload)).status


def ask_request(number: int, parameters: bytes = b"", room: int = 0) -> Callable[[Scene], int]:
    return lambda here: int(small.request(here.core, number, parameters, room=room).result)


good_unblock = ask_unblock(new_page)
good_user = user(SCRIPT, bytes(792))
good_version = ask_request(Request.VERSION_INFO, bytes(16))


def mmram(here: Scene) -> int:
    return here.core.supervisor.mmram.ranges[0].physical_start


def unblock_again(**fields: int) -> Callable[[Scene], int]:
    """Ask for a region that is open already, with another descriptor."""
    return ask_unblock(lambda here: here.outside, 2, **fields)


def at_runtime(here: Scene) -> int:
    """The refusal is written nowhere (communicate.md §13.2): the trace alone tells it."""
    supervisor = here.core.supervisor
    before = small.read_reply(supervisor, supervisor.user)
    on_supervisor(small.REQUEST, pack_request(3, bytes(16)))(here)
    assert small.read_reply(supervisor, supervisor.user) == before
    ended = here.session.events[-1].event
    assert isinstance(ended, MmiEnded)
    return Status[ended.status.removeprefix("EFI_")]


MESSAGES = (
    Message("unblock MMRAM", ask_unblock(mmram), S.SECURITY_VIOLATION, good_unblock),
    Message(
        "unblock all memory up to MMRAM",
        ask_unblock(lambda here: mmram(here) - PAGE_SIZE, 2),
        S.NO_MAPPING,
        good_unblock,
    ),
    Message(
        "unblock the policy",
        ask_unblock(lambda here: here.core.supervisor.policy_address),
        S.SECURITY_VIOLATION,
        good_unblock,
    ),
    Message(
        "unblock the outer comm buffer",
        ask_unblock(lambda here: here.core.supervisor.user.external),
        S.SECURITY_VIOLATION,
        good_unblock,
    ),
    Message("unblock half of what is open", ask_unblock(lambda here: here.outside), S.SECURITY_VIOLATION, good_unblock),
    Message(
        "take what is open for the supervisor", unblock_again(attribute=0x40000), S.SECURITY_VIOLATION, good_unblock
    ),
    Message("unblock within a page", ask_unblock(lambda here: new_page(here) + 8), S.SECURITY_VIOLATION, good_unblock),
    Message("unblock as nobody", ask_unblock(new_page, identifier=ZERO_GUID), S.INVALID_PARAMETER, good_unblock),
    Message("unblock a range that wraps", ask_unblock(lambda _: (1 << 64) - PAGE_SIZE, 2), S.UNSUPPORTED, good_unblock),
    Message("unblock beyond the address width", ask_unblock(lambda _: 1 << 40), S.UNSUPPORTED, good_unblock),
    Message("unblock after the lock", good_unblock, S.ACCESS_DENIED, good_version, until=Phase.READY_TO_LOCK),
    Message("lock twice", on_supervisor(small.LOCK, bytes(8)), S.NOT_FOUND, good_version, until=Phase.READY_TO_LOCK),
    Message(
        "dispatch after the lock",
        on_supervisor(small.DISPATCH, bytes(8)),
        S.NOT_FOUND,
        good_version,
        until=Phase.READY_TO_LOCK,
    ),
    Message("make a request that is none", ask_request(5), S.UNSUPPORTED, good_version),
    Message(
        "ask for the version in too little room", ask_request(Request.VERSION_INFO, bytes(15)), S.ABORTED, good_version
    ),
    Message(
        "talk to the supervisor at runtime", at_runtime, S.ACCESS_DENIED, good_user, until=Phase.EXIT_BOOT_SERVICES
    ),
    Message("say more than there is", user(SCRIPT, bytes(8), 1 << 40), S.BAD_BUFFER_SIZE, good_user),
    Message("say so much that it wraps", user(SCRIPT, bytes(8), (1 << 64) - 8), S.BAD_BUFFER_SIZE, good_user),
    Message(
        "say one byte too much",
        lambda here: user(SCRIPT, bytes(8), here.core.supervisor.user.size - 23)(here),
        S.BAD_BUFFER_SIZE,
        good_user,
    ),
    Message("say less than the header", version(v3=0x37), S.BAD_BUFFER_SIZE, good_user),
    Message("say more than the buffer", version(v3=1 << 32), S.BAD_BUFFER_SIZE, good_user),
    Message(
        "reach the supervisor's handler as a user",
        user(small.REQUEST, pack_request(3, bytes(16))),
        S.NOT_FOUND,
        good_user,
    ),
    Message("reach a driver's handler as the supervisor", on_supervisor(SCRIPT, bytes(792)), S.NOT_FOUND, good_user),
    Message(
        "send a new header to the supervisor",
        lambda here: small.send_supervisor(here.core, small.message_v3(small.REQUEST, bytes(40))).status,
        S.UNSUPPORTED,
        good_version,
    ),
)


def attributes_of(piece: Interval[PageState]) -> int:
    return int(piece.value.attributes)


def fingerprint(supervisor: Supervisor) -> tuple[object, ...]:
    """What a refused message must leave as it was."""
    return (
        list(supervisor.pages.records),
        [(attributes, next(pieces).start) for attributes, pieces in groupby(supervisor.memory.pages, attributes_of)],
        [region.raw for region in supervisor.unblocked.regions],
        [handler.handle for handler in supervisor.handlers.all()],
        supervisor.policy_blob,
        supervisor.snapshot,
        (supervisor.lifecycle.ready_to_lock, supervisor.lifecycle.runtime, supervisor.lifecycle.comm_moved),
    )


@pytest.mark.parametrize("what", MESSAGES, ids=lambda what: what.name)
def test_message(what: Message) -> None:
    with scene(until=what.until) as here:
        before = fingerprint(here.core.supervisor)
        assert what.send(here) == what.status
        assert fingerprint(here.core.supervisor) == before
        assert broken_invariants(here.core) == []
        assert what.twin(here) == Status.SUCCESS
        assert here.session.stop is None
        assert broken_invariants(here.core) == []


# The judges must be able to say no


def test_a_message_that_changes_something_is_noticed() -> None:
    with scene(until=Phase.DXE) as here:
        before = fingerprint(here.core.supervisor)
        assert good_unblock(here) == Status.SUCCESS
        assert fingerprint(here.core.supervisor) != before


def test_a_page_that_comes_and_goes_is_no_change() -> None:
    with scene() as here:
        before = fingerprint(here.core.supervisor)
        here.run(Script(hand_page_back()))
        assert fingerprint(here.core.supervisor) == before
        here.run(Script([call(C.SMM_ALOC_PAGE, 0, 6, 1), call(C.SMM_MM_UNBLOCKED, Of(0), 8)]))
        assert fingerprint(here.core.supervisor) != before


def test_a_register_that_is_answered_is_noticed() -> None:
    """What a refused question leaves alone, an answered one changes."""
    with scene() as here:
        identity = struct.pack("<Q", 0x1234)
        here.core.supervisor.memory.write(here.data, identity)
        here.run(
            Script(
                [call(C.SMM_SC_SVST_READ, COOKIE, PROCESSOR_ID, 1), call(C.SMM_SC_SVST_READ_2, COOKIE, 8, here.data)]
            )
        )
        assert here.core.supervisor.memory.read(here.data, 8) != identity
