"""GUIDs as values, with the names that the field gives them.

UEFI 2.10 appendix A: sixteen bytes, whose first three fields are little-endian in memory.

======  ====  =======================
offset  size  field
======  ====  =======================
0x00    4     first group, u32
0x04    2     second group, u16
0x06    2     third group, u16
0x08    8     last two groups, bytes as written
======  ====  =======================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from mmsupervisor.pi.errors import MmSupervisorError

GUID_SIZE = 16
"""Size of a GUID in memory, in bytes."""

_PATTERN = re.compile(r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?")


class GuidSyntaxError(MmSupervisorError):
    """Text that is neither a GUID in registry form nor a known GUID name."""


@dataclass(frozen=True, slots=True, order=True)
class Guid:
    """A GUID.

    Attributes:
        raw: The sixteen bytes as they lie in memory (first three fields little-endian).
    """

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse anything but sixteen bytes.

        Raises:
            ValueError: ``raw`` has another length.
        """
        if len(self.raw) != GUID_SIZE:
            raise ValueError(f"a GUID has {GUID_SIZE} bytes, not {len(self.raw)}")

    @classmethod
    def parse(cls, text: str) -> Guid:
        """Read registry form (``8C8CE578-8A3D-4F1C-9935-896185C32DD3``, braces allowed) or a known name.

        Raises:
            GuidSyntaxError: the text is neither.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match:
            return cls(UUID(match.group(1)).bytes_le)
        from mmsupervisor.pi.guid_names import guid_by_name

        known = guid_by_name(text.strip())
        if known is None:
            raise GuidSyntaxError(
                f"{text!r} is neither a GUID (8-4-4-4-12 hexadecimal digits) nor a GUID name known here"
            )
        return known

    @property
    def is_zero(self) -> bool:
        """Whether all sixteen bytes are zero."""
        return not any(self.raw)

    @property
    def name(self) -> str | None:
        """The name the field uses for this value, or None; for aliases, the PI MM name."""
        from mmsupervisor.pi.guid_names import names_of

        names = names_of(self)
        return names[0] if names else None

    @property
    def label(self) -> str:
        """The name where there is one, else the registry form: what a table shows."""
        return _label(self)

    def __str__(self) -> str:
        """The registry form, upper case."""
        return str(UUID(bytes_le=self.raw)).upper()

    def __repr__(self) -> str:
        """A form that can be read back by :meth:`parse`."""
        return f"Guid.parse({str(self)!r})"


@lru_cache(maxsize=1024)
def _label(guid: Guid) -> str:
    return guid.name or str(guid)


ZERO_GUID = Guid(bytes(GUID_SIZE))
"""The all-zero GUID."""
