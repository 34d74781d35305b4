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


# Offsets written out, so that no swap in the list of names goes unseen. UEFI 2.10 §4.4, §4.5; PI 1.8 vol. 2 §7.
BOOT_OFFSETS = {
    0x18: "RaiseTPL", 0x20: "RestoreTPL", 0x28: "AllocatePages", 0x30: "FreePages", 0x38: "GetMemoryMap",
    0x40: "AllocatePool", 0x48: "FreePool", 0x50: "CreateEvent", 0x58: "SetTimer", 0x60: "WaitForEvent",
    0x68: "SignalEvent", 0x70: "CloseEvent", 0x78: "CheckEvent", 0x80: "InstallProtocolInterface",
    0x88: "ReinstallProtocolInterface", 0x90: "UninstallProtocolInterface", 0x98: "HandleProtocol",
    0xA0: "Reserved", 0xA8: "RegisterProtocolNotify", 0xB0: "LocateHandle", 0xB8: "LocateDevicePath",
    0xC0: "InstallConfigurationTable", 0xC8: "LoadImage", 0xD0: "StartImage", 0xD8: "Exit", 0xE0: "UnloadImage",
    0xE8: "ExitBootServices", 0xF0: "GetNextMonotonicCount", 0xF8: "Stall", 0x100: "SetWatchdogTimer",
    0x108: "ConnectController", 0x110: "DisconnectController", 0x118: "OpenProtocol", 0x120: "CloseProtocol",
    0x128: "OpenProtocolInformation", 0x130: "ProtocolsPerHandle", 0x138: "LocateHandleBuffer",
    0x140: "LocateProtocol", 0x148: "InstallMultipleProtocolInterfaces",
    0x150: "UninstallMultipleProtocolInterfaces", 0x158: "CalculateCrc32", 0x160: "CopyMem", 0x168: "SetMem",
    0x170: "CreateEventEx",
}  # fmt: skip
RUNTIME_OFFSETS = {
    0x18: "GetTime", 0x20: "SetTime", 0x28: "GetWakeupTime", 0x30: "SetWakeupTime", 0x38: "SetVirtualAddressMap",
    0x40: "ConvertPointer", 0x48: "GetVariable", 0x50: "GetNextVariableName", 0x58: "SetVariable",
    0x60: "GetNextHighMonotonicCount", 0x68: "ResetSystem", 0x70: "UpdateCapsule",
    0x78: "QueryCapsuleCapabilities", 0x80: "QueryVariableInfo",
}  # fmt: skip
DXE_OFFSETS = {
    0x18: "AddMemorySpace", 0x20: "AllocateMemorySpace", 0x28: "FreeMemorySpace", 0x30: "RemoveMemorySpace",
    0x38: "GetMemorySpaceDescriptor", 0x40: "SetMemorySpaceAttributes", 0x48: "GetMemorySpaceMap",
    0x50: "AddIoSpace", 0x58: "AllocateIoSpace", 0x60: "FreeIoSpace", 0x68: "RemoveIoSpace",
    0x70: "GetIoSpaceDescriptor", 0x78: "GetIoSpaceMap", 0x80: "Dispatch", 0x88: "Schedule", 0x90: "Trust",
    0x98: "ProcessFirmwareVolume", 0xA0: "SetMemorySpaceCapabilities",
}  # fmt: skip
SYSTEM_OFFSETS = {
    0x18: "FirmwareVendor", 0x20: "FirmwareRevision", 0x28: "ConsoleInHandle", 0x30: "ConIn",
    0x38: "ConsoleOutHandle", 0x40: "ConOut", 0x48: "StandardErrorHandle", 0x50: "StdErr",
    0x58: "RuntimeServices", 0x60: "BootServices", 0x68: "NumberOfTableEntries", 0x70: "ConfigurationTable",
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (BOOT_SERVICES, BOOT_OFFSETS),
        (RUNTIME_SERVICES, RUNTIME_OFFSETS),
        (DXE_SERVICES, DXE_OFFSETS),
        (SYSTEM_TABLE, SYSTEM_OFFSETS),
    ],
    ids=lambda item: getattr(item, "symbol", ""),
)
def test_offsets_of_the_other_tables(table, expected):
    assert {item.offset: item.name for item in table.fields if item.kind is not FieldKind.HEADER} == expected


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
