"""Choosing a processor by name, and saying which of them work on this host."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor.interface import Processor, ProcessorOptions

PROCESSORS = ("unicorn", "native")
"""Names of the processors there are, best choice of ``auto`` first."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a processor works here.

    Attributes:
        name: The processor.
        is_available: Whether it does.
        reason: Why not, in one line; empty if it does.
        advice: What can be done about it; empty if nothing is known, or needed.
    """

    name: str
    is_available: bool
    reason: str
    advice: str


def probe() -> list[Availability]:
    """Try every processor on this host, best choice of ``auto`` first."""
    return [probe_one(name) for name in PROCESSORS]


@cache
def probe_one(name: str) -> Availability:
    """Try one processor; what was found holds for the life of the program.

    Raises:
        MmSupervisorError: there is no such processor.
    """
    from mmsupervisor.processor.native.host import advice

    memory = PhysicalMemory()
    try:
        _make(name, memory, ProcessorOptions({})).close()
    except ImportError as missing:
        reason = f"the library {missing.name} cannot be loaded"
        return Availability(name, False, reason, f"pip install {missing.name}")
    except MmSupervisorError as refusal:
        if name not in PROCESSORS:
            raise
        return Availability(name, False, str(refusal), advice(str(refusal)))
    finally:
        memory.close()
    return Availability(name, True, "", "")


def make_processor(name: str, memory: PhysicalMemory, options: ProcessorOptions) -> Processor:
    """Make the named processor, or with ``"auto"`` the first one that works here; its ``name`` says which it is.

    Raises:
        MmSupervisorError: there is no such processor, or it does not work on this host.
    """
    if name != "auto":
        return _make(name, memory, options)
    reasons = []
    for candidate in PROCESSORS:
        found = probe_one(candidate)
        if found.is_available:
            return _make(candidate, memory, options)
        reasons.append(f"{candidate}: {found.reason}")
    raise MmSupervisorError(f"no processor works here; {'; '.join(reasons)}")


def _make(name: str, memory: PhysicalMemory, options: ProcessorOptions) -> Processor:
    if name == "unicorn":
        from mmsupervisor.processor.unicorn_processor import UnicornProcessor

        return UnicornProcessor(memory, options)
    if name == "native":
        from mmsupervisor.processor.native.host import refusal

        reason = refusal()
        if reason:
            raise MmSupervisorError(f"native processor: {reason}")
        from mmsupervisor.processor.native.native_processor import NativeProcessor

        return NativeProcessor(memory, options)
    raise MmSupervisorError(f"processor {name!r}: unknown; there are {', '.join(PROCESSORS)} and auto")
