"""An address range on which nothing answers: reads are all ones, writes go nowhere."""

from __future__ import annotations


class EmptyBus:
    """Memory-mapped I/O space that a platform reports but whose devices are not modelled."""

    def mmio_read(self, offset: int, width: int) -> int:
        """Return all ones."""
        del offset
        return (1 << (8 * width)) - 1

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        """Swallow the value."""
