"""The plain decision on reading the save state.

Facts: ``docs/reference/isolation-policy.md`` §9; ``save-state.md`` §5 and §6 for what surrounds it. The decision needs
to know what the CPU was doing when it was interrupted: the caller gives the I/O trap information, or the status with
which reading that information failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.decide import in_order, is_denied
from mmsupervisor.policy.decision import Decision, Reason
from mmsupervisor.policy.model import (
    AccessAttr,
    AccessCondition,
    Attribute,
    Policy,
    PolicyRoot,
    RootType,
    SaveStateEntry,
    SaveStateField,
)
from mmsupervisor.policy.surprises import Surprise


class SaveStateRegister(IntEnum):
    """Register numbers of the MM CPU protocol that the decision tells apart (PI 1.8 vol. 4, EFI_MM_CPU_PROTOCOL)."""

    RAX = 38
    IO = 512
    LMA = 513
    PROCESSOR_ID = 514


class IoType(IntEnum):
    """EFI_MM_SAVE_STATE_IO_TYPE: how the CPU was accessing a port."""

    INPUT = 1
    OUTPUT = 2
    STRING = 4
    REP_PREFIX = 8


@dataclass(frozen=True, slots=True)
class IoTrap:
    """What of EFI_MM_SAVE_STATE_IO_INFO the decision looks at.

    Attributes:
        io_type: An :class:`IoType`.
        io_width: EFI_MM_SAVE_STATE_IO_WIDTH, an enum value: 0 to 3 for 8 to 64 bits.
    """

    io_type: int
    io_width: int


IO_INFO_SIZE = 24
"""Size of EFI_MM_SAVE_STATE_IO_INFO in bytes."""

POLICY_FIELDS: dict[int, SaveStateField] = {
    SaveStateRegister.RAX: SaveStateField.RAX,
    SaveStateRegister.IO: SaveStateField.IO_TRAP,
}
"""Which field of a policy each register is judged by; a register that is not here has none."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One read of one CPU's save state; the fields are the arguments of :func:`decide_save_state_read`."""

    register: int
    width: int
    io: IoTrap | Status


_KIND = RootType.SAVE_STATE
_READS = Attribute.READ | Attribute.COND_READ


def decide_save_state_write() -> Decision:
    """Writing the save state is always refused (§8)."""
    return Decision(Status.ACCESS_DENIED, _KIND, Reason.NO_MATCH, 12)


def decide_save_state_read(policy: Policy | None, register: int, width: int, io: IoTrap | Status) -> Decision:
    """Decide a read of one register of one CPU's save state (§9).

    Args:
        policy: The policy; None stands for a supervisor without one.
        register: A :class:`SaveStateRegister` or any other register number of the MM CPU protocol.
        width: Bytes asked for.
        io: The I/O trap information of that CPU, or the error of reading it (EFI_NOT_FOUND: not stopped by a port).

    Raises:
        PolicyBoundsError: the walk runs beyond the blob.
    """
    if policy is None:
        return Decision(Status.INVALID_PARAMETER, _KIND, Reason.NO_POLICY, 1)
    root = policy.first_root(_KIND)
    if root is None:
        absent = () if register == SaveStateRegister.PROCESSOR_ID else (Surprise.SAVE_STATE_ROOT_ABSENT,)
        return Decision(Status.SUCCESS, _KIND, Reason.NO_ROOT, 2, surprises=absent)
    request = _Request(register, width, io)
    decision = _judge(policy, root, request)
    surprises = set(decision.surprises)
    for later in policy.roots_of(_KIND)[1:]:
        if not later.lies_outside and _judge(policy, later, request).status != decision.status:
            surprises.add(Surprise.FIRST_ROOT_ONLY)
    return replace(decision, surprises=in_order(surprises))


def _judge(policy: Policy, root: PolicyRoot, request: _Request, start: int = 0) -> Decision:
    """Steps 3 to 12 with one root, from its descriptor number ``start`` on."""
    if request.register == SaveStateRegister.PROCESSOR_ID:
        return Decision(Status.SUCCESS, _KIND, Reason.NOT_ENFORCED, 3, root)
    field = POLICY_FIELDS.get(request.register)
    if field is None:
        return _conclude(root, Reason.NO_FIELD)
    for index in range(start, len(root.entries)):
        entry = root.entries[index]
        if isinstance(entry, SaveStateEntry) and entry.map_field == field:
            if entry.attributes & _READS:
                return _judge_entry(policy, root, index, entry, request)
            stopped = _conclude(root, Reason.NOT_NAMED, entry, index)
            return _add_first_match(policy, root, request, stopped, index)
    if root.lies_outside:
        raise policy.walk_beyond(root)
    return _conclude(root, Reason.NO_MATCH)


