"""The tables of services: against the headers in real firmware, and against the fact sheet's offsets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.mmst import (
    DRIVER_REVISION,
    ENTRY_CONTEXT_OFFSET,
    MMST,
    MMST_SIZE,
    REVISION_EDK2,
    REVISION_MU_BASECORE,
    EntryContext,
    mmst_header,
)
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.service_table import FieldKind, TableHeader, TableLayout
from mmsupervisor.pi.system_table import BOOT_SERVICES, DXE_SERVICES, RUNTIME_SERVICES, SYSTEM_TABLE
from tests.pi.firmware_parts import PE32, X64_IMAGE, parts

TABLES = (MMST, SYSTEM_TABLE, BOOT_SERVICES, RUNTIME_SERVICES, DXE_SERVICES)
DXE_CORE = 5
SMM_CORE = 0x0D


def headers_in_firmware(file_type: int, table: TableLayout) -> set[int]:
    """HeaderSize of every table header with that signature in the modules of a type."""
    signature = struct.pack("<Q", table.signature)
    sizes = set()
    for part in parts(X64_IMAGE):
        if part.file_type != file_type or part.section_type != PE32:
            continue
        position = part.data.find(signature)
        while position >= 0:
            header = TableHeader.parse(Reader(part.data, "module"), position)
            if 0 < header.revision < 0x0003_0000 and header.crc32 == header.reserved == 0:
                sizes.add(header.header_size)
            position = part.data.find(signature, position + 1)
    return sizes


@pytest.mark.parametrize("table", [SYSTEM_TABLE, BOOT_SERVICES, RUNTIME_SERVICES, DXE_SERVICES], ids=lambda t: t.symbol)
def test_sizes_are_those_of_the_templates_in_the_dxe_core(table):
    assert headers_in_firmware(DXE_CORE, table) == {table.size}


def test_the_smm_core_writes_the_header_size_of_the_header_alone():
    assert headers_in_firmware(SMM_CORE, MMST) == {mmst_header().header_size}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.symbol)
def test_fields_are_in_order_do_not_overlap_and_fill_the_table(table):
    end = 0
    for item in table.fields:
        assert item.offset in (end, end + 4), f"{item.name}: only four bytes of padding may be between fields"
        assert item.offset % item.size == 0
        end = item.offset + item.size
    assert end == table.size


def test_mmst_offsets_of_the_fact_sheet():
    assert MMST_SIZE == MMST.size == 0xF0
    expected = {
        "MmFirmwareVendor": 0x18, "MmFirmwareRevision": 0x20, "MmInstallConfigurationTable": 0x28,
        "MmIo.Mem.Read": 0x30, "MmIo.Io.Write": 0x48, "MmAllocatePool": 0x50, "MmFreePages": 0x68,
        "MmStartupThisAp": 0x70, "CurrentlyExecutingCpu": 0x78, "NumberOfCpus": 0x80, "CpuSaveStateSize": 0x88,
        "CpuSaveState": 0x90, "NumberOfTableEntries": 0x98, "MmConfigurationTable": 0xA0,
        "MmInstallProtocolInterface": 0xA8, "MmLocateProtocol": 0xD0, "MmiManage": 0xD8,
        "MmiHandlerRegister": 0xE0, "MmiHandlerUnRegister": 0xE8,
    }  # fmt: skip
    assert {name: MMST.offset_of(name) for name in expected} == expected


def test_both_names_of_a_field():
    assert MMST.offset_of("SmmAllocatePool") == MMST.offset_of("MmAllocatePool")
    assert MMST.offset_of("SmiManage") == 0xD8
    assert MMST.at(0xE0).traditional_name == "SmiHandlerRegister"
    assert MMST.at(0x78).traditional_name == "CurrentlyExecutingCpu"
    with pytest.raises(KeyError):
        MMST.offset_of("LocateProtocol")


def test_known_offsets_of_the_other_tables():
    assert BOOT_SERVICES.offset_of("GetMemoryMap") == 0x38
    assert BOOT_SERVICES.offset_of("LocateProtocol") == 0x140
    assert BOOT_SERVICES.offset_of("CalculateCrc32") == 0x158
    assert BOOT_SERVICES.offset_of("CreateEventEx") == 0x170
    assert RUNTIME_SERVICES.offset_of("GetVariable") == 0x48
    assert RUNTIME_SERVICES.offset_of("ResetSystem") == 0x68
    assert SYSTEM_TABLE.offset_of("RuntimeServices") == 0x58
    assert SYSTEM_TABLE.offset_of("BootServices") == 0x60
    assert DXE_SERVICES.offset_of("Dispatch") == 0x80


def test_descriptions():
    assert BOOT_SERVICES.describe(0x140) == "gBS->LocateProtocol"
    assert BOOT_SERVICES.describe(0x144) == "gBS->LocateProtocol+0x4"
    assert MMST.describe(0x24) == "gMmst+0x24 (padding)"
    assert MMST.describe(0xF0) == "gMmst+0xf0 (outside the table)"
    assert MMST.at(0x24) is None
    assert MMST.at(0x28).kind is FieldKind.FUNCTION


def test_mmst_header_bytes():
    assert mmst_header(REVISION_MU_BASECORE).pack() == b"SMST" + bytes(4) + struct.pack("<IIII", 0x1003C, 0x18, 0, 0)
    assert mmst_header().revision == REVISION_EDK2
    assert DRIVER_REVISION < REVISION_MU_BASECORE < REVISION_EDK2


def test_entry_context_lies_over_the_table():
    context = EntryContext(1, 2, 3, 4, 5)
    names = ("MmStartupThisAp", "CurrentlyExecutingCpu", "NumberOfCpus", "CpuSaveStateSize", "CpuSaveState")
    for index, name in enumerate(names):
        assert MMST.offset_of(name) == ENTRY_CONTEXT_OFFSET + 8 * index
        assert struct.unpack_from("<Q", context.pack(), 8 * index) == (index + 1,)
    assert EntryContext.SIZE == 0x28


@given(st.tuples(*[st.integers(0, 2**64 - 1)] * 5))
def test_entry_context_round_trip(values):
    context = EntryContext(*values)
    assert EntryContext.parse(Reader(context.pack(), "x")) == context
    with pytest.raises(FormatError):
        EntryContext.parse(Reader(context.pack()[:-1], "x"))


@given(st.integers(0, 2**64 - 1), st.tuples(*[st.integers(0, 2**32 - 1)] * 4))
def test_table_header_round_trip(signature, rest):
    header = TableHeader(signature, *rest)
    assert TableHeader.parse(Reader(header.pack(), "x")) == header
