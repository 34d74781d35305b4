"""One bounded reader for every format here: it fails in one way only, with a place and a rule."""

from __future__ import annotations

import struct
from typing import Any

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import GUID_SIZE, Guid

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Reader:
    """A window into a part of a file. All offsets are in bytes from the start of the window.

    Attributes:
        data: The bytes of the window.
        file: The part's name in messages: the path, plus ``!`` and a word for each part that was decompressed.
        base: Offset of the window's first byte within that part; messages give ``base + offset``.
    """

    __slots__ = ("base", "data", "file")

    def __init__(self, data: bytes | bytearray | memoryview, file: str, base: int = 0) -> None:
        """Wrap ``data``; nothing is copied."""
        self.data = data if isinstance(data, memoryview) else memoryview(data)
        self.file = file
        self.base = base

    def __len__(self) -> int:
        """Number of bytes in the window."""
        return len(self.data)

    def error(self, offset: int, rule: str, source: str = "") -> FormatError:
        """Build (not raise) the error for ``rule`` broken at ``offset``."""
        return FormatError(self.file, self.base + offset, rule, source)

    def view(self, offset: int, length: int, what: str) -> memoryview:
        """Return ``length`` bytes at ``offset`` without copying.

        Args:
            offset: Start within the window.
            length: Number of bytes, zero allowed.
            what: Name of the thing read, for the message.

        Raises:
            FormatError: the bytes do not lie within the window.
        """
        if offset < 0 or length < 0 or offset + length > len(self.data):
            raise self.error(
                max(offset, 0),
                f"{what} needs {length:#x} bytes, {max(len(self.data) - max(offset, 0), 0):#x} are left",
            )
        return self.data[offset : offset + length]

    def copy(self, offset: int, length: int, what: str) -> bytes:
        """Return a copy of ``length`` bytes at ``offset``; raises as :meth:`view` does."""
        return bytes(self.view(offset, length, what))

    def window(self, offset: int, length: int, what: str) -> Reader:
        """Return a reader of a part of this window, with the same file name."""
        return Reader(self.view(offset, length, what), self.file, self.base + offset)

    def part(self, data: bytes | memoryview, word: str) -> Reader:
        """Return a reader of bytes that were made from this window, for example by decompression.

        Args:
            data: The new bytes; their offsets begin at zero.
            word: What the part is, for messages, for example ``LZMA@0x48``.
        """
        return Reader(data, f"{self.file}!{word}")

    def unpack(self, layout: struct.Struct, offset: int, what: str) -> tuple[Any, ...]:
        """Unpack a structure at ``offset``; raises as :meth:`view` does."""
        return layout.unpack(self.view(offset, layout.size, what))

    def u8(self, offset: int, what: str) -> int:
        """Read one byte; raises as :meth:`view` does."""
        return self.view(offset, 1, what)[0]

    def u16(self, offset: int, what: str) -> int:
        """Read a little-endian 16-bit number; raises as :meth:`view` does."""
        return int(_U16.unpack(self.view(offset, 2, what))[0])

    def u24(self, offset: int, what: str) -> int:
        """Read a little-endian 24-bit number; raises as :meth:`view` does."""
        return int.from_bytes(self.view(offset, 3, what), "little")

    def u32(self, offset: int, what: str) -> int:
        """Read a little-endian 32-bit number; raises as :meth:`view` does."""
        return int(_U32.unpack(self.view(offset, 4, what))[0])

    def u64(self, offset: int, what: str) -> int:
        """Read a little-endian 64-bit number; raises as :meth:`view` does."""
        return int(_U64.unpack(self.view(offset, 8, what))[0])

    def guid(self, offset: int, what: str) -> Guid:
        """Read a GUID; raises as :meth:`view` does."""
        return Guid(bytes(self.view(offset, GUID_SIZE, what)))
