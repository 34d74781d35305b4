"""What the core's entry point takes from the HOB list (docs/reference/boot-flow.md §3)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from mmsupervisor.core.errors import LaunchError
from mmsupervisor.core.mmram import Mmram
from mmsupervisor.core.supervisor import Cpu
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import HobList, ModuleAllocationHob, ResourceHob, VolumeHob, parse_hob_list
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import (
    MemoryProtectionSettings,
    MmramBlock,
    MpInformation2,
    ProtectedRegion,
    SmmBase,
    SupervisorCommBuffer,
    UserCommBuffer,
)

_MMRAM_GUIDS = (known_guid("gEfiMmPeiMmramMemoryReserveGuid"), known_guid("gEfiSmmSmramMemoryGuid"))
_MP_GUID = known_guid("gMpInformation2HobGuid")
_SMBASE_GUID = known_guid("gSmmBaseHobGuid")
_SUPERVISOR_COMM_GUID = known_guid("gMmCommonRegionHobGuid")
_USER_COMM_GUID = known_guid("gMmCommBufferHobGuid")
_UNBLOCK_GUID = known_guid("gMmSupvUnblockRegionHobGuid")
_PROTECTED_GUID = known_guid("gMmProtectedRegionHobGuid")
_SETTINGS_GUID = known_guid("gMmMemoryProtectionSettingsGuid")
CORE_GUID = known_guid("gMmSupervisorCoreGuid")
"""FILE_GUID of the core; the identifier of regions that the core itself opens."""


@dataclass(frozen=True, slots=True)
class CoreInputs:
    """The HOB list as the core reads it.

    Attributes:
        raw: All bytes up to and including the end HOB.
        hobs: The list.
        mmram: The MMRAM ranges.
    """

    raw: bytes
    hobs: HobList
    mmram: Mmram

    def _bodies(self, guid: Guid) -> list[Reader]:
        return [Reader(hob.data, f"HOB {guid.label}") for hob in self.hobs.guid_hobs(guid)]

    def cpus(self) -> list[Cpu]:
        """Return all CPUs with their SMBASE.

        Raises:
            LaunchError: a HOB is missing, or the lists are not contiguous.
        """
        identifiers: list[int] = []
        counted = takewhile(lambda block: block.entries, map(MpInformation2.parse, self._bodies(_MP_GUID)))
        for block in sorted(counted, key=lambda block: block.processor_index):
            if block.processor_index != len(identifiers):
                raise LaunchError(Status.INVALID_PARAMETER, "gMpInformation2HobGuid: ProcessorIndex is not contiguous")
            identifiers += [entry.processor_id for entry in block.entries]
        if not identifiers:
            raise LaunchError(Status.NOT_FOUND, "gMpInformation2HobGuid is missing")
        bases = self._sm_bases(len(identifiers))
        return [Cpu(index, apic, bases[index]) for index, apic in enumerate(identifiers)]

    def _sm_bases(self, wanted: int) -> list[int]:
        chosen: list[SmmBase] = []
        total = 0
        for body in self._bodies(_SMBASE_GUID):
            if total == wanted:
                break
            block = SmmBase.parse(body)
            chosen.append(block)
            total += len(block.sm_bases)
        if total != wanted:
            raise LaunchError(Status.NOT_FOUND, f"gSmmBaseHobGuid names {total} CPUs, there are {wanted}")
        chosen.sort(key=lambda block: block.processor_index)
        bases: list[int] = []
        for block in chosen:
            if block.processor_index != len(bases):
                raise LaunchError(Status.INVALID_PARAMETER, "gSmmBaseHobGuid: ProcessorIndex is not contiguous")
            bases += block.sm_bases
        return bases

    def volumes(self) -> list[VolumeHob]:
        """Return the firmware volumes, in order; FV2 and FV3 HOBs are not looked at."""
        return list(self.hobs.of(VolumeHob))

    def resources(self) -> list[ResourceHob]:
        """Return the resource descriptors of both versions, in order."""
        return list(self.hobs.of(ResourceHob))

    def core_image(self) -> ModuleAllocationHob | None:
        """Return the memory allocation that names the core."""
        return next((hob for hob in self.hobs.of(ModuleAllocationHob) if hob.module_name == CORE_GUID), None)

    def supervisor_comm(self) -> SupervisorCommBuffer:
        """Return the supervisor's comm buffer.

        Raises:
            LaunchError: the HOB is missing or not of type 0.
        """
        bodies = self._bodies(_SUPERVISOR_COMM_GUID)
        if not bodies:
            raise LaunchError(Status.NOT_FOUND, "gMmCommonRegionHobGuid is missing")
        body = SupervisorCommBuffer.parse(bodies[0])
        if body.type != 0:
            raise LaunchError(Status.UNSUPPORTED, f"gMmCommonRegionHobGuid has type {body.type}, not 0")
        return body

    def user_comm(self) -> UserCommBuffer:
        """Return the user's comm buffer.

        Raises:
            LaunchError: the HOB is missing.
        """
        bodies = self._bodies(_USER_COMM_GUID)
        if not bodies:
            raise LaunchError(Status.NOT_FOUND, "gMmCommBufferHobGuid is missing")
        return UserCommBuffer.parse(bodies[0])

    def unblock_requests(self) -> list[bytes]:
        """Return the 56 bytes of each unblock HOB, in order."""
        return [bytes(body.data[:56]) for body in self._bodies(_UNBLOCK_GUID)]

    def protected_regions(self) -> list[ProtectedRegion]:
        """Return the protected regions, in order."""
        return [ProtectedRegion.parse(body) for body in self._bodies(_PROTECTED_GUID)]

    def protection_settings(self) -> MemoryProtectionSettings | None:
        """Return the heap-guard settings, or None without the HOB."""
        bodies = self._bodies(_SETTINGS_GUID)
        return MemoryProtectionSettings.parse(bodies[0]) if bodies else None


def read_inputs(data: bytes) -> CoreInputs:
    """Read the HOB list that the launcher hands over.

    Args:
        data: Memory from the list's first byte on; what follows the end HOB is not looked at.

    Raises:
        LaunchError: the list is malformed, or names no MMRAM.
    """
    try:
        hobs = parse_hob_list(Reader(data, "HOB list"))
        hob = next((found for guid in _MMRAM_GUIDS if (found := hobs.first_guid_hob(guid))), None)
        if hob is None:
            raise LaunchError(Status.UNSUPPORTED, "neither MMRAM HOB is there")
        block = MmramBlock.parse(Reader(hob.data, f"HOB {hob.name.label}"))
    except FormatError as error:
        raise LaunchError(Status.INVALID_PARAMETER, str(error)) from error
    if not block.descriptors:
        raise LaunchError(Status.NOT_FOUND, "the MMRAM HOB names no range")
    return CoreInputs(data[: hobs.size], hobs, Mmram(block.descriptors))
