"""Random ring-3 programs, the same for the same seed: instructions, system calls, and code that changes itself.

A program is bytes for one place in memory. It is not meant to make sense: half of what it does is legal, so that it
gets far enough for the other half to be interesting.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.abi.system_calls import SYSTEM_CALLS, Support
from mmsupervisor.abi.system_calls import Kind as ArgumentKind

SIZE = 0x400
"""Bytes of a program at the most."""

LEAVE = bytes.fromhex("4157ff1c24")
"""The way back: push r15; call far [rsp]."""

_MASK64 = (1 << 64) - 1
_CALLS = tuple(SYSTEM_CALLS)
_SERVED = tuple(number for number, call in SYSTEM_CALLS.items() if call.support is Support.SERVED)
_SYSCALL = b"\x0f\x05"
_KEEP_RESULT = bytes.fromhex("4989c4")
"""Result of the last call into R12, from where it may come back as an argument."""

_USE_RESULT = {2: bytes.fromhex("4c89e2"), 8: bytes.fromhex("4d89e0"), 9: bytes.fromhex("4d89e1")}
_PLAUSIBLE: dict[ArgumentKind, tuple[int, ...]] = {
    ArgumentKind.NUMBER: (0, 0, 0, 6, 6, 6, 1, 5),
    ArgumentKind.MSR: (0x1B, 0x8B, 0x1A0, 0xC000_0080, 0xC000_0082),
    ArgumentKind.PORT: (0x80, 0x70, 0xB2, 0xCF8, 0xCFC, 0x402, 0xFFFF),
    ArgumentKind.WIDTH: (0, 1, 2, 3),
    ArgumentKind.PAGES: (0, 1, 1, 2, 3, 0x400, 1 << 52),
    ArgumentKind.BYTES: (0, 1, 8, 16, 64, 0x1000, 1 << 63),
    ArgumentKind.CPU: (0, 1, 1, 1, 2),
    ArgumentKind.REGISTER: (38, 512, 513, 514, 515),
}
_RDX, _RSP, _R8, _R9 = 2, 4, 8, 9
_SMALL = (0, 1, 2, 3, 4, 6, 7, 8, 16, 38, 64, 512, 514, 0x1000)
_STRING_CODES = bytes.fromhex("a4 a5 aa ab ac ae a6")
_SPECIAL_WORDS = (
    "fa fb f4 6c 6e ec ed ee ef cc cd80 cd03 f1 ce 0f0b 0f05 0f34 0f35 0f01f8 0f01d0 0f07 480f07 0f08 0f09 0f30 0f32 "
    "0f33 0fa2 0f31 0f01f9 0f20c0 0f22d8 0f21f8 0f23f8 0f0100 0f0110 0f01e0 0f0030 0f00d8 0f06 f30faec0 f3480faed8 "
    "c5f877 c4e2791800 0fc7f0 0fc7f8 f4f4 9c 9d 48cf 48cb cb c3 c8100001 c9 660f3880 0fae00 0fae08 0fae18 0faee8 "
    "dbe3 d9ee def9 0f77 660fefc0 480fc7b0 0f0b0b f390 90 0f1f00 67 66 f0 f2 f3 2e 40 4f 8ed8 8cd8 8ee0 0f01ca 0f18"
)
_SPECIAL = tuple(bytes.fromhex(word) for word in _SPECIAL_WORDS.split())
"""Instructions that ring 3 may not execute, or that are rare, and lone prefixes."""


class Kind(Enum):
    """What a program mostly is."""

    INSTRUCTIONS = "instructions"
    CALLS = "system calls"
    MODIFYING = "self-modifying"
    BYTES = "random bytes"


KINDS = tuple(Kind)


@dataclass(frozen=True)
class Places:
    """Addresses that programs use.

    Attributes:
        program: Where the program lies.
        own: Where it may read and write.
        interesting: One of every kind of page, and addresses at their edges.
    """

    program: int
    own: tuple[int, ...]
    interesting: tuple[int, ...]


def make_program(seed: int, places: Places) -> tuple[Kind, bytes]:
    """Make the program of a seed. Kinds take turns, so that any run of seeds has all of them."""
    writer = _Writer(random.Random(seed), places)
    kind = KINDS[seed % len(KINDS)]
    return kind, _MAKERS[kind](writer)[:SIZE]


class _Writer:
    """Writes pieces of code."""

    def __init__(self, chance: random.Random, places: Places) -> None:
        self.chance = chance
        self.places = places

    # Values

    def address(self) -> int:
        chance = self.chance
        pick = chance.random()
        if pick < 0.75:
            return chance.choice(self.places.own) + chance.randrange(0, 0x800, 8)
        if pick < 0.78:
            return chance.getrandbits(64)
        return (chance.choice(self.places.interesting) + chance.choice((0, 0, 0, 8, -8, -4, 1, 0xFF8))) & _MASK64

    def value(self) -> int:
        pick = self.chance.random()
        if pick < 0.5:
            return self.address()
        return self.chance.choice(_SMALL) if pick < 0.9 else self.chance.getrandbits(64)

    def register(self) -> int:
        """A register; the stack pointer seldom."""
        number = self.chance.randrange(16)
        return number if number != _RSP or self.chance.random() < 0.1 else 0

    # Pieces

    def load(self, register: int, value: int) -> bytes:
        """Load a register with 64 bits."""
        return bytes((0x48 | register >> 3, 0xB8 | register & 7)) + struct.pack("<Q", value)

    def any_load(self) -> bytes:
        return self.load(self.register(), self.value())

    def arithmetic(self) -> bytes:
        first, second = self.register(), self.register()
        code = self.chance.choice((0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x87, 0x03, 0x2B))
        return bytes((0x48 | second >> 3 << 2 | first >> 3, code, 0xC0 | (second & 7) << 3 | first & 7))

    def memory(self) -> bytes:
        """Touch memory through a register that was just loaded with an address."""
        base, other = self.chance.choice((0, 1, 3, 6, 7)), self.chance.randrange(8)
        codes = ("8b", "89", "8a", "88", "01", "03", "0fb6", "ff", "f7", "87", "0fc1", "0fb1", "31", "8d", "63", "0faf")
        code = bytes.fromhex(self.chance.choice(codes))
        prefix = self.chance.choice((b"\x48", b"\x48", b"", b"\x66", b"\xf0\x48"))
        touch = prefix + code + bytes((0x40 | other << 3 | base, self.chance.choice((0, 0, 8, 0x7C, 0xF8))))
        return self.load(base, self.address()) + touch

    def vector(self) -> bytes:
        base = self.chance.choice((0, 1, 3, 6, 7))
        code = bytes.fromhex(
            self.chance.choice(("f30f6f", "f30f7f", "0f28", "0f29", "660fe7", "0fae", "0f10", "660fef"))
        )
        return self.load(base, self.address()) + code + bytes((self.chance.randrange(4) << 3 | base,))

    def string(self) -> bytes:
        chance = self.chance
        count = chance.choice((0, 1, 8, 64, 5000, 1 << 40))
        setup = self.load(7, self.address()) + self.load(6, self.address()) + self.load(1, count)
        prefix = chance.choice((b"\xf3", b"\xf3\x48", b"\xf2", b""))
        direction = chance.choice((b"", b"\xfd", b"\xfc"))
        return setup + direction + prefix + bytes((chance.choice(_STRING_CODES),))

    def stack(self) -> bytes:
        return self.chance.choice(
            (b"\x50", b"\x58", b"\x53", b"\x5b", b"\x6a\x08", b"\x9c", b"\x9d", b"\x54", b"\x5c", b"\xc3")
        )

    def flow(self) -> bytes:
        chance = self.chance
        distance = chance.randrange(-40, 40) & 0xFF
        pick = chance.random()
        if pick < 0.8:
            return bytes((0x70 | chance.randrange(16), distance))
        if pick < 0.88:
            return bytes((0xEB, distance))
        if pick < 0.94:
            return b"\xe8" + struct.pack("<i", chance.randrange(-64, 64))
        register = chance.randrange(8)
        return self.load(register, self.address()) + bytes(
            (0xFF, chance.choice((0xD0, 0xE0, 0x10, 0x18, 0x28)) | register)
        )

    def pivot(self) -> bytes:
        """Point the stack anywhere, and use it or leave with it."""
        use = self.chance.choice((b"", b"\x50", b"\xc3", b"\x0f\x05", bytes((0xFF, 0xE0)), bytes((0xFF, 0xD0)), LEAVE))
        return self.load(0, self.address()) + self.load(_RSP, self.chance.choice(self.places.interesting)) + use

    def special(self) -> bytes:
        return self.chance.choice(_SPECIAL)

    def call(self) -> bytes:
        """A system call, often with arguments of the kinds that it wants, seldom with an unknown number."""
        chance = self.chance
        if chance.random() < 0.03:
            return self.load(0, chance.getrandbits(chance.choice((8, 17, 64)))) + _SYSCALL
        number = chance.choice(_SERVED) if chance.random() < 0.97 else chance.choice(_CALLS)
        arguments = SYSTEM_CALLS[number].arguments
        code = b""
        for position, register in enumerate((_RDX, _R8, _R9)):
            if position < len(arguments):
                code += self.argument(arguments[position].kind, register)
        return code + self.load(0, number) + _SYSCALL + (_KEEP_RESULT if chance.random() < 0.5 else b"")

    def argument(self, kind: ArgumentKind, register: int) -> bytes:
        """Load an argument: what the call wants, or anything."""
        chance = self.chance
        pick = chance.random()
        if pick < 0.12:
            return self.load(register, self.value())
        if pick < 0.3 or kind is ArgumentKind.HANDLE:
            return _USE_RESULT[register]
        choices = _PLAUSIBLE.get(kind)
        return self.load(register, self.address() if choices is None else chance.choice(choices))

    def change(self) -> bytes:
        """Write into the program itself, before or behind."""
        chance = self.chance
        target = self.places.program + chance.randrange(SIZE)
        if chance.random() < 0.5:
            return self.load(7, target) + b"\x48\xb8" + chance.randbytes(8) + b"\x48\xab"
        return (
            self.load(7, target) + self.load(6, self.places.program) + self.load(1, chance.randrange(64)) + b"\xf3\xa4"
        )

    def anything(self) -> bytes:
        return self.chance.choice(_PIECES)(self)

    def many(self, count: int, *pieces: Callable[[_Writer], bytes]) -> bytes:
        return b"".join(self.chance.choice(pieces)(self) for _ in range(count))


_COMMON = (_Writer.any_load, _Writer.arithmetic, _Writer.memory, _Writer.vector, _Writer.string)
_PIECES: tuple[Callable[[_Writer], bytes], ...] = (
    *_COMMON, *_COMMON, *_COMMON, _Writer.stack, _Writer.flow, _Writer.flow, _Writer.special, _Writer.pivot,
)  # fmt: skip
"""What kills is rare enough for what comes after it to be reached."""


def _instructions(writer: _Writer) -> bytes:
    return writer.many(writer.chance.randrange(2, 12), *_PIECES) + LEAVE


def _calls(writer: _Writer) -> bytes:
    return (
        writer.many(writer.chance.randrange(1, 8), _Writer.call, _Writer.call, _Writer.call, _Writer.any_load) + LEAVE
    )


def _modifying(writer: _Writer) -> bytes:
    body = writer.many(
        writer.chance.randrange(2, 12), _Writer.change, _Writer.anything, _Writer.arithmetic, _Writer.flow
    )
    return body + LEAVE


def _bytes(writer: _Writer) -> bytes:
    return writer.chance.randbytes(writer.chance.randrange(16, 200)) + LEAVE


_MAKERS: dict[Kind, Callable[[_Writer], bytes]] = {
    Kind.INSTRUCTIONS: _instructions,
    Kind.CALLS: _calls,
    Kind.MODIFYING: _modifying,
    Kind.BYTES: _bytes,
}
