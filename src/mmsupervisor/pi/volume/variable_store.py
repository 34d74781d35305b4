"""What kind of variable store a volume of variables holds. The variables themselves are not read here.

Header of the store, right after the volume header (edk2's variable driver defines it):

======  ====  =====================================
offset  size  field
======  ====  =====================================
0x00    16    GUID: which layout the variables have
0x10    4     size with this header, u32
0x14    1     0x5A once formatted
0x15    1     0xFE while healthy
======  ====  =====================================
"""

from __future__ import annotations

import struct

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.model import VariableStore
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, problem_at

_HEADER = struct.Struct("<16sIBB")
_FORMATTED = 0x5A
_HEALTHY = 0xFE
_KINDS = {
    known_guid("gEfiAuthenticatedVariableGuid"): "authenticated variables",
    known_guid("gEfiVariableGuid"): "variables",
}


def read_variable_store(volume: Reader, offset: int, problems: list[Problem]) -> VariableStore | None:
    """Read the store's header.

    Args:
        volume: The volume.
        offset: Where the header stands, from the volume's start, in bytes.
        problems: What is found is added here.

    Returns:
        The store, or None if its header does not fit into the volume.
    """
    try:
        guid, size, format_byte, state = volume.unpack(_HEADER, offset, "variable store header")
    except FormatError as error:
        problems.append(problem_at(ProblemKind.VARIABLE_STORE, volume, offset, error.rule))
        return None
    value = Guid(guid)
    kind = _KINDS.get(value, "unknown")
    if kind != "unknown" and not _HEADER.size <= size <= len(volume) - offset:
        rule = f"variable store of {size:#x} bytes does not fit into its volume"
        problems.append(problem_at(ProblemKind.VARIABLE_STORE, volume, offset + 0x10, rule))
    return VariableStore(offset, value, kind, size, format_byte == _FORMATTED, state == _HEALTHY)
