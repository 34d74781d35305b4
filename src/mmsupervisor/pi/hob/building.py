"""Writing a HOB list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mmsupervisor.pi.hob.records import HandoffHob, HobRecord, end_record


def build_hob_list(records: Iterable[HobRecord], address: int | None = None) -> bytes:
    """Pack records one after the other and end the list.

    Args:
        records: The records in order, a :class:`~mmsupervisor.pi.hob.records.HandoffHob` first by convention.
        address: Where the list will be in memory. If given, the first PHIT's ``end_of_hob_list`` is set to the
            address of the end record and ``free_memory_bottom`` to the byte after it, as the PEI core keeps them;
            otherwise the PHIT is left as it is.

    Raises:
        ValueError: a record does not fit the 16-bit length.
    """
    items = list(records)
    packed = [record.pack() for record in items]
    if address is not None:
        end = address + sum(map(len, packed))
        for index, record in enumerate(items):
            if isinstance(record, HandoffHob):
                last = end + len(end_record())
                packed[index] = replace(record, end_of_hob_list=end, free_memory_bottom=last).pack()
                break
    return b"".join(packed) + end_record()
