"""Choosing a processor by name."""

from __future__ import annotations

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor.interface import Processor, ProcessorOptions

PROCESSORS = ("unicorn",)
"""Names of the processors there are, best choice of ``auto`` first."""


def make_processor(name: str, memory: PhysicalMemory, options: ProcessorOptions) -> Processor:
    """Make the named processor, or with ``"auto"`` the first one that works here.

    Raises:
        MmSupervisorError: there is no such processor, or it does not work on this host.
    """
    if name in ("auto", "unicorn"):
        from mmsupervisor.processor.unicorn_processor import UnicornProcessor

        return UnicornProcessor(memory, options)
    raise MmSupervisorError(f"processor {name!r}: unknown; there are {', '.join(PROCESSORS)} and auto")
