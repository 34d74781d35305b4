"""Enough of a ring 0 to run shipped images: pages by section, a stack, system calls that are answered by a function.

It stands for nobody: it knows no ownership, no policy and no second driver. What it shows is that the linked image
itself works: relocations, stubs, calling convention.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pefile
import unicorn
from unicorn import x86_const as x86

from mmsupervisor import prebuilt

BASE = 0x7EF0_0000
PAGES = 0x7E00_0000
STACK_END = 0x7DF1_0000
GATE_POINTER = 0x63 << 32
FAR_CALL = bytes.fromhex("FF 1C 24")
PAGE = 0x1000

SystemCall = tuple[int, int, int, int]


class LittleRing0:
    """One image, loaded; see the module."""

    def __init__(self, name: str, answer: Callable[[SystemCall], int | None]) -> None:
        self.name = name
        self.calls: list[SystemCall] = []
        self._answer = answer
        self._next_page = PAGES
        self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._load()
        self.uc.mem_map(STACK_END - 4 * PAGE, 4 * PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.uc.hook_add(unicorn.UC_HOOK_INSN, self._on_call, None, 1, 0, x86.UC_X86_INS_SYSCALL)

    def _load(self) -> None:
        image = pefile.PE(data=prebuilt.image(self.name))
        image.relocate_image(BASE)
        content = image.get_memory_mapped_image()
        self.entry = BASE + image.OPTIONAL_HEADER.AddressOfEntryPoint
        for section in image.sections:
            size = (section.Misc_VirtualSize + PAGE - 1) & -PAGE
            code, write = section.Characteristics & 0x20, section.Characteristics & 0x80000000
            protection = unicorn.UC_PROT_READ
            protection |= unicorn.UC_PROT_EXEC if code else unicorn.UC_PROT_WRITE if write else 0
            self.uc.mem_map(BASE + section.VirtualAddress, size, protection)
            self.uc.mem_write(
                BASE + section.VirtualAddress, content[section.VirtualAddress :][: section.Misc_VirtualSize]
            )

    def _on_call(self, uc: Any, _: object) -> None:
        registers = (x86.UC_X86_REG_RAX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9)
        call = tuple(uc.reg_read(register) for register in registers)
        assert len(call) == 4
        self.calls.append(call)
        answer = self._answer(call)
        uc.reg_write(x86.UC_X86_REG_RAX, self.new_page() if answer is None else answer)
        uc.reg_write(x86.UC_X86_REG_RCX, 0xBAD0_BAD0)  # what the processor leaves there is not to be relied on
        uc.reg_write(x86.UC_X86_REG_R11, 0xBAD1_BAD1)

    def new_page(self) -> int:
        """One more page of data, with arbitrary contents."""
        self._next_page -= PAGE
        self.uc.mem_map(self._next_page, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.uc.mem_write(self._next_page, b"\xaa" * PAGE)
        return self._next_page

    def address(self, symbol: str) -> int:
        """Where a symbol of the image lies."""
        (found,) = (entry for entry in prebuilt.symbols(self.name) if entry.name == symbol)
        return BASE + found.rva

    def read(self, address: int, size: int) -> bytes:
        """Memory as ring 3 would see it."""
        return bytes(self.uc.mem_read(address, size))

    def demote(self, routine: int, *arguments: int) -> int:
        """Call a routine as docs/reference/syscall-abi.md section 3 says, up to its far call; returns RAX."""
        top = STACK_END - 0x10
        extra = arguments[4:]
        rsp = (((top - 8 * len(extra) - 0x20) & -16) if extra else top) - 8
        self.uc.mem_write(rsp, struct.pack("<Q", 0xDEAD))
        self.uc.mem_write(rsp + 0x28, b"".join(struct.pack("<Q", value) for value in extra))
        names = (x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9)
        for register, value in zip(names, arguments, strict=False):
            self.uc.reg_write(register, value)
        self.uc.reg_write(x86.UC_X86_REG_RSP, rsp)
        self.uc.reg_write(x86.UC_X86_REG_R15, GATE_POINTER)
        stub = next(entry for entry in prebuilt.symbols(self.name) if BASE + entry.rva == routine)
        gate = routine + self.read(routine, stub.size).rindex(FAR_CALL)
        self.uc.emu_start(routine, gate, count=1_000_000)
        assert self.uc.reg_read(x86.UC_X86_REG_RIP) == gate, "did not come to its far call"
        now = self.uc.reg_read(x86.UC_X86_REG_RSP)
        assert now == rsp - 8, "stack not balanced"
        assert self.read(now, 8) == struct.pack("<Q", GATE_POINTER), "not the gate's far pointer"
        return int(self.uc.reg_read(x86.UC_X86_REG_RAX))
