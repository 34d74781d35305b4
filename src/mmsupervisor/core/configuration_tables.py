"""Configuration tables that ring 3 can see, under the relaxation of that name (docs/reference/gmmst.md §1, §7).

The reference keeps them to itself: ring 3's system table says that there are none.
"""

from __future__ import annotations

import struct

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.pages import Owner, PageType
from mmsupervisor.core.ring0 import write_as_ring0
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.guid import GUID_SIZE
from mmsupervisor.pi.mmst import MMST

_ENTRIES = MMST.offset_of("NumberOfTableEntries")
_ENTRY_SIZE = GUID_SIZE + 8


def publish_configuration_tables(supervisor: Supervisor) -> None:
    """Write all tables into a read-only page of ring 3 and let its system table name them, if that is relaxed.

    Raises:
        CoreError: no page is free, or ring 3's system table is not writable.
    """
    table = supervisor.jumps.user_table
    if not table or not supervisor.relaxations.permits(Relaxation.CONFIGURATION_TABLES):
        return
    if not supervisor.visible_tables:
        data = PageType.RUNTIME_SERVICES_DATA
        supervisor.visible_tables = supervisor.pages.allocate(1, data, Owner.USER, "visible configuration tables")
        supervisor.memory.assign(supervisor.visible_tables, PAGE_SIZE, Attribute.RO | Attribute.XP)
    shown = list(supervisor.configuration.items())[: PAGE_SIZE // _ENTRY_SIZE]
    rows = b"".join(guid.raw + address.to_bytes(8, "little") for guid, address in shown)
    supervisor.memory.write(supervisor.visible_tables, rows)
    fields = struct.pack("<QQ", len(shown), supervisor.visible_tables)
    write_as_ring0(supervisor.memory, table + _ENTRIES, fields)
