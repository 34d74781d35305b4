"""What is said of an MM dependency expression, and what can be told of it for certain."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.inventory.model import DependencyReport
from mmsupervisor.pi.depex import Depex, Reason, can_be_true, can_be_true_without, evaluate, parse_depex
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import Allowance
from mmsupervisor.pi.reader import Reader

BROKER_READY = known_guid("gMmRing3HandlerReadyProtocol")
"""The protocol by which drivers wait for the broker."""

DXE_ONLY = tuple(
    known_guid(name)
    for name in (
        "gEfiSmmBase2ProtocolGuid",
        "gEfiSmmAccess2ProtocolGuid",
        "gEfiSmmControl2ProtocolGuid",
        "gEfiMmCommunicationProtocolGuid",
        "gEfiMmCommunication2ProtocolGuid",
        "gEfiMmCommunication3ProtocolGuid",
        "gPcdProtocolGuid",
        "gEfiPcdProtocolGuid",
        "gGetPcdInfoProtocolGuid",
        "gEfiGetPcdInfoProtocolGuid",
        "gEfiVariableArchProtocolGuid",
        "gEfiVariableWriteArchProtocolGuid",
        "gEfiFirmwareVolumeBlockProtocolGuid",
        "gEfiFaultTolerantWriteProtocolGuid",
        "gEfiDevicePathProtocolGuid",
        "gEfiPciRootBridgeIoProtocolGuid",
        "gEfiPciIoProtocolGuid",
        "gEfiDxeMmReadyToLockProtocolGuid",
        "gEfiAcpiTableProtocolGuid",
        "gEfiBdsArchProtocolGuid",
        "gEfiCpuArchProtocolGuid",
        "gEfiMetronomeArchProtocolGuid",
        "gEfiMonotonicCounterArchProtocolGuid",
        "gEfiRealTimeClockArchProtocolGuid",
        "gEfiResetArchProtocolGuid",
        "gEfiRuntimeArchProtocolGuid",
        "gEfiSecurityArchProtocolGuid",
        "gEfiTimerArchProtocolGuid",
        "gEfiWatchdogTimerArchProtocolGuid",
        "gEfiMpServiceProtocolGuid",
        "gEfiCpuIo2ProtocolGuid",
    )
)
"""Protocols that never are in the MM databases (docs/reference/guids.md §7)."""

_AT_START = frozenset({known_guid("gEfiMmConfigurationProtocolGuid")})
"""What the core itself has installed before it looks at the first driver (boot-flow.md §4, step 9)."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """An expression with what can be told of it.

    Attributes:
        report: What the report says.
        stands_by: FFS name of the driver that it is ordered before or after; None for all others.
        is_true_at_start: Whether it is true while no driver has run.
        may_precede_broker: Whether it can be true while the broker is not ready.
        never: Why it can never be true, a line for each reason; empty if it can.
    """

    report: DependencyReport
    stands_by: Guid | None
    is_true_at_start: bool
    may_precede_broker: bool
    never: tuple[str, ...]


def read_dependency(data: memoryview, part: str, offset: int, allowance: Allowance) -> Dependency:
    """Read an expression, malformed or not.

    Args:
        data: The data of the section.
        part: Name of its part, for messages.
        offset: Offset of the data in the part, in bytes.
        allowance: Bounds; each instruction is an item. One that holds more is reported as never true.
    """
    try:
        depex = parse_depex(Reader(data, part, offset), allowance)
    except LimitError as error:
        report = DependencyReport(len(data), "", (), error.rule)
        return Dependency(report, None, is_true_at_start=False, may_precede_broker=False, never=(error.rule,))
    report = DependencyReport(len(data), depex.infix, depex.pushed, "; ".join(depex.flaws))
    return Dependency(
        report,
        depex.order.file if depex.order else None,
        is_true_at_start=evaluate(depex, _AT_START.__contains__).value,
        may_precede_broker=depex.order is None and can_be_true_without(depex, BROKER_READY),
        never=_why_never(depex),
    )


def _why_never(depex: Depex) -> tuple[str, ...]:
    if depex.order is not None:
        return ()
    verdict = evaluate(depex, lambda _: True)
    if verdict.misplaced:
        return tuple(f"BEFORE or AFTER at {at:#x} is not the first opcode" for at in verdict.misplaced)
    if not can_be_true(depex):
        return ("it is false whatever is installed" if verdict.reason is Reason.END else verdict.reason.value,)
    if can_be_true(depex, dict.fromkeys(DXE_ONLY, False)):
        return ()
    needed = [guid for guid in depex.pushed if guid in DXE_ONLY and not can_be_true_without(depex, guid)]
    names = ", ".join(guid.label for guid in needed) or "protocols"
    return (f"it needs {names}, which DXE has and MM never",)
