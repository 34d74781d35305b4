"""Random policies, plain decisions against compiled ones. In CI a hundred thousand; a million by hand:

    python -m tests.policy.decisions 1000000

The plain walk compares an address with constants that come from the descriptors, so between two neighbouring constants
its answer cannot change. Comparing at every constant and at its neighbours therefore compares at every address. Each
policy is asked about ports at every width, MSRs, instructions and reads of the save state.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from random import Random

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_instruction, decide_io, decide_msr
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.model import IoEntry, MsrEntry, Policy, PolicyBoundsError
from mmsupervisor.policy.save_state import IoTrap, IoType, decide_save_state_read
from tests.policy.random_policies import random_policy

WIDTHS = (0, 1, 2)
MASKS = (1, 2, 3)
WIDEST = 4
REGISTERS = (4, 38, 39, 512, 513, 514)
READ_WIDTHS = (0, 1, 2, 3, 4, 8, 23, 24, 25, 26, 4096)


def outcome(ask: Callable[..., Decision], *args: object) -> Decision | str:
    """A decision, or the text of the error that stands for one."""
    try:
        return ask(*args)
    except PolicyBoundsError as error:
        return str(error)


def critical_ports(policy: Policy) -> list[int]:
    """Every port at which a comparison of the plain walk can turn, for any width, and its neighbours."""
    points = {0, 0xFFFF, 0x10000}
    for root in policy.roots:
        for entry in root.entries:
            if isinstance(entry, IoEntry):
                for constant in (entry.io_address, entry.end):
                    points.update(range(constant - WIDEST - 1, constant + WIDEST + 2))
    return sorted(port for port in points if 0 <= port <= 0x10001)


def critical_msrs(policy: Policy) -> list[int]:
    points = {0, 0xFFFF_FFFF}
    for root in policy.roots:
        for entry in root.entries:
            if isinstance(entry, MsrEntry):
                for constant in (entry.msr_address, entry.end, entry.end % (1 << 32)):
                    points.update((constant - 1, constant, constant + 1))
    return sorted(msr for msr in points if 0 <= msr < 1 << 32)


def io_differences(policy: Policy, compiled: CompiledPolicy, ports: Iterable[int]) -> list[tuple[int, int, int]]:
    return [
        (port, width, mask)
        for width in WIDTHS
        for mask in MASKS
        for port in ports
        if outcome(compiled.io, port, width, mask) != outcome(decide_io, policy, port, width, mask)
    ]


def msr_differences(policy: Policy, compiled: CompiledPolicy) -> list[tuple[int, int]]:
    return [
        (msr, mask)
        for mask in MASKS
        for msr in critical_msrs(policy)
        if outcome(compiled.msr, msr, mask) != outcome(decide_msr, policy, msr, mask)
    ]


TRAPS = [IoTrap(kind, width) for kind in IoType for width in range(4)] + [Status.NOT_FOUND, Status.INVALID_PARAMETER]


def save_state_differences(policy: Policy, compiled: CompiledPolicy) -> list[tuple[int, int, IoTrap | Status]]:
    return [
        (register, width, io)
        for register in REGISTERS
        for width in READ_WIDTHS
        for io in TRAPS
        if outcome(compiled.save_state, register, width, io)
        != outcome(decide_save_state_read, policy, register, width, io)
    ]


def differences(count: int, seed: int) -> Iterator[str]:
    """A line for every decision that differs, among at least ``count``."""
    random = Random(seed)
    made = 0
    while made < count:
        policy = random_policy(random)
        compiled = CompiledPolicy(policy)
        ports = [*critical_ports(policy), *random.choices(range(0x10000), k=8)]
        found: list[object] = [
            *io_differences(policy, compiled, ports),
            *msr_differences(policy, compiled),
            *save_state_differences(policy, compiled),
            *(
                index
                for index in range(-1, 5)
                if outcome(compiled.instruction, index) != outcome(decide_instruction, policy, index)
            ),
        ]
        yield from (f"decision {made} and on: {one}" for one in found)
        msrs = critical_msrs(policy)
        made += len(WIDTHS) * len(MASKS) * len(ports) + len(MASKS) * len(msrs)
        made += len(REGISTERS) * len(READ_WIDTHS) * len(TRAPS) + 6


def main() -> int:
    """Print the differences; the argument is the number of decisions."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    found = list(differences(count, seed=count))
    print("\n".join([*found[:20], f"{count} decisions, {len(found)} differences"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
