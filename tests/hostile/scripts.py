"""Attacks as scripts: what the Script driver is told to do, and how it must end.

A script is a list of steps; an operand is a number, or :class:`Of` for the result of an earlier step. Addresses are
those of the boot under way: a script is made by a function of the :class:`Scene`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import pairwise

from mmsupervisor import prebuilt
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE, Access
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.sample import DriverFile, mm_volume
from mmsupervisor.session import Session, boot
from tests.samples.stage import DESCRIPTION, NOT_ANSWERED, SAMPLES, Stage, shipped_map, symbol

DRIVER = "Script"
RESULT_OFFSET = 24
_RESULTS, _STEPS, _STEP_WORDS = 16, 16, 5
_UNBLOCKER = Guid.parse("3C8C2B2E-6E0B-4B6B-8C59-0A6C0F0E9D11")


class Operation(IntEnum):
    """Operations of the Script driver, in the order of its table."""

    CALL = 1
    CALL_ON = 2
    CALL_FLAGS = 3
    READ = 4
    WRITE = 5
    COPY = 6
    FILL = 7
    READ_VECTOR = 8
    WRITE_VECTOR = 9
    ADD = 10
    INVOKE = 11
    JUMP = 12
    PUSH = 13
    SAVE = 14
    LEAVE = 15


LABELS = {
    Operation.CALL: "AtCall", Operation.CALL_ON: "AtCallOn", Operation.CALL_FLAGS: "AtCallFlags",
    Operation.READ: "AtRead", Operation.WRITE: "AtWrite", Operation.COPY: "AtCopy", Operation.FILL: "AtFill",
    Operation.READ_VECTOR: "AtReadVector", Operation.WRITE_VECTOR: "AtWriteVector", Operation.ADD: "AtAdd",
    Operation.INVOKE: "AtInvoke", Operation.JUMP: "AtJump", Operation.PUSH: "AtPush", Operation.SAVE: "AtSave",
    Operation.LEAVE: "AtLeave",
}  # fmt: skip
"""The symbol at each operation's own instruction."""


@dataclass(frozen=True)
class Of:
    """The result of a step, and a distance from it."""

    step: int
    distance: int = 0


Operand = int | Of


@dataclass(frozen=True)
class Step:
    """One step: an operation, its operands, and how often it is repeated after the first time."""

    operation: Operation
    operands: tuple[Operand, ...]
    repeat: int = 0

    def words(self) -> list[int]:
        """The five numbers of it in the message."""
        flags = sum(1 << n for n, operand in enumerate(self.operands) if isinstance(operand, Of))
        values = [
            operand.step | (operand.distance << 8 & NOT_ANSWERED) if isinstance(operand, Of) else operand & NOT_ANSWERED
            for operand in self.operands
        ]
        return [self.operation | flags << 8 | self.repeat << 32, *values, *[0] * (4 - len(values))]


def step(operation: Operation, *operands: Operand, repeat: int = 0) -> Step:
    return Step(operation, operands, repeat)


def call(number: CallNumber | int, *arguments: Operand, repeat: int = 0) -> Step:
    """A system call."""
    return Step(Operation.CALL, (int(number), *arguments), repeat)


@dataclass(frozen=True)
class Script:
    """Steps for the BSP, steps for an AP procedure, and what the handler returns."""

    steps: Sequence[Step]
    remote: Sequence[Step] = ()
    returns: int = 0

    def fields(self) -> dict[str, object]:
        """Fields of the message but its Status."""
        words = [word for one in (*self.steps, *self.remote) for word in one.words()]
        assert len(words) <= _STEPS * _STEP_WORDS
        return {"Count": len(self.steps) | len(self.remote) << 32, "Return": self.returns, "Step": tuple(words)}

    def stored(self) -> bytes:
        """What gScriptStored holds for this script."""
        fields = self.fields()
        words = fields["Step"]
        assert isinstance(words, tuple)
        padded = [*words, *[0] * (_STEPS * _STEP_WORDS - len(words))]
        return struct.pack("<QQQ16Q80Q", 1, fields["Count"], self.returns, *[0] * _RESULTS, *padded)


