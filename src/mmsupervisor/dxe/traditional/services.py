"""Every service that a traditional driver can reach outside MM, declared once.

Tables in memory, dispatch, events, the census and the documentation come from :data:`SERVICES`. Sources: UEFI 2.10
§7 (boot services), §8 (runtime services), §10.5 (device paths); PI 1.8 vol. 2 §7 (DXE services), §8 (PCD), §13.4 (MP
services); vol. 4 §4.3 and §4.4 (SmmBase2, SmmAccess2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from mmsupervisor.pi.status import Status
from mmsupervisor.pi.system_table import BOOT_SERVICES, DXE_SERVICES, RUNTIME_SERVICES


class Support(Enum):
    """How far a service is served."""

    FULL = "as specified"
    PARTIAL = "in part"
    NONE = "not implemented"


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    Attributes:
        table: The table or protocol that holds it.
        name: Its name there.
        offset: Where its pointer lies in the table, in bytes.
        arguments: Names of its arguments; ``Guid`` in a name means a pointer to a GUID.
        support: How far it is served.
        does: What it does here, or why not.
        failure: RAX of one that is not implemented.
    """

    table: str
    name: str
    offset: int
    arguments: tuple[str, ...]
    support: Support
    does: str
    failure: int = Status.UNSUPPORTED

    @property
    def title(self) -> str:
        """How traces call it, for example ``gBS->LocateProtocol``."""
        return f"{self.table}->{self.name}"


_F, _P, _N = Support.FULL, Support.PARTIAL, Support.NONE
_Row = tuple[str, str, Support, str]

_BOOT: tuple[_Row, ...] = (
    ("RaiseTPL", "NewTpl", _P, "returns the task priority before; nothing is ever interrupted"),
    ("RestoreTPL", "OldTpl", _P, "keeps the task priority"),
    ("AllocatePages", "Type MemoryType Pages Memory", _F, "allocates normal memory"),
    ("FreePages", "Memory Pages", _P, "frees a whole allocation"),
    ("GetMemoryMap", "Size Map Key DescriptorSize DescriptorVersion", _F, "gives UEFI's memory map"),
    ("AllocatePool", "PoolType Size Buffer", _F, "allocates normal memory"),
    ("FreePool", "Buffer", _F, "frees it"),
    ("CreateEvent", "Type NotifyTpl NotifyFunction NotifyContext Event", _P, "no timers; nobody waits"),
    ("SetTimer", "Event Type TriggerTime", _N, "there is no timer in management mode"),
    ("WaitForEvent", "NumberOfEvents Event Index", _N, "nothing happens while MM runs"),
    ("SignalEvent", "Event", _F, "calls the event's function at once"),
    ("CloseEvent", "Event", _F, "forgets the event"),
    ("CheckEvent", "Event", _N, "nothing happens while MM runs"),
    ("InstallProtocolInterface", "Handle ProtocolGuid InterfaceType Interface", _F, "into DXE's database"),
    ("ReinstallProtocolInterface", "Handle ProtocolGuid OldInterface NewInterface", _N, "not needed so far"),
    ("UninstallProtocolInterface", "Handle ProtocolGuid Interface", _F, "out of DXE's database"),
    ("HandleProtocol", "Handle ProtocolGuid Interface", _F, "asks DXE's database"),
    ("Reserved", "", _N, "no service"),
    ("RegisterProtocolNotify", "ProtocolGuid Event Registration", _P, "told of what MM drivers install"),
    ("LocateHandle", "SearchType ProtocolGuid SearchKey BufferSize Buffer", _P, "all, or by protocol"),
    ("LocateDevicePath", "ProtocolGuid DevicePath Device", _N, "there are no devices with paths"),
    ("InstallConfigurationTable", "TableGuid Table", _F, "into the EFI system table"),
    ("LoadImage", "BootPolicy Parent DevicePath Source SourceSize Image", _N, "no image is loaded for MM"),
    ("StartImage", "Image ExitDataSize ExitData", _N, "no image is loaded for MM"),
    ("Exit", "Image ExitStatus ExitDataSize ExitData", _N, "an MM driver returns"),
    ("UnloadImage", "Image", _N, "no image is loaded for MM"),
    ("ExitBootServices", "Image MapKey", _N, "not an MM driver's to call"),
    ("GetNextMonotonicCount", "Count", _N, "would have to outlive the boot"),
    ("Stall", "Microseconds", _P, "time passes by being read, so that none passes here"),
    ("SetWatchdogTimer", "Timeout WatchdogCode DataSize WatchdogData", _N, "there is no watchdog"),
    ("ConnectController", "Controller Driver RemainingPath Recursive", _N, "there are no controllers"),
    ("DisconnectController", "Controller Driver Child", _N, "there are no controllers"),
    ("OpenProtocol", "Handle ProtocolGuid Interface Agent Controller Attributes", _P, "gives the interface"),
    ("CloseProtocol", "Handle ProtocolGuid Agent Controller", _P, "nobody keeps count of openers"),
    ("OpenProtocolInformation", "Handle ProtocolGuid EntryBuffer EntryCount", _N, "nobody keeps count of openers"),
    ("ProtocolsPerHandle", "Handle Buffer Count", _N, "not needed so far"),
    ("LocateHandleBuffer", "SearchType ProtocolGuid SearchKey Count Buffer", _P, "all, or by protocol"),
    ("LocateProtocol", "ProtocolGuid Registration Interface", _P, "the first instance"),
    ("InstallMultipleProtocolInterfaces", "Handle ProtocolGuid Interface", _F, "all or none"),
    ("UninstallMultipleProtocolInterfaces", "Handle ProtocolGuid Interface", _N, "not needed so far"),
    ("CalculateCrc32", "Data DataSize Crc32", _F, "computes it"),
    ("CopyMem", "Destination Source Length", _F, "copies"),
    ("SetMem", "Buffer Size Value", _F, "fills"),
    ("CreateEventEx", "Type NotifyTpl NotifyFunction NotifyContext GroupGuid Event", _P, "as CreateEvent"),
)

