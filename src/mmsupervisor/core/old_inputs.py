"""What the core of the DXE launch takes from HOB list and mailbox (docs/reference/dxe-launch.md §1, §2)."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.abi.dxe_launch import CommonRegion, CoreData, CorePrivateData, RegionType
from mmsupervisor.core.errors import LaunchError
from mmsupervisor.core.inputs import CORE_GUID, CoreInputs
from mmsupervisor.core.mmram import Mmram
from mmsupervisor.core.supervisor import OneSlot
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import HobList, ModuleAllocationHob, parse_hob_list
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import SupervisorCommBuffer, UserCommBuffer

_REGION_GUID = known_guid("gMmCommonRegionHobGuid")
_CORE_DATA_GUID = known_guid("gMmCoreDataHobGuid")
_RUNTIME_CODE = 5
_MOST_RANGES = (1 << 64) // MmramDescriptor.SIZE


@dataclass(frozen=True, slots=True)
class OldCoreInputs(CoreInputs):
    """HOB list and mailbox as the core of that generation reads them.

    Attributes:
        slot: The mailbox.
    """

    slot: OneSlot

    def _region(self, kind: RegionType) -> CommonRegion:
        for body in self._bodies(_REGION_GUID):
            region = CommonRegion.parse(body)
            if region.type == kind:
                return region
        raise LaunchError(Status.NOT_FOUND, f"gMmCommonRegionHobGuid of type {int(kind)} is missing")

    def supervisor_comm(self) -> SupervisorCommBuffer:
        """Return the supervisor's comm buffer; its mailbox is the one that both channels share.

        Raises:
            LaunchError: the HOB is missing.
        """
        region = self._region(RegionType.SUPERVISOR)
        return SupervisorCommBuffer(region.address, region.pages, self.slot.address)

    def user_comm(self) -> UserCommBuffer:
        """Return the user's comm buffer, as :meth:`supervisor_comm` does."""
        region = self._region(RegionType.USER)
        return UserCommBuffer(region.address, region.pages, self.slot.address)

    def core_image(self) -> ModuleAllocationHob | None:
        """Return the core's image as the launcher wrote it into the mailbox; no HOB names it."""
        private = self.slot.private
        return ModuleAllocationHob(
            private.image_base, private.image_size, CORE_GUID, private.image_entry, _RUNTIME_CODE
        )


def read_old_inputs(data: bytes, memory: PhysicalMemory) -> OldCoreInputs:
    """Read the HOB list that PiSmmIpl hands over, and the mailbox it names.

    The MMRAM table is the launcher's, made of the chipset's own view; MMRAM HOBs are not looked at.

    Args:
        data: Memory from the list's first byte on.
        memory: Where the mailbox lies.

    Raises:
        LaunchError: the list is malformed, or names no mailbox, or that names no MMRAM.
        BusError: there is no memory where the mailbox or its table should be.
    """
    try:
        hobs = parse_hob_list(Reader(data, "HOB list"))
        slot = _read_slot(hobs, memory)
    except FormatError as error:
        raise LaunchError(Status.INVALID_PARAMETER, str(error)) from error
    return OldCoreInputs(data[: hobs.size], hobs, Mmram(_read_ranges(slot.private, memory)), slot)


def _read_slot(hobs: HobList, memory: PhysicalMemory) -> OneSlot:
    hob = hobs.first_guid_hob(_CORE_DATA_GUID)
    if hob is None:
        raise LaunchError(Status.NOT_FOUND, "gMmCoreDataHobGuid is missing: there is no mailbox")
    address = CoreData.parse(Reader(hob.data, "HOB gMmCoreDataHobGuid")).address
    return OneSlot(address, CorePrivateData.parse(Reader(memory.read(address, CorePrivateData.SIZE), "mailbox")))


def _read_ranges(private: CorePrivateData, memory: PhysicalMemory) -> tuple[MmramDescriptor, ...]:
    count = private.range_count
    if count >= _MOST_RANGES:
        raise LaunchError(Status.BAD_BUFFER_SIZE, f"{count:#x} MMRAM ranges in the mailbox")
    table = Reader(memory.read(private.ranges, count * MmramDescriptor.SIZE), "MMRAM table of the mailbox")
    ranges = tuple(MmramDescriptor.parse(table, index * MmramDescriptor.SIZE) for index in range(count))
    if not ranges:
        raise LaunchError(Status.NOT_FOUND, "the mailbox names no MMRAM range")
    return ranges
