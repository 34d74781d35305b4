"""The CPUs that drivers are shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmsupervisor.processor.cpuid import amd_cpuid, intel_cpuid
from mmsupervisor.processor.interface import CpuIdTable

MODELS = [(amd_cpuid, b"AuthenticAMD"), (intel_cpuid, b"GenuineIntel")]


@pytest.mark.parametrize(("make", "vendor"), MODELS)
def test_vendor_and_brand(make: Callable[[int], CpuIdTable], vendor: bytes) -> None:
    table = make(39)
    for leaf in (0, 0x8000_0000):
        answer = table[leaf, 0]
        assert b"".join(word.to_bytes(4, "little") for word in (answer.ebx, answer.edx, answer.ecx)) == vendor
    words = [word for leaf in range(3) for word in _words(table, 0x8000_0002 + leaf)]
    assert b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0") == b"MM Supervisor virtual CPU"


def _words(table: CpuIdTable, leaf: int) -> tuple[int, int, int, int]:
    answer = table[leaf, 0]
    return answer.eax, answer.ebx, answer.ecx, answer.edx


@pytest.mark.parametrize(("make", "_vendor"), MODELS)
@pytest.mark.parametrize("bits", [36, 39, 46, 48])
def test_address_widths(make: Callable[[int], CpuIdTable], _vendor: bytes, bits: int) -> None:
    assert make(bits)[0x8000_0008, 0].eax == 48 << 8 | bits


@pytest.mark.parametrize(("make", "_vendor"), MODELS)
def test_every_leaf_is_within_the_announced_range_and_32_bits(
    make: Callable[[int], CpuIdTable],
    _vendor: bytes,
) -> None:
    table = make(39)
    for (leaf, _), answer in table.items():
        assert leaf <= table[0x8000_0000 if leaf >> 31 else 0, 0].eax
        for word in (answer.eax, answer.ebx, answer.ecx, answer.edx):
            assert 0 <= word < 1 << 32


@pytest.mark.parametrize(("make", "_vendor"), MODELS)
def test_what_is_not_there_is_not_announced(make: Callable[[int], CpuIdTable], _vendor: bytes) -> None:
    table = make(39)
    features = table[1, 0].ecx
    for bit in (3, 5, 22, 25, 26, 27, 28, 30):  # MONITOR VMX MOVBE AES XSAVE OSXSAVE AVX RDRAND
        assert not features >> bit & 1
    assert (7, 0) not in table  # SMEP and the like belong to ring 0; RDSEED, AVX2, FSGSBASE are absent
    assert table[0x8000_0001, 0].edx >> 29 & 1  # long mode
    assert table[1, 0].edx >> 26 & 1  # SSE2


def test_the_list_of_intel_caches_ends() -> None:
    table = intel_cpuid(39)
    kinds = [table[4, subleaf].eax & 0x1F for subleaf in range(4)]
    assert kinds == [1, 2, 3, 0]