_RUNTIME: tuple[_Row, ...] = (
    ("GetTime", "Time Capabilities", _N, "no host time reaches ring 3"),
    ("SetTime", "Time", _N, "no host time reaches ring 3"),
    ("GetWakeupTime", "Enabled Pending Time", _N, "there is no clock"),
    ("SetWakeupTime", "Enable Time", _N, "there is no clock"),
    ("SetVirtualAddressMap", "MapSize DescriptorSize DescriptorVersion Map", _N, "the operating system's to call"),
    ("ConvertPointer", "DebugDisposition Address", _N, "nothing is virtual in MM"),
    ("GetVariable", "Name VendorGuid Attributes DataSize Data", _N, "MM itself keeps the variables"),
    ("GetNextVariableName", "NameSize Name VendorGuid", _N, "MM itself keeps the variables"),
    ("SetVariable", "Name VendorGuid Attributes DataSize Data", _N, "MM itself keeps the variables"),
    ("GetNextHighMonotonicCount", "HighCount", _N, "would have to outlive the boot"),
    ("ResetSystem", "Type Status DataSize Data", _N, "not an MM driver's to call here"),
    ("UpdateCapsule", "Capsules Count ScatterGatherList", _N, "there are no capsules"),
    ("QueryCapsuleCapabilities", "Capsules Count MaximumSize ResetType", _N, "there are no capsules"),
    ("QueryVariableInfo", "Attributes MaximumStorage Remaining MaximumVariable", _N, "MM itself keeps the variables"),
)

_DXE: tuple[_Row, ...] = tuple(
    (item.name, "", _N, "the memory space map belongs to DXE")
    for item in DXE_SERVICES.fields
    if not item.name.startswith("Hdr.")
)

_SMM_BASE: tuple[_Row, ...] = (
    ("InSmm", "This InSmm", _F, "an MM driver runs in MM: TRUE"),
    ("GetSmstLocation", "This Smst", _F, "ring 3's MM system table, as the broker serves it"),
)

_SMM_ACCESS: tuple[_Row, ...] = (
    ("Open", "This", _N, "MMRAM is locked"),
    ("Close", "This", _N, "MMRAM is closed"),
    ("Lock", "This", _N, "MMRAM is locked"),
    ("GetCapabilities", "This Size Map", _F, "the MMRAM ranges"),
)

