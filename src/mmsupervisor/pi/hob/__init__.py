"""Hand-off blocks: what PEI tells the MM core. Read lists, write lists.

Sources: PI 1.8 vol. 3 §5; docs/reference/boot-flow.md §3.1.

``parse_hob_list(reader)`` gives a :class:`HobList` of records; ``build_hob_list(records, address)`` gives bytes.
What lies in GUID extensions that the supervisor knows: :mod:`mmsupervisor.pi.supervisor_hobs`.

>>> from mmsupervisor.pi.reader import Reader
>>> data = build_hob_list([HandoffHob(), CpuHob(39)], address=0x1000)
>>> [record.memory_bits for record in parse_hob_list(Reader(data, "example")).of(CpuHob)]
[39]
"""

from mmsupervisor.pi.hob.building import build_hob_list
from mmsupervisor.pi.hob.parsing import HobEntry, HobList, parse_hob_list
from mmsupervisor.pi.hob.records import (
    CapsuleHob,
    CpuHob,
    GuidHob,
    HandoffHob,
    HobRecord,
    HobType,
    MemoryAllocationHob,
    ModuleAllocationHob,
    OpaqueHob,
    ResourceHob,
    ResourceType,
    Volume2Hob,
    Volume3Hob,
    VolumeHob,
)

__all__ = [
    "CapsuleHob",
    "CpuHob",
    "GuidHob",
    "HandoffHob",
    "HobEntry",
    "HobList",
    "HobRecord",
    "HobType",
    "MemoryAllocationHob",
    "ModuleAllocationHob",
    "OpaqueHob",
    "ResourceHob",
    "ResourceType",
    "Volume2Hob",
    "Volume3Hob",
    "VolumeHob",
    "build_hob_list",
    "parse_hob_list",
]