class Scene(Stage):
    """The Script driver on a booted platform, with addresses to aim at.

    Attributes:
        outside: Two pages of normal memory that were unblocked for ring 3.
    """

    def __init__(self, session: Session, outside: int) -> None:
        super().__init__(SAMPLES[DRIVER], session, DRIVER)
        self.outside = outside

    def run(self, script: Script) -> tuple[int, tuple[int, ...]]:
        """Run a script that comes back; the driver's status and the steps' results."""
        reply = self.send(**script.fields())
        return reply.status, reply.values["Result"]

    def at(self, name: str) -> int:
        """Address of a symbol of the driver."""
        return self.module.base + symbol(DRIVER, name).rva

    @property
    def data(self) -> int:
        """8 KiB of the driver's own data, zero behind the first 64 bytes."""
        return self.at("gScriptData") + 64

    @property
    def message(self) -> int:
        """The message, where the handler finds it."""
        return self.core.supervisor.user.internal + HEADER_SIZE

    def result(self, number: int) -> int:
        """The result of a step, out of the copy of the message in MMRAM; also after the stop."""
        return self.core.supervisor.memory.read_u64(self.message + RESULT_OFFSET + 8 * number)

    @property
    def end_of_ring3(self) -> int:
        """An address in MMRAM where pages of ring 3 end and a supervisor page begins."""
        supervisor = self.core.supervisor
        pieces = [piece for piece in supervisor.memory.pages if supervisor.mmram.touches(piece.start, 1)]
        return next(b.start for a, b in pairwise(pieces) if a.value.ring3 & Access.READ and not b.value.ring3)

    @property
    def free_page(self) -> int:
        """A page of MMRAM that is nobody's."""
        return next(piece.start for piece in self.core.supervisor.pages.records if piece.value and piece.value.free)


Make = Callable[[Scene], Script]


@dataclass(frozen=True)
class Stop:
    """How an attack ends the system.

    Attributes:
        number: The finding.
        rule: What its rule begins with.
        at: Symbol of the instruction, or None where ``place`` says where RIP is.
        place: RIP, where it is not at a symbol; may be nowhere in an image.
        vector: Exception vector, or None for a refused call.
        error_code: Its error code.
        address: CR2, as a function of the scene after the stop.
        call: The refused call.
        status: Its internal status.
        cpu: On which CPU it happens.
        given_up: Invariants that the driver gives up for itself, as the reference lets it: pages of its own.
    """

    number: str
    rule: str
    at: str | None = None
    place: Callable[[Scene], int] | None = None
    vector: int | None = None
    error_code: int | None = None
    address: Callable[[Scene], int] | None = None
    call: CallNumber | int | None = None
    status: int | None = None
    cpu: int = 0
    given_up: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attack:
    """One way to do harm.

    Attributes:
        name: What it does, short.
        script: The attack.
        twin: The same way with what is its own; it must come back.
        stop: How the attack ends.
        then: What is done after the script came back, where the harm is done later.
        description: The platform.
        alone: Whether the twin needs a boot of its own, because it takes what the attack needs.
    """

    name: str
    script: Make
    twin: Make
    stop: Stop
    then: Callable[[Scene], object] | None = None
    description: PlatformDescription = field(default=DESCRIPTION)
    alone: bool = False


PROCESSOR = os.environ.get("MMSUP_HOSTILE_PROCESSOR", "auto")
"""Which processor the scripts run on: ``auto``, ``unicorn`` or ``native``."""

SMALL = replace(DESCRIPTION, mmram_size=8 << 20)
"""Little MMRAM, to be used up."""

SHORT = replace(DESCRIPTION, budget=100_000)
"""A budget that even a loop of system calls uses up quickly."""


@contextmanager
def scene(
    description: PlatformDescription = DESCRIPTION,
    *,
    at_entry: Script | None = None,
    until: Phase = Phase.READY_TO_BOOT,
) -> Iterator[Scene]:
    """Boot the Script driver, alone with the broker; ``at_entry`` is run by its entry point."""
    known = prebuilt.driver(DRIVER)
    settings = {} if at_entry is None else {"gScriptStored": at_entry.stored()}
    driver = DriverFile(DRIVER, known.guid, prebuilt.patched_image(DRIVER, settings), known.depex)
    places: list[int] = []

    def open_outside(session: Session) -> None:
        places.append(session.allocate(3))
        session.unblock(places[0], 2, _UNBLOCKER)

    session = boot(
        mm_volume([driver], profile=description.profile),
        until=until,
        description=description,
        processor=PROCESSOR,
        name="script",
        prepare=open_outside,
        symbols={known.guid: shipped_map(DRIVER)},
    )
    with session:
        yield Scene(session, places[0])


def hand_page_back(pages: int = 1) -> list[Step]:
    """Allocate pages and give the last of them back: step 0 is the address of the first."""
    return [
        call(CallNumber.SMM_ALOC_PAGE, 0, 6, pages),
        call(CallNumber.SMM_FREE_PAGE, Of(0, PAGE_SIZE * (pages - 1)), 1),
    ]