_DEVICE_PATH_ROWS = (
    ("GetDevicePathSize", "DevicePath"), ("DuplicateDevicePath", "DevicePath"), ("AppendDevicePath", "First Second"),
    ("AppendDeviceNode", "DevicePath Node"), ("AppendDevicePathInstance", "DevicePath Instance"),
    ("GetNextDevicePathInstance", "DevicePath Size"), ("IsDevicePathMultiInstance", "DevicePath"),
    ("CreateDeviceNode", "Type SubType Length"),
)  # fmt: skip
_DEVICE_PATH: tuple[_Row, ...] = tuple((name, args, _N, "answers 0 or NULL") for name, args in _DEVICE_PATH_ROWS)

_MP: tuple[_Row, ...] = (
    ("GetNumberOfProcessors", "This Number Enabled", _F, "all are enabled"),
    ("GetProcessorInfo", "This Number Info", _N, "the supervisor owns the processors"),
    ("StartupAllAPs", "This Procedure SingleThread Event Timeout Argument Failed", _N, "the supervisor owns them"),
    ("StartupThisAP", "This Procedure Number Event Timeout Argument Finished", _N, "the supervisor owns them"),
    ("SwitchBSP", "This Number EnableOld", _N, "the supervisor owns the processors"),
    ("EnableDisableAP", "This Number Enable Health", _N, "the supervisor owns the processors"),
    ("WhoAmI", "This Number", _F, "drivers are entered on the BSP: 0"),
)

_PCD_KINDS = ("8", "16", "32", "64", "Ptr", "Bool")
_PCD_SET_ARGUMENTS = {"Ptr": "Size Value"}
_PCD_REST: tuple[_Row, ...] = (
    ("CallbackOnSet", "SpaceGuid Token Function", _N, "not needed so far"),
    ("CancelCallback", "SpaceGuid Token Function", _N, "not needed so far"),
    ("GetNextToken", "SpaceGuid Token", _N, "not needed so far"),
    ("GetNextTokenSpace", "SpaceGuid", _N, "not needed so far"),
)


def _pcd_group(suffix: str, key: str) -> tuple[list[_Row], list[_Row]]:
    gets = [(f"Get{kind}{suffix}", key, _F, "the value of the image's own PCD database") for kind in _PCD_KINDS]
    gets.append((f"GetSize{suffix}", key, _F, "the value's size"))
    sets = [
        (f"Set{kind}{suffix}", f"{key} {_PCD_SET_ARGUMENTS.get(kind, 'Value')}", _F, "keeps the value for this boot")
        for kind in _PCD_KINDS
    ]
    return gets, sets


def _pcd_rows() -> tuple[tuple[_Row, ...], tuple[_Row, ...]]:
    """The PCD protocol of edk2, and that of PI, whose every service has a token space."""
    sku: _Row = ("SetSku", "SkuId", _N, "there is one SKU")
    gets, sets = _pcd_group("", "Token")
    gets_ex, sets_ex = _pcd_group("Ex", "SpaceGuid Token")
    gets_pi, sets_pi = _pcd_group("", "SpaceGuid Token")
    return (
        (sku, *gets, *gets_ex, *sets, *sets_ex, *_PCD_REST),
        (sku, *gets_pi, *sets_pi, *_PCD_REST),
    )


def _rows(table: str, rows: tuple[_Row, ...], first: int, failure: int = Status.UNSUPPORTED) -> Iterator[Service]:
    for index, (name, arguments, support, does) in enumerate(rows):
        yield Service(table, name, first + 8 * index, tuple(arguments.split()), support, does, failure)


_PCD, _PI_PCD = _pcd_rows()
_HEADER = 0x18

SERVICES: tuple[Service, ...] = (
    *_rows(BOOT_SERVICES.symbol, _BOOT, _HEADER),
    *_rows(RUNTIME_SERVICES.symbol, _RUNTIME, _HEADER),
    *_rows(DXE_SERVICES.symbol, _DXE, _HEADER),
    *_rows("SmmBase2", _SMM_BASE, 0),
    *_rows("SmmAccess2", _SMM_ACCESS, 0),
    *_rows("DevicePathUtilities", _DEVICE_PATH, 0, failure=0),
    *_rows("MpService", _MP, 0),
    *_rows("PCD", _PCD, 0),
    *_rows("EfiPcd", _PI_PCD, 0),
)
"""All services, table by table, in the order of their offsets."""
