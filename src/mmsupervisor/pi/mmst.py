"""The MM system table: EFI_MM_SYSTEM_TABLE, byte for byte the EFI_SMM_SYSTEM_TABLE2 of traditional drivers.

Sources: PI 1.8 vol. 4 §2 (table), docs/reference/gmmst.md §1 (offsets, what ring 3 finds there).

API: :data:`MMST` (a :class:`~mmsupervisor.pi.service_table.TableLayout`: ``MMST.at(0x50).name``,
``MMST.offset_of("SmmAllocatePool")``), :data:`ENTRY_CONTEXT`, :class:`EntryContext`, the revisions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.service_table import (
    HEADER_SIZE,
    FieldKind,
    TableField,
    TableHeader,
    TableLayout,
    header_fields,
)

MMST_SIZE = 0xF0
"""Size of the table on X64, in bytes."""

MMST_SIGNATURE = 0x5453_4D53
"""``SMST`` in memory; the upper half of the 64-bit field is zero."""

REVISION_MU_BASECORE = 0x0001_003C
"""Revision that a core built with mu_basecore's headers shows (PI 1.6)."""

REVISION_EDK2 = 0x0001_0050
"""Revision that a core built with current edk2 headers shows (PI 1.8)."""

DRIVER_REVISION = 0x0001_0032
"""PI_SPECIFICATION_VERSION of an MM_STANDALONE driver; its entry stub refuses an older table."""

_FUNCTION, _POINTER, _NUMBER = FieldKind.FUNCTION, FieldKind.POINTER, FieldKind.NUMBER

# Offset, size, MM name, name in EFI_SMM_SYSTEM_TABLE2 (empty: the same), kind.
_FIELDS: tuple[tuple[int, int, str, str, FieldKind], ...] = (
    (0x18, 8, "MmFirmwareVendor", "SmmFirmwareVendor", _POINTER),
    (0x20, 4, "MmFirmwareRevision", "SmmFirmwareRevision", _NUMBER),
    (0x28, 8, "MmInstallConfigurationTable", "SmmInstallConfigurationTable", _FUNCTION),
    (0x30, 8, "MmIo.Mem.Read", "SmmIo.Mem.Read", _FUNCTION),
    (0x38, 8, "MmIo.Mem.Write", "SmmIo.Mem.Write", _FUNCTION),
    (0x40, 8, "MmIo.Io.Read", "SmmIo.Io.Read", _FUNCTION),
    (0x48, 8, "MmIo.Io.Write", "SmmIo.Io.Write", _FUNCTION),
    (0x50, 8, "MmAllocatePool", "SmmAllocatePool", _FUNCTION),
    (0x58, 8, "MmFreePool", "SmmFreePool", _FUNCTION),
    (0x60, 8, "MmAllocatePages", "SmmAllocatePages", _FUNCTION),
    (0x68, 8, "MmFreePages", "SmmFreePages", _FUNCTION),
    (0x70, 8, "MmStartupThisAp", "SmmStartupThisAp", _FUNCTION),
    (0x78, 8, "CurrentlyExecutingCpu", "", _NUMBER),
    (0x80, 8, "NumberOfCpus", "", _NUMBER),
    (0x88, 8, "CpuSaveStateSize", "", _POINTER),
    (0x90, 8, "CpuSaveState", "", _POINTER),
    (0x98, 8, "NumberOfTableEntries", "", _NUMBER),
    (0xA0, 8, "MmConfigurationTable", "SmmConfigurationTable", _POINTER),
    (0xA8, 8, "MmInstallProtocolInterface", "SmmInstallProtocolInterface", _FUNCTION),
    (0xB0, 8, "MmUninstallProtocolInterface", "SmmUninstallProtocolInterface", _FUNCTION),
    (0xB8, 8, "MmHandleProtocol", "SmmHandleProtocol", _FUNCTION),
    (0xC0, 8, "MmRegisterProtocolNotify", "SmmRegisterProtocolNotify", _FUNCTION),
    (0xC8, 8, "MmLocateHandle", "SmmLocateHandle", _FUNCTION),
    (0xD0, 8, "MmLocateProtocol", "SmmLocateProtocol", _FUNCTION),
    (0xD8, 8, "MmiManage", "SmiManage", _FUNCTION),
    (0xE0, 8, "MmiHandlerRegister", "SmiHandlerRegister", _FUNCTION),
    (0xE8, 8, "MmiHandlerUnRegister", "SmiHandlerUnRegister", _FUNCTION),
)

MMST = TableLayout(
    name="EFI_MM_SYSTEM_TABLE",
    symbol="gMmst",
    signature=MMST_SIGNATURE,
    size=MMST_SIZE,
    fields=(
        *header_fields(),
        *(TableField(offset, size, name, kind, old or name) for offset, size, name, old, kind in _FIELDS),
    ),
)
"""The table as data."""


def mmst_header(revision: int = REVISION_EDK2) -> TableHeader:
    """The header the reference writes: HeaderSize counts the header only, CRC32 stays 0.

    Args:
        revision: One of the revisions of this module.
    """
    return TableHeader(MMST_SIGNATURE, revision, HEADER_SIZE)


ENTRY_CONTEXT_OFFSET = 0x70
"""Where EFI_MM_ENTRY_CONTEXT lies within the table: the supervisor overwrites it on every MMI."""

_CONTEXT = struct.Struct("<5Q")


@dataclass(frozen=True, slots=True)
class EntryContext:
    """EFI_MM_ENTRY_CONTEXT, 40 bytes: the table's fields from 0x70 to 0x97 in the same order.

    Attributes:
        startup_this_ap: Address of the service.
        currently_executing_cpu: Index of the CPU that handles the MMI.
        number_of_cpus: Number of CPUs.
        cpu_save_state_size: Address of an array of sizes, or 0.
        cpu_save_state: Address of an array of pointers, or 0.
    """

    SIZE = _CONTEXT.size

    startup_this_ap: int
    currently_executing_cpu: int
    number_of_cpus: int
    cpu_save_state_size: int = 0
    cpu_save_state: int = 0

    def pack(self) -> bytes:
        """The 40 bytes."""
        return _CONTEXT.pack(
            self.startup_this_ap,
            self.currently_executing_cpu,
            self.number_of_cpus,
            self.cpu_save_state_size,
            self.cpu_save_state,
        )

    @classmethod
    def parse(cls, reader: Reader, offset: int = 0) -> EntryContext:
        """Read a context.

        Raises:
            FormatError: fewer than 40 bytes are left.
        """
        return cls(*reader.unpack(_CONTEXT, offset, "EFI_MM_ENTRY_CONTEXT"))