def _add_first_match(policy: Policy, root: PolicyRoot, request: _Request, stopped: Decision, index: int) -> Decision:
    """Add the surprise that the walk stopped, if going on would have given another status."""
    field = POLICY_FIELDS[request.register]
    rest = root.entries[index + 1 :]
    if not root.lies_outside and any(isinstance(entry, SaveStateEntry) and entry.map_field == field for entry in rest):
        further = _judge(policy, root, request, index + 1)
        if further.status != stopped.status:
            return replace(stopped, surprises=in_order({*stopped.surprises, Surprise.FIRST_MATCH_STOPS}))
    return stopped


def _judge_entry(policy: Policy, root: PolicyRoot, index: int, entry: SaveStateEntry, request: _Request) -> Decision:
    """Steps 6 to 12: the descriptor names reading, so look at the CPU."""
    io = request.io
    if not isinstance(io, IoTrap):
        surprises = {Surprise.IO_INFO_NEEDED} if _is_plain_rax(entry) else set()
        return Decision(io, _KIND, Reason.NO_IO_INFO, 6, root, entry, index, in_order(surprises))
    is_rax = entry.map_field == SaveStateField.RAX
    allowed = io.io_width if is_rax else IO_INFO_SIZE
    if entry.attributes & Attribute.READ:
        if entry.access_condition != AccessCondition.UNCONDITIONAL:
            return Decision(Status.INVALID_PARAMETER, _KIND, Reason.BAD_CONDITION, 8, root, entry, index)
    elif io.io_type != IoType.OUTPUT or entry.access_condition != AccessCondition.IO_WR:
        unmet = {Surprise.CONDITION_NEVER_MET} if _can_never_hold(entry, io) else set()
        return _conclude(root, Reason.CONDITION_UNMET, entry, index, unmet)
    if request.width > allowed:
        by_enum = is_rax and request.width <= 1 << io.io_width and root.access_attr != AccessAttr.DENY
        surprises = {Surprise.RAX_WIDTH_ENUM} if by_enum else set()
        return Decision(Status.ACCESS_DENIED, _KIND, Reason.TOO_WIDE, 10, root, entry, index, in_order(surprises))
    if not is_rax:
        inner = _judge(policy, root, _Request(SaveStateRegister.RAX, io.io_width, io))
        if not inner.allowed:
            return Decision(
                inner.status, _KIND, Reason.RAX_REFUSED, 11, root, entry, index, inner.surprises, cause=inner
            )
    return _conclude(root, Reason.MATCH, entry, index)


def _is_plain_rax(entry: SaveStateEntry) -> bool:
    """Whether an entry lets RAX be read without any condition, on the face of it."""
    return (
        entry.map_field == SaveStateField.RAX
        and bool(entry.attributes & Attribute.READ)
        and entry.access_condition == AccessCondition.UNCONDITIONAL
    )


def _can_never_hold(entry: SaveStateEntry, io: IoTrap) -> bool:
    """Whether a condition that reads as if it held here is one that nothing tests for."""
    if entry.access_condition == AccessCondition.IO_RD:
        return io.io_type == IoType.INPUT
    return entry.access_condition == AccessCondition.UNCONDITIONAL


def _conclude(
    root: PolicyRoot,
    reason: Reason,
    entry: SaveStateEntry | None = None,
    index: int | None = None,
    surprises: Iterable[Surprise] = (),
) -> Decision:
    """Step 12: what the root makes of a match or of none."""
    denied = is_denied(root, reason is Reason.MATCH)
    status = Status.ACCESS_DENIED if denied else Status.SUCCESS
    changed = in_order(surprises) if root.has_legal_attr else (Surprise.ACCESS_ATTR_ILLEGAL,)
    return Decision(status, _KIND, reason, 12, root, entry, index, changed)
