"""The error report that ring 3 is given when the system dies (docs/reference/telemetry.md §1).

MM_SUPV_TELEMETRY_DATA, 904 bytes:

======  ====  ==========================================================
offset  size  field
======  ====  ==========================================================
0x00    4     signature 'MSVT'
0x04    4     size, 904
0x08    8     exception vector
0x10    16    file GUID of the image that holds RIP; zero outside MMRAM
0x20    8     RIP
0x28    8     base of that image; RIP outside MMRAM
0x30    856   EFI_SYSTEM_CONTEXT_X64, left zero by the reference
======  ====  ==========================================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from mmsupervisor.pi.guid import Guid

_LAYOUT = struct.Struct("<4sIQ16sQQ856x")
_SIGNATURE = b"MSVT"


@dataclass(frozen=True, slots=True)
class TelemetryRecord:
    """What survives of a violation.

    Attributes:
        vector: Exception vector; 3 for a blocked system call.
        driver: File GUID of the image.
        rip: Instruction pointer.
        load_address: Base of the image.
    """

    SIZE: ClassVar[int] = _LAYOUT.size

    vector: int
    driver: Guid
    rip: int
    load_address: int

    def pack(self) -> bytes:
        """The 904 bytes."""
        return _LAYOUT.pack(_SIGNATURE, self.SIZE, self.vector, self.driver.raw, self.rip, self.load_address)
