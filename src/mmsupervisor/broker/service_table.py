"""Ring 3's MM system table, as it lies in the broker's data (docs/reference/gmmst.md §1)."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.mmst import MMST
from mmsupervisor.pi.service_table import FieldKind

SERVICES = tuple(
    item.name for item in MMST.fields if item.kind is FieldKind.FUNCTION and not item.name.startswith("MmIo.")
)
"""Services of the table, in its order. MmiManage is NULL in ring 3."""


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """A table that was read.

    Attributes:
        address: Where it lies.
        revision: Its revision.
        services: Address of each service by name; 0 for one that is NULL.
        current_cpu: CurrentlyExecutingCpu.
        cpus: NumberOfCpus.
    """

    address: int
    revision: int
    services: dict[str, int]
    current_cpu: int
    cpus: int


def read_service_table(memory: PhysicalMemory, address: int) -> ServiceTable:
    """Read the table.

    Raises:
        BusError: there is no memory.
    """

    def field(name: str) -> int:
        return memory.read_u64(address + MMST.offset_of(name))

    revision = field("Hdr.Revision") & 0xFFFF_FFFF
    services = {name: field(name) for name in SERVICES}
    return ServiceTable(address, revision, services, field("CurrentlyExecutingCpu"), field("NumberOfCpus"))
