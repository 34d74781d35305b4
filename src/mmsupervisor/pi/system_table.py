"""The tables of the world outside MM, as data: what an unconverted driver reaches for is named from them.

Sources: UEFI 2.10 §4.3 (system table), §4.4 (boot services), §4.5 (runtime services); PI 1.8 vol. 2 §7 (DXE
services). Offsets are those of a 64-bit system.

API: :data:`SYSTEM_TABLE`, :data:`BOOT_SERVICES`, :data:`RUNTIME_SERVICES`, :data:`DXE_SERVICES`, each a
:class:`~mmsupervisor.pi.service_table.TableLayout`.
"""

from __future__ import annotations

from mmsupervisor.pi.service_table import (
    HEADER_SIZE,
    FieldKind,
    TableField,
    TableLayout,
    header_fields,
    pointer_fields,
)


def _signature(text: bytes) -> int:
    return int.from_bytes(text, "little")


_SYSTEM_REVISION = TableField(0x20, 4, "FirmwareRevision", FieldKind.NUMBER, "FirmwareRevision")
_SYSTEM_ENTRIES = TableField(0x68, 8, "NumberOfTableEntries", FieldKind.NUMBER, "NumberOfTableEntries")

SYSTEM_TABLE = TableLayout(
    name="EFI_SYSTEM_TABLE",
    symbol="gST",
    signature=_signature(b"IBI SYST"),
    size=0x78,
    fields=(
        *header_fields(),
        *pointer_fields("FirmwareVendor", HEADER_SIZE, FieldKind.POINTER),
        _SYSTEM_REVISION,
        *pointer_fields(
            "ConsoleInHandle ConIn ConsoleOutHandle ConOut StandardErrorHandle StdErr RuntimeServices BootServices",
            0x28,
            FieldKind.POINTER,
        ),
        _SYSTEM_ENTRIES,
        *pointer_fields("ConfigurationTable", 0x70, FieldKind.POINTER),
    ),
)
"""EFI_SYSTEM_TABLE."""

BOOT_SERVICES = TableLayout(
    name="EFI_BOOT_SERVICES",
    symbol="gBS",
    signature=_signature(b"BOOTSERV"),
    size=0x178,
    fields=(
        *header_fields(),
        *pointer_fields(
            """
            RaiseTPL RestoreTPL AllocatePages FreePages GetMemoryMap AllocatePool FreePool
            CreateEvent SetTimer WaitForEvent SignalEvent CloseEvent CheckEvent
            InstallProtocolInterface ReinstallProtocolInterface UninstallProtocolInterface HandleProtocol
            Reserved RegisterProtocolNotify LocateHandle LocateDevicePath InstallConfigurationTable
            LoadImage StartImage Exit UnloadImage ExitBootServices
            GetNextMonotonicCount Stall SetWatchdogTimer ConnectController DisconnectController
            OpenProtocol CloseProtocol OpenProtocolInformation ProtocolsPerHandle LocateHandleBuffer LocateProtocol
            InstallMultipleProtocolInterfaces UninstallMultipleProtocolInterfaces
            CalculateCrc32 CopyMem SetMem CreateEventEx
            """,
            HEADER_SIZE,
        ),
    ),
)
"""EFI_BOOT_SERVICES."""

RUNTIME_SERVICES = TableLayout(
    name="EFI_RUNTIME_SERVICES",
    symbol="gRT",
    signature=_signature(b"RUNTSERV"),
    size=0x88,
    fields=(
        *header_fields(),
        *pointer_fields(
            """
            GetTime SetTime GetWakeupTime SetWakeupTime SetVirtualAddressMap ConvertPointer
            GetVariable GetNextVariableName SetVariable GetNextHighMonotonicCount ResetSystem
            UpdateCapsule QueryCapsuleCapabilities QueryVariableInfo
            """,
            HEADER_SIZE,
        ),
    ),
)
"""EFI_RUNTIME_SERVICES."""

DXE_SERVICES = TableLayout(
    name="DXE_SERVICES",
    symbol="gDS",
    signature=_signature(b"DXE_SERV"),
    size=0xA8,
    fields=(
        *header_fields(),
        *pointer_fields(
            """
            AddMemorySpace AllocateMemorySpace FreeMemorySpace RemoveMemorySpace GetMemorySpaceDescriptor
            SetMemorySpaceAttributes GetMemorySpaceMap AddIoSpace AllocateIoSpace FreeIoSpace RemoveIoSpace
            GetIoSpaceDescriptor GetIoSpaceMap Dispatch Schedule Trust ProcessFirmwareVolume
            SetMemorySpaceCapabilities
            """,
            HEADER_SIZE,
        ),
    ),
)
"""The table of DXE services."""
