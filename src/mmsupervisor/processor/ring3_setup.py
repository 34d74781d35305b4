"""The page from which a processor enters ring 3: descriptor table, code and the frame for IRETQ.

The selectors are the machine's (docs/reference/syscall-abi.md §2), because ring 3 can read them.
"""

from __future__ import annotations

import struct

SETUP = 1 << 51
"""Address of the page: above every physical address of a machine, and not canonical, so that ring 3 cannot name it."""

DESCRIPTORS = SETUP
CODE = SETUP + 0x200
PROBE = SETUP + 0x400
"""Where the code arrives in ring 3."""

FRAME = SETUP + 0x300
"""What RSP must be when the code begins."""

USER_CODE = 0x5B
USER_DATA = 0x53

CR0_SET = 1 << 5 | 1 << 16
"""NE and WP."""

CR4 = 1 << 3 | 1 << 5 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 20
"""DE, PAE, OSFXSR, OSXMMEXCPT, UMIP and SMEP."""

_MXCSR = 0x1F80


def _descriptor(access: int, flags: int) -> int:
    """Return a flat segment descriptor; the accessed bit is set, so that the processor never writes it."""
    return 0xFFFF | access << 40 | 0xF << 48 | flags << 52


_TABLE = {
    0x08: _descriptor(0x9B, 0xC),
    0x10: _descriptor(0x9B, 0xC),
    0x18: _descriptor(0x93, 0xC),
    0x20: _descriptor(0x93, 0xC),
    0x28: _descriptor(0x9B, 0x8),
    0x30: _descriptor(0x93, 0x8),
    0x38: _descriptor(0x9B, 0xA),
    0x40: _descriptor(0x93, 0xC),
    0x48: _descriptor(0x7B, 0xA),
    0x50: _descriptor(0xF3, 0xC),
    0x58: _descriptor(0xFB, 0xA),
    # 0x60, the call gate, stays empty: the far call through it then raises #GP, which is recognised.
}
_SLOTS = 14

DESCRIPTOR_LIMIT = _SLOTS * 8 - 1
"""Offset of the table's last byte."""

_ENTER = bytes.fromhex(
    "dbe3"  # fninit
    "0fae1550000000"  # ldmxcsr [rip + 0x50]
    "b853000000"  # mov eax, 0x53
    "8ed8 8ec0 8ee0 8ee8"  # mov ds / es / fs / gs, eax
    "31c0"  # xor eax, eax
    "48cf"  # iretq
)
_MXCSR_AT = CODE + 9 + 0x50


def setup_page() -> dict[int, bytes]:
    """Return what the page holds, by address."""
    return {
        DESCRIPTORS: struct.pack(f"<{_SLOTS}Q", *(_TABLE.get(8 * slot, 0) for slot in range(_SLOTS))),
        CODE: _ENTER,
        _MXCSR_AT: struct.pack("<I", _MXCSR),
        FRAME: struct.pack("<5Q", PROBE, USER_CODE, 2, 0, USER_DATA),
    }
