"""The plain decisions of the policy gate on ports, MSRs and instructions: the reference's walk, step by step.

Facts: ``docs/reference/isolation-policy.md`` §6 to §8. These functions are the ones to read; a run asks
:class:`mmsupervisor.policy.compiled.CompiledPolicy`, which gives the same answers faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.decision import Decision, Reason
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Entry,
    Instruction,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Policy,
    PolicyRoot,
    RootType,
)
from mmsupervisor.policy.surprises import Surprise

READ_OR_WRITE = Attribute.READ | Attribute.WRITE
"""Bits of which an access mask needs at least one."""

WIDTH_SIZES = {0: 1, 1: 2, 2: 4}
"""Bytes of each value of the I/O width enum."""

PORTS = 0x1_0000
"""Number of I/O ports."""

MSRS = 1 << 32
"""Number of MSR addresses."""

INSTRUCTION_COUNT = len(Instruction)
"""Instruction indices below this are legal."""

_DENY_STEP, _ALLOW_STEP = 7, 8


def io_request_error(address: int, width: int, mask: int) -> Decision | None:
    """Steps 1 to 4 of §6: whether an I/O request is malformed, before any root is looked at."""
    if not mask & READ_OR_WRITE:
        return _malformed(RootType.IO, Reason.BAD_MASK, 1)
    if width not in WIDTH_SIZES:
        return _malformed(RootType.IO, Reason.BAD_WIDTH, 2)
    if not 0 <= address < PORTS:
        return _malformed(RootType.IO, Reason.BAD_ADDRESS, 3)
    if address + WIDTH_SIZES[width] > PORTS:
        return _malformed(RootType.IO, Reason.BAD_RANGE, 4)
    return None


def msr_request_error(mask: int) -> Decision | None:
    """Step 1 for an MSR: whether the mask names neither a read nor a write."""
    return None if mask & READ_OR_WRITE else _malformed(RootType.MSR, Reason.BAD_MASK, 1)


def instruction_request_error(index: int) -> Decision | None:
    """Whether an instruction index is out of range (§8)."""
    if 0 <= index < INSTRUCTION_COUNT:
        return None
    return _malformed(RootType.INSTRUCTION, Reason.BAD_INDEX, 1)


def _malformed(kind: RootType, reason: Reason, step: int) -> Decision:
    return Decision(Status.INVALID_PARAMETER, kind, reason, step)


def no_root(kind: RootType) -> Decision:
    """Step 5: the policy has no root of that type."""
    return Decision(Status.ACCESS_DENIED, kind, Reason.NO_ROOT, 5)


def is_denied(root: PolicyRoot, found: bool) -> bool:
    """Step 7: what the root makes of a match or of none."""
    return root.access_attr == (AccessAttr.DENY if found else AccessAttr.ALLOW)


def conclude(
    kind: RootType, root: PolicyRoot, stop: int | None, found: bool, surprises: Iterable[Surprise] = ()
) -> Decision:
    """Steps 7 and 8: the decision after a walk.

    Args:
        kind: What was asked for.
        root: The root that was walked.
        stop: Number of the descriptor that ended the walk, or None.
        found: Whether that descriptor names the access.
        surprises: What made the decision differ, in any order.
    """
    denied = is_denied(root, found)
    reason = Reason.MATCH if found else Reason.NO_MATCH if stop is None else Reason.NOT_NAMED
    return Decision(
        status=Status.ACCESS_DENIED if denied else Status.SUCCESS,
        kind=kind,
        reason=reason,
        step=_DENY_STEP if denied else _ALLOW_STEP,
        root=root,
        entry=None if stop is None else root.entries[stop],
        index=stop,
        surprises=in_order(surprises),
    )


def in_order(surprises: Iterable[Surprise]) -> tuple[Surprise, ...]:
    """Surprises in the order of their declaration, without repetition."""
    given = set(surprises)
    return tuple(surprise for surprise in Surprise if surprise in given) if given else ()


def io_covers(entry: IoEntry, address: int, size: int) -> bool:
    """Step 6: whether a descriptor covers an access of ``size`` bytes, as the reference computes it."""
    if entry.is_strict:
        return entry.io_address == address and entry.length_or_width == size
    return entry.io_address <= address < entry.end or entry.io_address < address + size <= entry.end


def msr_covers(entry: MsrEntry, msr: int) -> bool:
    """Whether a descriptor covers an MSR; the end of its range wraps at 32 bits (§7)."""
    return entry.msr_address <= msr < entry.end % MSRS


def _walk(policy: Policy, root: PolicyRoot, covers: Callable[[Entry], bool], mask: int) -> tuple[int | None, bool]:
    """Find the first covering descriptor; say whether it names the access.

    Raises:
        PolicyBoundsError: the walk passes the last descriptor that lies inside the blob.
    """
    for index, entry in enumerate(root.entries):
        if covers(entry):
            return index, bool(entry.attributes & mask)
    if root.lies_outside:
        raise policy.walk_beyond(root)
    return None, False


def decide_io(policy: Policy, address: int, width: int, mask: int) -> Decision:
    """Decide a port access (§6).

    Args:
        policy: The policy.
        address: Port; the system call passes the low 32 bits of its argument.
        width: 0, 1 or 2 for 1, 2 or 4 bytes.
        mask: READ, WRITE or both; other bits take part in the test of attributes.

    Raises:
        PolicyBoundsError: the walk runs beyond the blob.
    """
    if malformed := io_request_error(address, width, mask):
        return malformed
    size = WIDTH_SIZES[width]

    def covers(entry: Entry) -> bool:
        return isinstance(entry, IoEntry) and io_covers(entry, address, size)

    return _decide(
        policy,
        RootType.IO,
        covers,
        mask,
        lambda root, stop, found: _io_surprises(root, stop, found, (address, size, mask)),
    )


def decide_msr(policy: Policy, msr: int, mask: int) -> Decision:
    """Decide an MSR access (§7).

    Args:
        policy: The policy.
        msr: MSR address; the gate looks at its low 32 bits.
        mask: As for :func:`decide_io`.

    Raises:
        PolicyBoundsError: the walk runs beyond the blob.
    """
    if malformed := msr_request_error(mask):
        return malformed
    msr %= MSRS

    def covers(entry: Entry) -> bool:
        return isinstance(entry, MsrEntry) and msr_covers(entry, msr)

    def wraps(root: PolicyRoot, stop: int | None, found: bool) -> Iterable[Surprise]:
        if not found and any(
            entry.msr_address <= msr < entry.end and entry.attributes & mask and not msr_covers(entry, msr)
            for entry in root.entries
            if isinstance(entry, MsrEntry)
        ):
            yield Surprise.MSR_RANGE_WRAPS

    return _decide(policy, RootType.MSR, covers, mask, wraps)


def decide_instruction(policy: Policy, index: int) -> Decision:
    """Decide a privileged instruction (§8).

    Args:
        policy: The policy.
        index: An :class:`~mmsupervisor.policy.model.Instruction`.

    Raises:
        PolicyBoundsError: the walk runs beyond the blob.
    """
    if malformed := instruction_request_error(index):
        return malformed

    def covers(entry: Entry) -> bool:
        return isinstance(entry, InstructionEntry) and entry.instruction_index == index

    return _decide(policy, RootType.INSTRUCTION, covers, Attribute.EXECUTE, lambda root, stop, found: ())


_Special = Callable[[PolicyRoot, int | None, bool], Iterable[Surprise]]


def _decide(policy: Policy, kind: RootType, covers: Callable[[Entry], bool], mask: int, special: _Special) -> Decision:
    root = policy.first_root(kind)
    if root is None:
        return no_root(kind)
    stop, found = _walk(policy, root, covers, mask)
    surprises: list[Surprise] = []
    if not root.has_legal_attr:
        surprises.append(Surprise.ACCESS_ATTR_ILLEGAL)
    else:
        surprises.extend(special(root, stop, found))
        if (
            stop is not None
            and not found
            and any(entry.attributes & mask and covers(entry) for entry in root.entries[stop + 1 :])
        ):
            surprises.append(Surprise.FIRST_MATCH_STOPS)
    if _a_later_root_differs(policy, kind, covers, mask, is_denied(root, found)):
        surprises.append(Surprise.FIRST_ROOT_ONLY)
    return conclude(kind, root, stop, found, surprises)


def _a_later_root_differs(
    policy: Policy, kind: RootType, covers: Callable[[Entry], bool], mask: int, denied: bool
) -> bool:
    """Whether another root of the type, on its own, says the contrary. One that runs out of the blob says nothing."""
    for root in policy.roots_of(kind)[1:]:
        stop = next((entry for entry in root.entries if covers(entry)), None)
        if stop is None and root.lies_outside:
            continue
        if is_denied(root, stop is not None and bool(stop.attributes & mask)) != denied:
            return True
    return False


def _io_surprises(root: PolicyRoot, stop: int | None, found: bool, access: tuple[int, int, int]) -> Iterable[Surprise]:
    """What in the reference's idea of covering turned the decision round; ``access`` is address, size, mask."""
    address, size, mask = access
    if root.access_attr == AccessAttr.ALLOW:
        entry = root.entries[stop] if found and stop is not None else None
        if isinstance(entry, IoEntry) and (address < entry.io_address or address + size > entry.end):
            yield Surprise.PARTIAL_OVERLAP
        return
    if found:
        return
    for entry in root.entries:
        if (
            isinstance(entry, IoEntry)
            and entry.attributes & mask
            and entry.length_or_width
            and address < entry.end
            and entry.io_address < address + size
            and not io_covers(entry, address, size)
        ):
            yield Surprise.STRICT_OTHER_WIDTH if entry.is_strict else Surprise.ENCLOSING_ACCESS
