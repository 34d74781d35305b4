"""The decoder against an emulator: an instruction on memory and on a device that holds the same bytes must agree.

Once the instruction runs in Unicorn with memory at its operand; once with a device there, whose exits are served from
an array of bytes. Registers, flags, SSE registers and bytes must be equal afterwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from iced_x86 import Decoder, Mnemonic, Register

from mmsupervisor.machine.memory import PAGE_SIZE, Attribute, PhysicalMemory
from mmsupervisor.processor.alu import AF, CF, DF, OF, PF, SF, STATUS, ZF
from mmsupervisor.processor.device_instructions import known_mnemonics, operands_known
from mmsupervisor.processor.interface import (
    Entry,
    Exit,
    Fault,
    MmioAccess,
    ProcessorOptions,
    Registers,
    SystemCall,
)
from mmsupervisor.processor.unicorn_processor import UnicornProcessor
from tests.processor.conformance.machine import ByteDevice

START, CODE, RAM = 0x1_0000, 0x1_1000, 0x10_0000
AREA = RAM + PAGE_SIZE
"""One page that is memory on the one machine and a device on the other; memory lies before and behind it."""

BEHIND = AREA + PAGE_SIZE
SIZE = 3 * PAGE_SIZE

NAMES = {value: name for name, value in vars(Mnemonic).items() if isinstance(value, int)}


class Side:
    """One of the two machines."""

    def __init__(self, with_device: bool) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(START, 2 * PAGE_SIZE, "code")
        self.memory.add_ram(RAM, PAGE_SIZE, "before")
        self.device = ByteDevice(PAGE_SIZE) if with_device else None
        if self.device:
            self.memory.add_device(AREA, PAGE_SIZE, "device", self.device)
        else:
            self.memory.add_ram(AREA, PAGE_SIZE, "memory")
        self.memory.add_ram(BEHIND, PAGE_SIZE, "behind")
        self.memory.assign(START, 2 * PAGE_SIZE, Attribute.RO)
        self.memory.assign(RAM, SIZE, Attribute.XP)
        self.memory.write(START, bytes.fromhex("0f05"))
        self.processor = UnicornProcessor(self.memory, ProcessorOptions({}, 0))

    def write(self, content: bytes) -> None:
        for page in range(3):
            piece = content[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
            if page == 1 and self.device:
                self.device.content[:] = piece
            else:
                self.memory.write(RAM + page * PAGE_SIZE, piece)

    def read(self) -> bytes:
        middle = bytes(self.device.content) if self.device else self.memory.read(AREA, PAGE_SIZE)
        return self.memory.read(RAM, PAGE_SIZE) + middle + self.memory.read(BEHIND, PAGE_SIZE)

    def run(self, code: bytes, registers: Registers, vectors: list[int], content: bytes) -> tuple[Exit, int]:
        """Execute; return the exit and the number of touches."""
        self.write(content)
        self.memory.write(CODE, code + bytes.fromhex("0f05"))
        self.processor.forget_code(CODE, PAGE_SIZE)
        self.processor.enter(Entry(START, BEHIND + 0x800))
        for number, value in enumerate(vectors):
            self.processor._engine.write_vector(number, value)
        self.processor.set_registers(registers)
        ended = self.processor.resume()
        count = 0
        while isinstance(ended, MmioAccess):
            count += 1
            assert self.device is not None
            offset = ended.address - AREA
            assert 0 <= offset <= PAGE_SIZE - ended.width
            if ended.write:
                self.device.mmio_write(offset, ended.width, ended.value)
                ended = self.processor.resume()
            else:
                ended = self.processor.resume(self.device.mmio_read(offset, ended.width))
        return ended, count

    def vectors(self) -> list[int]:
        return [self.processor._engine.read_vector(number) for number in range(16)]


@cache
def sides() -> tuple[Side, Side]:
    return Side(False), Side(True)


@dataclass(frozen=True)
class Sample:
    """One instruction with all that it sees."""

    code: bytes
    registers: Registers
    vectors: list[int]
    seed: bytes

    @property
    def mnemonic(self) -> str:
        return NAMES[Decoder(64, self.code, ip=CODE).decode().mnemonic]


ALU_OPCODES = [bytes([base + form]) for base in range(0, 0x40, 8) for form in range(4)]
PLAIN_OPCODES = [bytes([value]) for value in (0x63, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8F, 0xFE, 0xFF)]
IMMEDIATE_OPCODES = [bytes([value]) for value in (0x80, 0x81, 0x83, 0xC6, 0xC7, 0xF6, 0xF7)]
TWO_BYTE = (0xA3, 0xAB, 0xB3, 0xBA, 0xBB, 0xB0, 0xB1, 0xB6, 0xB7, 0xBE, 0xBF, 0xC0, 0xC1, 0xC3)
SSE = (0x10, 0x11, 0x12, 0x13, 0x16, 0x17, 0x28, 0x29, 0x2B, 0x6E, 0x6F, 0x7E, 0x7F, 0xD6, 0xE7, 0xF0)
OPCODES = [
    *ALU_OPCODES,
    *PLAIN_OPCODES,
    *IMMEDIATE_OPCODES,
    *(bytes([0x0F, value]) for value in TWO_BYTE + SSE),
    bytes.fromhex("0f382a"),
]
STRINGS = [bytes([value]) for value in (0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF)]
MOFFS = [bytes([value]) for value in (0xA0, 0xA1, 0xA2, 0xA3)]

PREFIXES = st.sampled_from([b"", b"", b"\x66", b"\xf3", b"\xf2", b"\xf0", b"\x67", b"\x66\x67", b"\x66\xf3"])
REX = st.sampled_from([b"", b"", b"\x48", b"\x44", b"\x4c", b"\x40"])
EDGES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 1 << 31, 1 << 63, (1 << 64) - 1]
NUMBERS = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from(EDGES))
FLAGS = st.sets(st.sampled_from([CF, PF, AF, ZF, SF, DF, OF])).map(lambda bits: 2 | sum(bits))
OFFSETS = st.one_of(
    st.integers(0, PAGE_SIZE // 16 - 1).map(lambda value: value * 16),
    st.integers(0, PAGE_SIZE - 1),
    st.integers(PAGE_SIZE - 16, PAGE_SIZE - 1),
    st.integers(-15, 15),
)


def known(code: bytes) -> bool:
    instruction = Decoder(64, code, ip=CODE).decode()
    return (
        not instruction.is_invalid
        and instruction.len == len(code)
        and NAMES[instruction.mnemonic] in KNOWN
        and operands_known(instruction)
        and not (instruction.mnemonic == Mnemonic.CMPSD and not instruction.is_string_instruction)
    )


KNOWN = frozenset(known_mnemonics()) - {"MOVBE"}  # the emulated CPU has no MOVBE; it has a test of its own


@st.composite
def codes(draw: st.DrawFn) -> bytes:
    prefix, rex = draw(PREFIXES), draw(REX)
    kind = draw(st.sampled_from(["modrm", "modrm", "modrm", "string", "moffs"]))
    if kind == "string":
        return prefix + rex + draw(st.sampled_from(STRINGS))
    if kind == "moffs":
        size = 4 if b"\x67" in prefix else 8
        return prefix + rex + draw(st.sampled_from(MOFFS)) + (AREA + draw(OFFSETS)).to_bytes(size, "little")
    opcode = draw(st.sampled_from(OPCODES))
    register = draw(st.integers(0, 7))
    operand = draw(
        st.sampled_from(
            [
                bytes([register << 3 | 7]),  # [rdi]
                bytes([0x40 | register << 3 | 7, 0xF8]),  # [rdi - 8]
                bytes([0x80 | register << 3 | 4, 0x37, 0, 0, 0, 0]),  # [rdi + rsi + 0], rsi is small then
            ]
        )
    )
    return prefix + rex + opcode + operand + draw(st.binary(min_size=0, max_size=4))


def emulator_differs(code: bytes) -> bool:
    """Return whether the emulator has its own view of an encoding that no compiler makes (docs/limitations.md).

    That is an SSE opcode with 66 and F2 or F3, TEST in its second encoding (F6 /1 and F7 /1), and LOCK NEG.
    """
    opcode = code.lstrip(bytes.fromhex("66 67 f0 f2 f3 40 44 48 4c"))
    prefixes = code[: len(code) - len(opcode)]
    both = 0x66 in prefixes and (0xF2 in prefixes or 0xF3 in prefixes)
    if opcode[0] in (0xF6, 0xF7):
        group = opcode[1] >> 3 & 7
        return group == 1 or (group == 3 and 0xF0 in prefixes)
    return both and opcode[0] == 0x0F


def trimmed(code: bytes) -> bytes | None:
    """Return the one whole instruction at the start of ``code``, if it is one the decoder is to know."""
    instruction = Decoder(64, code, ip=CODE).decode()
    if instruction.is_invalid or not known(code[: instruction.len]) or emulator_differs(code):
        return None
    return code[: instruction.len]


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    code = draw(codes().map(trimmed).filter(lambda value: value is not None))
    assert code is not None
    instruction = Decoder(64, code, ip=CODE).decode()
    registers = Registers(
        **{name: draw(NUMBERS) for name in ("rax", "rbx", "rdx", "rbp", "r8", "r9", "r10", "r11", "r12", "r13")},
        rcx=draw(st.integers(0, 6)) if instruction.is_string_instruction else draw(NUMBERS),
        rsp=BEHIND + 0x800,
        rdi=AREA + draw(OFFSETS),
        rsi=RAM + PAGE_SIZE * draw(st.integers(0, 2)) + 0x100
        if instruction.is_string_instruction
        else draw(st.integers(0, 16)),
        rip=CODE,
        rflags=draw(FLAGS),
    )
    if instruction.mnemonic in (Mnemonic.BT, Mnemonic.BTS, Mnemonic.BTR, Mnemonic.BTC):
        # A bit index in a register reaches as far as it says: keep it on the page, whichever register it is.
        assume(instruction.op1_register not in (Register.DI, Register.EDI, Register.RDI))
        small = {name: draw(st.integers(0, 1000)) for name in ("rax", "rbx", "rcx", "rdx", "rbp", "r8", "r9", "r10")}
        registers = replace(registers, **small, rdi=AREA + 0x800)
    if instruction.mnemonic == Mnemonic.CMPXCHG:
        # The emulator clears the upper half of RAX even where the 32-bit comparison succeeds.
        registers = replace(registers, rax=registers.rax & 0xFFFF_FFFF)
    vectors = [draw(st.integers(0, (1 << 128) - 1)) for _ in range(2)]
    return Sample(code, registers, vectors * 8, draw(st.binary(min_size=16, max_size=16)))


def undefined_flags(mnemonic: str) -> int:
    """Return the flags that the manuals leave undefined."""
    if mnemonic in ("BT", "BTS", "BTR", "BTC"):
        return STATUS & ~CF
    return AF if mnemonic in ("AND", "OR", "XOR", "TEST") else 0


def compare(sample: Sample) -> int:
    """Run a sample on both machines, compare, and return the number of touches."""
    memory, device = sides()
    content = (sample.seed * (SIZE // 16 + 1))[:SIZE]
    expected, _ = memory.run(sample.code, sample.registers, sample.vectors, content)
    seen, count = device.run(sample.code, sample.registers, sample.vectors, content)
    ignored = undefined_flags(sample.mnemonic)
    if isinstance(expected, Fault):
        # An operand beyond all memory, or one that is not aligned: both must refuse, at the same place.
        assert isinstance(seen, Fault)
        assert (seen.vector, seen.rip) == (expected.vector, expected.rip)
        return 0
    assert isinstance(expected, SystemCall)
    assert isinstance(seen, SystemCall)
    left, right = memory.processor.registers(), device.processor.registers()
    drop = {"rflags": 0, "r11": 0}  # the system call at the end puts the flags into R11
    assert replace(left, **drop) == replace(right, **drop)
    assert left.rflags & ~ignored == right.rflags & ~ignored
    assert memory.vectors() == device.vectors()
    assert memory.read() == device.read()
    return count


SEEN: Counter[str] = Counter()


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(samples())
def test_device_and_memory_agree(sample: Sample) -> None:
    if compare(sample):
        SEEN[sample.mnemonic] += 1


@pytest.mark.parametrize("mnemonic", sorted(KNOWN))
def test_every_known_instruction_is_compared(mnemonic: str) -> None:
    """Each instruction of the table at least once, with a touch: what the random samples missed is built here."""
    code = next(code for code in every_code() if NAMES[Decoder(64, code, ip=CODE).decode().mnemonic] == mnemonic)
    registers = Registers(rax=0x35, rbx=3, rcx=2, rdx=5, rsp=BEHIND + 0x800, rdi=AREA + 0x40, rsi=AREA + 0x80, rip=CODE)
    assert compare(Sample(code, registers, [0x1234_5678_9ABC_DEF0] * 16, bytes(range(16)))) > 0


@cache
def every_code() -> list[bytes]:
    prefixes = [prefix + rex for prefix in (b"", b"\x66", b"\xf3", b"\xf2") for rex in (b"", b"\x48")]
    found = [prefix + opcode for prefix in prefixes for opcode in STRINGS]
    for prefix, opcode, register in product(prefixes, OPCODES, range(8)):
        code = trimmed(prefix + opcode + bytes([register << 3 | 7]) + bytes(8))
        if code is not None:
            found.append(code)
    return found


def test_a_wrong_flag_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: an ADD that forgets its carry is caught."""
    from mmsupervisor.processor import device_instructions

    honest = device_instructions.alu.add

    def forgetful(left: int, right: int, width: int, carry: int = 0) -> tuple[int, int]:
        result, flags = honest(left, right, width, carry)
        return result, flags & ~CF

    monkeypatch.setattr(device_instructions.alu, "add", forgetful)
    registers = Registers(rax=1, rdi=AREA, rsp=BEHIND + 0x800, rip=CODE)
    with pytest.raises(AssertionError):
        compare(Sample(bytes.fromhex("480107"), registers, [0] * 16, b"\xff" * 16))  # add [rdi], rax
