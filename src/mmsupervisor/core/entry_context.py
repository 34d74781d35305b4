"""The entry context: what the supervisor writes into ring 3's system table (docs/reference/gmmst.md §1).

======  ====  =========================
offset  size  field of the system table
======  ====  =========================
0x70    8     MmStartupThisAp, ring 3's own: kept
0x78    8     CurrentlyExecutingCpu
0x80    8     NumberOfCpus
0x88    8     CpuSaveStateSize: NULL
0x90    8     CpuSaveState: NULL
======  ====  =========================
"""

from __future__ import annotations

import struct

from mmsupervisor.core.ring0 import write_as_ring0
from mmsupervisor.core.supervisor import Supervisor

_CURRENT_CPU_OFFSET = 0x78
_LAYOUT = struct.Struct("<QQQQ")


def write_entry_context(supervisor: Supervisor) -> None:
    """Bring ring 3's system table up to date, if it is registered.

    Raises:
        Ring0FaultError: its page is not present or read-only.
    """
    table = supervisor.jumps.user_table
    if table:
        context = _LAYOUT.pack(0, len(supervisor.cpus), 0, 0)
        write_as_ring0(supervisor.memory, table + _CURRENT_CPU_OFFSET, context)
