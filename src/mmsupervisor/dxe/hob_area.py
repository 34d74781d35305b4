"""The HOB list of PEI as it lies in memory, growing at its end (PI 1.8 vol. 3 §4.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid import ZERO_GUID, Guid
from mmsupervisor.pi.hob import GuidHob, HobRecord, build_hob_list


class HobArea:
    """A HOB list at a fixed address.

    Attributes:
        address: Its first byte.
        size: Bytes it may take.
        records: Its records in order, without the end.
    """

    def __init__(self, memory: PhysicalMemory, address: int, size: int, records: Iterable[HobRecord]) -> None:
        """Write a list.

        Raises:
            ValueError: it does not fit.
        """
        self._memory = memory
        self.address = address
        self.size = size
        self.records = list(records)
        self._write()

    def _write(self) -> None:
        data = build_hob_list(self.records, self.address)
        if len(data) > self.size:
            raise ValueError(f"the HOB list takes {len(data):#x} bytes, its area has {self.size:#x}")
        self._memory.write(self.address, data)

    def guid_hobs(self, name: Guid) -> Iterator[GuidHob]:
        """Iterate over the GUID HOBs of a name, in order."""
        return (record for record in list(self.records) if isinstance(record, GuidHob) and record.name == name)

    def append(self, record: HobRecord) -> None:
        """Put a HOB at the end; raises as the constructor does."""
        self.records.append(record)
        self._write()

    def replace(self, old: HobRecord, new: HobRecord) -> None:
        """Write another record in the place of one."""
        self.records[self.records.index(old)] = new
        self._write()

    def forget(self, name: Guid) -> None:
        """Zero the name of the first GUID HOB of a name, as PEI code does that makes a newer one."""
        first = next(self.guid_hobs(name), None)
        if first is not None:
            self.replace(first, replace(first, name=ZERO_GUID))
