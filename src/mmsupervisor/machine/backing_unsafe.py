"""Host memory behind guest memory: the one place where it is mapped.

On Linux it is a memfd, so that a ring-3 process of its own can map the same pages; elsewhere anonymous
memory. Untouched pages cost nothing in either case.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os


class HostBacking:
    """Zero-filled, shareable host memory.

    Attributes:
        size: Bytes, a multiple of 4096.
        descriptor: The memfd, or None where the platform has none.
        buffer: The memory, writable.
    """

    __slots__ = ("_map", "buffer", "descriptor", "size")

    def __init__(self, size: int, name: str) -> None:
        """Map ``size`` bytes; ``name`` shows in the kernel's list of mappings.

        Raises:
            OSError: the host refuses the memory.
        """
        self.size = size
        self.descriptor: int | None = None
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
            os.ftruncate(self.descriptor, size)
            self._map = mmap.mmap(self.descriptor, size)
        else:
            self._map = mmap.mmap(-1, size)
        self.buffer = memoryview(self._map)

    @property
    def host_address(self) -> int:
        """Where the memory lies in this process; valid until :meth:`close`."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def close(self) -> None:
        """Give the memory back. Views that others still hold keep the mapping alive until they go."""
        self.buffer.release()
        # Somebody (an emulator, a report) may still hold a view; the collector then ends the mapping with it.
        with contextlib.suppress(BufferError):
            self._map.close()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
