"""The CPUs that drivers can be shown: deterministic answers of CPUID.

What is announced is what every processor of this package executes, and no more: up to SSE4.2 and POPCNT, without AVX,
XSAVE, AES, RDRAND, RDSEED, MONITOR and virtualization.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from mmsupervisor.processor.interface import CpuIdLeaf, CpuIdTable

LINEAR_ADDRESS_BITS = 48
"""Width of a linear address."""

_BRAND = b"MM Supervisor virtual CPU"

_LEAF1_EDX = (0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26)
"""FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2."""

_LEAF1_ECX = (0, 9, 13, 19, 20, 23)
"""SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT."""

_EXTENDED_EDX = (11, 20, 27, 29)
"""SYSCALL NX RDTSCP LM."""

_AMD_COPIED_EDX = (0, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24)
"""What AMD repeats from leaf 1 in leaf 80000001h."""

_LAHF_IN_LONG_MODE = 1


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def _vendor(name: bytes, highest: int) -> CpuIdLeaf:
    ebx, edx, ecx = struct.unpack("<3I", name)
    return CpuIdLeaf(highest, ebx, ecx, edx)


def _common(vendor: bytes, highest: int, signature: int, physical_address_bits: int) -> CpuIdTable:
    # CLFLUSH line of 64 bytes, one logical processor, APIC ID 0: the same on each CPU, as drivers must not rely on it.
    miscellaneous = 1 << 16 | 8 << 8
    table: CpuIdTable = {
        (0, 0): _vendor(vendor, highest),
        (1, 0): CpuIdLeaf(signature, miscellaneous, _bits(_LEAF1_ECX), _bits(_LEAF1_EDX)),
        (0x8000_0000, 0): _vendor(vendor, 0x8000_0008),
        (0x8000_0007, 0): CpuIdLeaf(0, 0, 0, 1 << 8),  # the timestamp counter has a constant rate
        (0x8000_0008, 0): CpuIdLeaf(physical_address_bits | LINEAR_ADDRESS_BITS << 8, 0, 0, 0),
    }
    words = struct.unpack("<12I", _BRAND.ljust(48, b"\0"))
    for number in range(3):
        table[0x8000_0002 + number, 0] = CpuIdLeaf(*words[4 * number : 4 * number + 4])
    return table


def amd_cpuid(physical_address_bits: int) -> CpuIdTable:
    """Return an AMD CPU as QEMU's generic 64-bit model has it (family 15, model 107), with SSE4.2.

    Args:
        physical_address_bits: Width of the machine's physical addresses.
    """
    table = _common(b"AuthenticAMD", 1, 0x0006_0FB1, physical_address_bits)
    extended = _bits(_EXTENDED_EDX) | _bits(_AMD_COPIED_EDX)
    table[0x8000_0001, 0] = CpuIdLeaf(0x0006_0FB1, 0, _LAHF_IN_LONG_MODE, extended)
    # First-level caches of 64 KiB, 2 ways, lines of 64 bytes; second level 512 KiB, 16 ways (code 8).
    first_level = 64 << 24 | 2 << 16 | 1 << 8 | 64
    table[0x8000_0005, 0] = CpuIdLeaf(0x01FF_01FF, 0x01FF_01FF, first_level, first_level)
    table[0x8000_0006, 0] = CpuIdLeaf(0, 0x4200_4200, 512 << 16 | 8 << 12 | 1 << 8 | 64, 0)
    return table


def intel_cpuid(physical_address_bits: int) -> CpuIdTable:
    """Return an Intel CPU (family 6, model 44).

    Args:
        physical_address_bits: Width of the machine's physical addresses.
    """
    table = _common(b"GenuineIntel", 4, 0x0002_06C1, physical_address_bits)
    table[0x8000_0001, 0] = CpuIdLeaf(0, 0, _LAHF_IN_LONG_MODE, _bits(_EXTENDED_EDX))
    table[0x8000_0006, 0] = CpuIdLeaf(0, 0, 256 << 16 | 6 << 12 | 64, 0)
    # Leaf 4, one cache for each subleaf: type and level, ways - 1 << 22 | line - 1, sets - 1.
    for subleaf, (kind, level, ways, sets) in enumerate(((1, 1, 8, 64), (2, 1, 8, 64), (3, 2, 8, 512))):
        table[4, subleaf] = CpuIdLeaf(1 << 8 | level << 5 | kind, ways - 1 << 22 | 63, sets - 1, 0)
    table[4, 3] = CpuIdLeaf(0, 0, 0, 0)  # the end of the list; without it the lookup would fall back to subleaf 0
    return table
