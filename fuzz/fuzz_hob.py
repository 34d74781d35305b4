"""HOB lists and the bodies of GUID extensions; what was read must be written the same."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import ZERO_GUID
from mmsupervisor.pi.hob import (
    CapsuleHob,
    CpuHob,
    GuidHob,
    HandoffHob,
    MemoryAllocationHob,
    ModuleAllocationHob,
    ResourceHob,
    Volume2Hob,
    Volume3Hob,
    VolumeHob,
    build_hob_list,
    parse_hob_list,
)
from mmsupervisor.pi.memory_types import MemoryDescriptor
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.supervisor_hobs import (
    MemoryProtectionSettings,
    MmramBlock,
    MpInformation2,
    ProcessorEntry,
    ProtectedRegion,
    SmmBase,
    SupervisorCommBuffer,
    UnblockRegion,
    UserCommBuffer,
    hob_for,
    parse_hob_body,
)


def seeds() -> list[bytes]:
    """One list with a record of each kind, and one with the supervisor's bodies."""
    bodies = (
        MmramBlock((MmramDescriptor(0x7F00_0000, 0x7F00_0000, 0x100_0000, 10),)),
        MpInformation2((ProcessorEntry(0, 7), ProcessorEntry(1, 6))),
        SmmBase((0x7F00_0000, 0x7F00_2000)),
        SupervisorCommBuffer(0x7F10_0000, 8, 0x7F11_0000),
        UserCommBuffer(0x7F20_0000, 8, 0x7F21_0000),
        ProtectedRegion(0, 0xFED0_0000, 1),
        UnblockRegion(MemoryDescriptor(6, 0x1000, 0, 1, 0), ZERO_GUID),
        MemoryProtectionSettings(1, 3, 0x60, 0x60),
    )
    records = (
        HandoffHob(),
        MemoryAllocationHob(ZERO_GUID, 0, 0x1000, 4),
        ModuleAllocationHob(0x1000, 0x1000, ZERO_GUID, 0x1234, 5),
        ResourceHob(0, 0, 0x8000_0000),
        ResourceHob(1, 0xFEC0_0000, 0x1000, memory_attributes=1),
        VolumeHob(0x90_0000, 0x1000),
        Volume2Hob(0, 0x1000, ZERO_GUID, ZERO_GUID),
        Volume3Hob(0, 0x1000, 0, 0),
        CpuHob(39),
        CapsuleHob(0x1000, 0x2000),
    )
    return [build_hob_list(records), build_hob_list(hob_for(body) for body in bodies)]


def target(data: bytes) -> None:
    """Read a list, read each body, write the list again."""
    hobs = parse_hob_list(Reader(data, "fuzz"))
    for entry in hobs.entries:
        packed = entry.record.pack()
        # The reserved word of the header is not kept; everything else is.
        assert packed[:4] == data[entry.offset : entry.offset + 4]
        assert packed[8:] == data[entry.offset + 8 : entry.offset + entry.length]
        if isinstance(entry.record, GuidHob):
            try:
                body = parse_hob_body(entry.record, "fuzz", entry.offset)
            except FormatError:
                continue
            assert body is None or type(body).parse(Reader(body.pack(), "fuzz")) == body


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
