"""What is computed: machine code that ends with a system call, and what it must come to."""

from __future__ import annotations

import struct
from functools import cache

CRC32 = bytes.fromhex(  # rsi: input, rcx: bytes, rdi: table; the sum in eax
    "b8ffffffff"  # mov eax, -1
    "0fb616"  # next: movzx edx, byte [rsi]
    "30c2"  # xor dl, al
    "c1e808"  # shr eax, 8
    "330497"  # xor eax, [rdi + rdx * 4]
    "48ffc6"  # inc rsi
    "48ffc9"  # dec rcx
    "75ed"  # jnz next
    "f7d0"  # not eax
    "0f05"
)

BRANCHY = bytes.fromhex(  # rcx: rounds; the result in eax
    "31c0"  # xor eax, eax
    "f6c103 7502"  # next: test cl, 3; jnz a
    "01c8"  # add eax, ecx
    "f6c105 7402"  # a: test cl, 5; jz b
    "31c8"  # xor eax, ecx
    "f6c108 7503"  # b: test cl, 8; jnz c
    "c1c003"  # rol eax, 3
    "48ffc9 75e5"  # c: dec rcx; jnz next
    "0f05"
)
"""Most of it is branches, which a processor can foresee and an emulator has to leave a block for."""

HANDLER = bytes.fromhex(  # some 300 instructions and five pages written, then back through the call gate
    "b930000000"  # mov ecx, 48
    "8d0408"  # next: lea eax, [rax + rcx]
    "31c2 c1c203 85d2"  # xor edx, eax; rol edx, 3; test edx, edx
    "ffc9 75f2"  # dec ecx; jnz next
    "bf00002200"  # mov edi, 0x220000
    "8907 898700100000 898700200000 898700300000 898700400000"
    "4157 ff1c24"  # push r15; call far [rsp]
)
HANDLER_PAGES = range(0x22_0000, 0x22_5000, 0x1000)


def crc32_table() -> bytes:
    """The table that CRC32 wants."""
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0xEDB88320 if number & 1 else 0)  # noqa: PLW2901 - the usual way to write it
        table.append(number)
    return struct.pack("<256I", *table)


@cache
def branchy(rounds: int) -> int:
    """What BRANCHY comes to."""
    result = 0
    for count in range(rounds, 0, -1):
        if not count & 3:
            result = result + count & 0xFFFF_FFFF
        if count & 5:
            result ^= count
        if not count & 8:
            result = (result << 3 | result >> 29) & 0xFFFF_FFFF
    return result
