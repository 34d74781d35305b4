"""The same machine code in this very process: what the computer itself does in the time."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import struct
import zlib

from benchmarks.programs import BRANCHY, CRC32, branchy, crc32_table
from benchmarks.sha256_code import INITIAL, STATE, sha256_code
from benchmarks.timing import Step
from mmsupervisor.machine.memory import PAGE_SIZE

_KEEPING = bytes.fromhex(
    "53 55 4154 4155 4156 4157"  # push rbx, rbp, r12 to r15
    "4989f4"  # mov r12, rsi
    "e8ee0f0000"  # call the code, which begins on the next page
    "415f 415e 415d 415c 5d 5b c3"  # pop them; ret
)
_SYSCALL, _RET = bytes.fromhex("0f05"), bytes.fromhex("c390")


class Machine:
    """Memory for code and data, and a way to call."""

    def __init__(self, code: bytes, data: bytes) -> None:
        """Put the code, which ends with a system call, behind a frame that keeps the caller's registers."""
        assert code.endswith(_SYSCALL)
        self._code = mmap.mmap(-1, 1 << 16, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code[: len(_KEEPING)] = _KEEPING
        self._code[PAGE_SIZE : PAGE_SIZE + len(code)] = code[:-2] + _RET
        self.data = mmap.mmap(-1, len(data) + 0x1000 & -0x1000)
        self.data[: len(data)] = data
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        kind = ctypes.CFUNCTYPE(ctypes.c_uint32, *[ctypes.c_uint64] * 4)
        self._function = kind(ctypes.addressof(ctypes.c_char.from_buffer(self._code)))

    def call(self, rdi: int = 0, rsi: int = 0, rcx: int = 0) -> int:
        return int(self._function(rdi, rsi, 0, rcx))


def crc32(content: bytes) -> Step:
    table = crc32_table()
    machine = Machine(CRC32, table + content)
    expected = zlib.crc32(content)

    def step(count: int) -> None:
        for _ in range(count):
            assert machine.call(machine.address, machine.address + len(table), len(content)) == expected

    return step


def branches(rounds: int) -> Step:
    machine = Machine(BRANCHY, b"")
    expected = branchy(rounds)

    def step(count: int) -> None:
        for _ in range(count):
            assert machine.call(rcx=rounds) == expected

    return step


def sha256(message: bytes) -> Step:
    padding = b"\x80" + bytes(55) + struct.pack(">Q", len(message) * 8)
    machine = Machine(sha256_code(), bytes(1024) + message + padding)
    blocks = (len(message) + len(padding)) // 64
    digest = hashlib.sha256(message).digest()

    def step(count: int) -> None:
        for _ in range(count):
            machine.data[STATE : STATE + 36] = struct.pack("<9I", *INITIAL, blocks)
            machine.call(machine.address, machine.address + 1024)
        assert struct.pack(">8I", *struct.unpack("<8I", machine.data[STATE : STATE + 32])) == digest

    return step
