"""The level as it really is: what the policy gate would let ring 3 do, access by access.

The requirements are those of ``docs/reference/levels.md``; the reference's checker looks at entries and is often wrong
about them (its list of surprises), while this asks the decisions themselves. Differences, in both directions:

* every width and every overlapping address of PCI's data port counts, not only four bytes at 0xCFC; the address port is
  reached by aligned accesses of four bytes only (PCI Local Bus Specification 3.0 §3.2.2.3.2);
* PCI configuration space that ring 3 may write in memory (ECAM) makes the ports' protection worthless;
* a list that is missing is judged by what its absence does;
* memory is compared exactly, and memory of the operating system must not be mapped at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmsupervisor.pi.status import Status
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import PORTS, WIDTH_SIZES
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.level_facts import CONVENTIONAL_MEMORY, Area, LevelFinding, MemoryFacts, Region, Verdict
from mmsupervisor.policy.level_mends import add_port_rule, add_rule, msr_rule, name_access, narrow, port_rule
from mmsupervisor.policy.level_reference import memory_findings
from mmsupervisor.policy.level_tables import MOST, MSR_TARGETS, PORT_TARGETS, PortTarget, Vendor
from mmsupervisor.policy.model import (
    AccessAttr,
    Attribute,
    Instruction,
    MemEntry,
    Policy,
    PolicyBoundsError,
    RootType,
    entry_text,
)
from mmsupervisor.policy.save_state import IO_INFO_SIZE, IoTrap, IoType, SaveStateRegister


def real_verdict(policy: Policy, vendor: Vendor, facts: MemoryFacts | None = None) -> Verdict:
    """What ring 3 is really kept from.

    Args:
        policy: The policy, with its memory entries if memory is to be judged.
        vendor: Whose lists apply.
        facts: The platform's memory; without, memory is not judged.
    """
    gate = CompiledPolicy(policy)
    checks: dict[Area, Callable[[], Iterator[LevelFinding]]] = {
        Area.MEMORY: lambda: _memory(policy, vendor, facts),
        Area.IO: lambda: _io(gate, facts),
        Area.MSR: lambda: _msr(gate, vendor),
        Area.SAVE_STATE: lambda: _save_state(gate),
        Area.INSTRUCTION: lambda: _remarks(gate),
    }
    parts: dict[Area, int] = {}
    findings: list[LevelFinding] = []
    try:
        for area, check in checks.items():
            found = list(check())
            parts[area] = min([MOST, *(one.limit for one in found if one.limit is not None)])
            findings += found
    except PolicyBoundsError as error:
        return Verdict(None, str(error), {}, ())
    level = min(parts.values())
    if facts is None:
        del parts[Area.MEMORY]
    del parts[Area.INSTRUCTION]
    return Verdict(level, "", parts, tuple(sorted(findings, key=lambda one: (one.limit is None, one.limit))))


def _mend(decision: Decision, rule: str, access: str, add: str) -> str:
    """What to do about an access that is allowed.

    Args:
        decision: The decision that allows it.
        rule: The rule of a deny list that would not.
        access: What an entry that covers the access must name.
        add: What to do with a deny list that lacks the rule.
    """
    root = decision.root
    if root is None or not root.has_legal_attr:
        return f"make the {decision.kind.name} list a deny list with {{ {rule} }}, or an allow list without it"
    if root.access_attr == AccessAttr.ALLOW:
        return narrow(decision.index)
    return add if decision.index is None else name_access(decision.index, access)


# ------------------------------------------------------------------------------------------------------------ ports


def _accesses(target: PortTarget) -> Iterator[tuple[int, int]]:
    """Port and width enum of every write that reaches the register."""
    if target is PORT_TARGETS[0]:
        yield target.port, 2
        return
    for width, size in WIDTH_SIZES.items():
        for port in range(target.port - size + 1, target.port + target.width):
            if 0 <= port <= PORTS - size:
                yield port, width


def _io(gate: CompiledPolicy, facts: MemoryFacts | None) -> Iterator[LevelFinding]:
    for target in PORT_TARGETS:
        open_ = [
            (port, WIDTH_SIZES[width], decision)
            for port, width in _accesses(target)
            if (decision := gate.io(port, width, Attribute.WRITE)).allowed
        ]
        if open_:
            decision = open_[0][2]
            entries = decision.root.entries if decision.root is not None else ()
            yield LevelFinding(
                Area.IO,
                10,
                f"port {target.port:#x} ({target.name}) can be written: {_spell(open_)}",
                "PCI configuration of every device is open to ring 3; levels.md §2, level 20",
                _mend(decision, port_rule(target), "WRITE", add_port_rule(entries, target)),
                decision.entry.place if decision.entry is not None else None,
            )
    yield from _ecam(gate.policy, facts)


def _spell(accesses: list[tuple[int, int, Decision]]) -> str:
    """Accesses by width: ``1 byte at 0xcfc..0xcff, 2 bytes at ..``."""
    parts = []
    for size in WIDTH_SIZES.values():
        ports = [port for port, width, _ in accesses if width == size]
        runs: list[list[int]] = []
        for port in ports:
            if runs and runs[-1][1] + 1 == port:
                runs[-1][1] = port
            else:
                runs.append([port, port])
        if runs:
            spelt = ", ".join(f"{first:#x}" if first == last else f"{first:#x}..{last:#x}" for first, last in runs)
            parts.append(f"{size} byte{'s' * (size > 1)} at {spelt}")
    return "; ".join(parts)


def _ecam(policy: Policy, facts: MemoryFacts | None) -> Iterator[LevelFinding]:
    if facts is None:
        return
    if facts.ecam is None:
        yield LevelFinding(
            Area.IO, None, "nobody said where PCI configuration space lies in memory", "if ring 3 may write there, "
            "the ports' protection is worthless", "describe it in the facts"
        )  # fmt: skip
    for region in facts.ecam or ():
        for entry in _memory_entries(policy):
            if entry.attributes & Attribute.WRITE and overlap(region, entry):
                yield LevelFinding(
                    Area.IO,
                    10,
                    f"PCI configuration can be written in memory: {region} meets {entry_text(entry)}",
                    "what the ports deny is open here; levels.md §2, level 20",
                    "report the range to the supervisor as something else than MMIO",
                    entry.place,
                )


# ------------------------------------------------------------------------------------------------------------- MSRs


_DONE = {Attribute.READ: "read", Attribute.WRITE: "written"}


def _msr(gate: CompiledPolicy, vendor: Vendor) -> Iterator[LevelFinding]:
    for target in MSR_TARGETS[vendor]:
        decisions = {bit: gate.msr(target.msr, bit) for bit in _DONE}
        open_ = [bit for bit, decision in decisions.items() if decision.allowed]
        if open_:
            decision, rule = decisions[open_[0]], msr_rule(target)
            access = " and ".join(str(bit.name) for bit in open_)
            yield LevelFinding(
                Area.MSR,
                target.level - 10,
                f"MSR {target.msr:#x} ({target.name}) can be {' and '.join(_DONE[bit] for bit in open_)}",
                f"levels.md §3, level {target.level}",
                _mend(decision, rule, access, add_rule(rule)),
                decision.entry.place if decision.entry is not None else None,
            )


# ------------------------------------------------------------------------------------------------------- save state

OTHER_REGISTER = 39
"""RBX stands for every register that a policy cannot name."""

REGISTERS = {
    SaveStateRegister.RAX: "RAX",
    SaveStateRegister.IO: "I/O information",
    SaveStateRegister.LMA: "LMA",
    OTHER_REGISTER: "every other register",
}
"""Registers that are judged apart. The processor ID is never refused, and harmless."""

TRAPS: dict[str, IoTrap | Status] = {
    f"on an {name} of {size} byte{'s' * (size > 1)}": IoTrap(kind, width)
    for name, kind in (("output", IoType.OUTPUT), ("input", IoType.INPUT))
    for width, size in WIDTH_SIZES.items()
} | {"without a port access": Status.NOT_FOUND}
"""What a CPU may have been doing."""


def read_widths(register: int) -> tuple[int, ...]:
    """Widths of reads that make sense for a register, in bytes."""
    return (IO_INFO_SIZE,) if register == SaveStateRegister.IO else (1, 2, 4, 8)


def _save_state(gate: CompiledPolicy) -> Iterator[LevelFinding]:
    for register, name in REGISTERS.items():
        for when, trap in TRAPS.items():
            is_output = isinstance(trap, IoTrap) and trap.io_type == IoType.OUTPUT
            if is_output and register in (SaveStateRegister.RAX, SaveStateRegister.IO):
                continue
            decisions = [gate.save_state(register, width, trap) for width in read_widths(register)]
            allowed = next((decision for decision in decisions if decision.allowed), None)
            if allowed is not None:
                yield LevelFinding(
                    Area.SAVE_STATE,
                    20,
                    f"{name} can be read {when}",
                    "the save state holds what the operating system was doing; levels.md §4, level 30",
                    'an allow list with RAX by "conditional-read" on "io-write" and IO_TRAP by "read", or less',
                    allowed.entry.place if allowed.entry is not None else None,
                )
                break


# ----------------------------------------------------------------------------------------------------------- memory


def overlap(region: Region, entry: MemEntry) -> bool:
    """Whether a region and an entry share a byte."""
    return region.start < entry.base_address + entry.size and entry.base_address < region.end


def _memory_entries(policy: Policy) -> list[MemEntry]:
    root = policy.first_root(RootType.MEM)
    return [entry for entry in root.entries if isinstance(entry, MemEntry)] if root is not None else []


def _memory(policy: Policy, vendor: Vendor, facts: MemoryFacts | None) -> Iterator[LevelFinding]:
    root = policy.first_root(RootType.MEM)
    if root is None:
        yield LevelFinding(
            Area.STRUCTURE, 0, "there is no MEM root", "the policy cannot be fetched", 'a root of type "MEM"'
        )
        return
    if facts is None:
        return
    if not root.entries:
        yield LevelFinding(
            Area.MEMORY, 0, "the MEM root is empty", "nothing is known of what is mapped", "judge the fetched policy"
        )
    if facts.mat is None:
        yield LevelFinding(
            Area.MEMORY, 0, "there is no memory attributes table", "nothing is known of runtime code", "describe it"
        )
    entries = _memory_entries(policy)
    hidden = (mat.region for mat in facts.mat or () if mat.type == CONVENTIONAL_MEMORY and mat.is_execute_protected)
    for region in (*facts.conventional, *hidden):
        for entry in entries:
            if overlap(region, entry):
                yield LevelFinding(
                    Area.MEMORY,
                    0,
                    f"memory of the operating system is mapped: {region} meets {entry_text(entry)}",
                    "levels.md §5, level 10",
                    "unblock it no more",
                    entry.place,
                )
    yield from memory_findings(entries, vendor, facts, overlap)


# ---------------------------------------------------------------------------------------------------------- remarks


def _remarks(gate: CompiledPolicy) -> Iterator[LevelFinding]:
    """What no level asks for and a reader should know."""
    for kind, what in ((RootType.IO, "port"), (RootType.MSR, "MSR")):
        root = gate.policy.first_root(kind)
        if root is not None and root.access_attr != AccessAttr.ALLOW:
            yield LevelFinding(
                Area(kind.name),
                None,
                f"every {what} that is not listed is open to ring 3",
                "no level forbids it",
                "turn it into an allow list of what drivers need",
                root.place,
            )
    for instruction in Instruction:
        decision = gate.instruction(instruction)
        if decision.allowed:
            yield LevelFinding(
                Area.INSTRUCTION,
                None,
                f"ring 3 may execute {instruction.name}",
                "no level looks at it",
                f"remove {instruction.name} if no driver needs it",
                decision.entry.place if decision.entry is not None else None,
            )
