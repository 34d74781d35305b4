"""SHA-256 as machine code, generated and unrolled: something to compute for a processor.

Registers at entry: R12 the first block, RDI a work area (64 words of the schedule, then the eight of the state, then
the number of blocks). What remains is in the state.
"""

from __future__ import annotations

from iced_x86 import Code, Encoder, Instruction, MemoryOperand, Register

STATE, COUNT = 256, 288
INITIAL = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
LETTERS = [getattr(Register, name) for name in ("EAX", "EBX", "ECX", "EDX", "R8D", "R9D", "R10D", "R11D")]
SCRATCH, OTHER, THIRD, FOURTH = Register.ESI, Register.EBP, Register.R13D, Register.R14D


def constants() -> list[int]:
    """Return the round constants: the first 32 bits of the fractional parts of the cube roots of 64 primes."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, n))]
    found = []
    for prime in primes:
        root = round((prime << 96) ** (1 / 3))
        while root**3 > prime << 96:
            root -= 1
        while (root + 1) ** 3 <= prime << 96:
            root += 1
        found.append(root & 0xFFFF_FFFF)
    return found


class Assembler:
    def __init__(self) -> None:
        self._encoder = Encoder(64)
        self.code = b""

    def put(self, instruction: Instruction) -> None:
        self._encoder.encode(instruction, len(self.code))
        self.code += self._encoder.take_buffer()

    def op(self, name: str, target: int, source: int) -> None:
        self.put(Instruction.create_reg_reg(getattr(Code, f"{name}_R32_RM32"), target, source))

    def op_memory(self, name: str, target: int, offset: int, base: int = Register.RDI) -> None:
        operand = MemoryOperand(base, displ=offset, displ_size=8)
        self.put(Instruction.create_reg_mem(getattr(Code, f"{name}_R32_RM32"), target, operand))

    def store(self, source: int, offset: int) -> None:
        operand = MemoryOperand(Register.RDI, displ=offset, displ_size=8)
        self.put(Instruction.create_mem_reg(Code.MOV_RM32_R32, operand, source))

    def shift(self, name: str, register: int, bits: int) -> None:
        self.put(Instruction.create_reg_i32(getattr(Code, f"{name}_RM32_IMM8"), register, bits))

    def rotations(self, source: int, target: int, other: int, bits: tuple[int, ...]) -> None:
        """Put the exclusive or of rotations of ``source`` into ``target``."""
        self.op("MOV", target, source)
        self.shift("ROR", target, bits[0])
        for count in bits[1:]:
            self.op("MOV", other, source)
            self.shift("ROR", other, count)
            self.op("XOR", target, other)


def schedule(asm: Assembler) -> None:
    for i in range(16):
        asm.op_memory("MOV", SCRATCH, 4 * i, Register.R12)
        asm.put(Instruction.create_reg(Code.BSWAP_R32, SCRATCH))
        asm.store(SCRATCH, 4 * i)
    for i in range(16, 64):
        asm.op_memory("MOV", SCRATCH, 4 * (i - 15))
        asm.rotations(SCRATCH, OTHER, THIRD, (7, 18))
        asm.shift("SHR", SCRATCH, 3)
        asm.op("XOR", OTHER, SCRATCH)
        asm.op_memory("MOV", SCRATCH, 4 * (i - 2))
        asm.rotations(SCRATCH, THIRD, FOURTH, (17, 19))
        asm.shift("SHR", SCRATCH, 10)
        asm.op("XOR", THIRD, SCRATCH)
        asm.op("ADD", OTHER, THIRD)
        asm.op_memory("ADD", OTHER, 4 * (i - 16))
        asm.op_memory("ADD", OTHER, 4 * (i - 7))
        asm.store(OTHER, 4 * i)


def rounds(asm: Assembler) -> None:
    for i, constant in enumerate(constants()):
        a, b, c, d, e, f, g, h = (LETTERS[(j - i) % 8] for j in range(8))
        asm.rotations(e, SCRATCH, OTHER, (6, 11, 25))
        asm.op("MOV", OTHER, f)
        asm.op("XOR", OTHER, g)
        asm.op("AND", OTHER, e)
        asm.op("XOR", OTHER, g)
        asm.op("ADD", SCRATCH, OTHER)
        asm.op("ADD", h, SCRATCH)
        asm.put(Instruction.create_reg_u32(Code.ADD_RM32_IMM32, h, constant))
        asm.op_memory("ADD", h, 4 * i)
        asm.op("ADD", d, h)
        asm.rotations(a, SCRATCH, OTHER, (2, 13, 22))
        asm.op("MOV", OTHER, a)
        asm.op("AND", OTHER, b)
        asm.op("MOV", THIRD, a)
        asm.op("XOR", THIRD, b)
        asm.op("AND", THIRD, c)
        asm.op("XOR", OTHER, THIRD)
        asm.op("ADD", SCRATCH, OTHER)
        asm.op("ADD", h, SCRATCH)


def sha256_code() -> bytes:
    """Return the code; it ends with a system call."""
    asm = Assembler()
    for j, letter in enumerate(LETTERS):
        asm.op_memory("MOV", letter, STATE + 4 * j)
    schedule(asm)
    rounds(asm)
    for j, letter in enumerate(LETTERS):
        asm.op_memory("ADD", letter, STATE + 4 * j)
        asm.store(letter, STATE + 4 * j)
    asm.put(Instruction.create_reg_i32(Code.ADD_RM64_IMM8, Register.R12, 64))
    counter = MemoryOperand(Register.RDI, displ=COUNT, displ_size=8)
    asm.put(Instruction.create_mem_i32(Code.SUB_RM32_IMM8, counter, 1))
    asm.put(Instruction.create_branch(Code.JNE_REL32_64, 0))
    return asm.code + bytes.fromhex("0f05")
