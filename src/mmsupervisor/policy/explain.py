"""Why an access is allowed or denied: the question in words, the decision, and the walk that led there.

The grammar, in which upper and lower case are alike::

    (read | write) N byte[s] [from | to | at] port NUMBER
    (read | write) [from | to] msr NUMBER
    [execute] (cli | wbinvd | hlt)
    read N byte[s] of (rax | io | lma | processor_id | other) of the save state WHEN
    WHEN: on output of N byte[s] | on input of N byte[s] | without port access

Numbers are decimal, or hexadecimal after ``0x``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.decide import (
    MSRS,
    WIDTH_SIZES,
    decide_instruction,
    decide_io,
    decide_msr,
    io_covers,
    msr_covers,
)
from mmsupervisor.policy.decision import Decision
from mmsupervisor.policy.level_real import OTHER_REGISTER
from mmsupervisor.policy.model import (
    Attribute,
    Entry,
    Instruction,
    InstructionEntry,
    IoEntry,
    MsrEntry,
    Policy,
    SaveStateEntry,
    attribute_text,
    entry_text,
)
from mmsupervisor.policy.save_state import (
    POLICY_FIELDS,
    IoTrap,
    IoType,
    SaveStateRegister,
    decide_save_state_read,
    decide_save_state_write,
)


class QuestionError(MmSupervisorError):
    """A question that is not understood; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class WalkStep:
    """One entry that the walk looked at.

    Attributes:
        index: Its number in the list.
        entry: The entry.
        covers: Whether it covers the access, which ends the walk.
        why: In words.
    """

    index: int
    entry: Entry
    covers: bool
    why: str

    def __str__(self) -> str:
        """One line."""
        place = f" ({self.entry.place})" if self.entry.place else ""
        return f"entry {self.index} {entry_text(self.entry)}{place}: {self.why}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer.

    Attributes:
        question: The access in one wording, whatever was asked.
        decision: What the policy gate answers.
        walk: The entries that were looked at, in order.
    """

    question: str
    decision: Decision
    walk: tuple[WalkStep, ...]


_NUMBER = r"(0x[0-9a-f]+|[0-9]+)"
_BYTES = r"([0-9]+) bytes?"
_WHEN = rf"(?:on (output|input) of {_BYTES}|without (?:a )?port access)"
_PORT = re.compile(rf"(read|write) {_BYTES} (?:(?:from|to|at|of) )?port {_NUMBER}")
_MSR = re.compile(rf"(read|write) (?:(?:from|to) )?msr {_NUMBER}")
_INSTRUCTION = re.compile(r"(?:execute )?(cli|wbinvd|hlt)")
_SAVE_STATE = re.compile(rf"(read|write) {_BYTES} of (\w+) of (?:the )?save state {_WHEN}")

_REGISTERS = {
    "rax": int(SaveStateRegister.RAX),
    "io": int(SaveStateRegister.IO),
    "lma": int(SaveStateRegister.LMA),
    "processor_id": int(SaveStateRegister.PROCESSOR_ID),
    "other": OTHER_REGISTER,
}
_MASKS = {"read": Attribute.READ, "write": Attribute.WRITE}
_HINTS = {
    "port": "write 1 byte to port 0xCFC",
    "msr": "read msr 0xC0000080",
    "save": "read 1 byte of rax of the save state on output of 2 bytes",
}


def explain(policy: Policy, question: str) -> Explanation:
    """Answer a question.

    Args:
        policy: The policy.
        question: An access, by the grammar above.

    Raises:
        QuestionError: the question is not understood.
        PolicyBoundsError: the walk runs beyond the policy.
    """
    words = " ".join(question.lower().split())
    if match := _PORT.fullmatch(words):
        return _explain_port(policy, match[1], int(match[2]), int(match[3], 0))
    if match := _MSR.fullmatch(words):
        return _explain_msr(policy, match[1], int(match[2], 0))
    if match := _INSTRUCTION.fullmatch(words):
        return _explain_instruction(policy, Instruction[match[1].upper()])
    if match := _SAVE_STATE.fullmatch(words):
        return _explain_save_state(policy, match)
    examples = [hint for word, hint in _HINTS.items() if word in words] or [*_HINTS.values(), "execute hlt"]
    raise QuestionError(f"`{question}` is no access; write for example " + " or ".join(f"`{one}`" for one in examples))


def _plural(count: int) -> str:
    return f"{count} byte{'s' * (count != 1)}"


def _width(size: int) -> int:
    for width, bytes_ in WIDTH_SIZES.items():
        if bytes_ == size:
            return width
    raise QuestionError(f"no port access has {_plural(size)}; there are 1, 2 and 4")


def _walk(decision: Decision, judge: Callable[[Entry], tuple[bool, str]]) -> tuple[WalkStep, ...]:
    """The entries up to the one that ended the walk."""
    if decision.root is None:
        return ()
    steps = []
    for index, entry in enumerate(decision.root.entries):
        covers, why = judge(entry)
        steps.append(WalkStep(index, entry, covers, why))
        if covers:
            break
    return tuple(steps)


def _named(entry: Entry, mask: int) -> tuple[bool, str]:
    word = "names" if entry.attributes & mask else "does not name"
    return True, f"covers the access and {word} {attribute_text(mask)}; the walk ends"


def _explain_port(policy: Policy, access: str, size: int, port: int) -> Explanation:
    mask = _MASKS[access]
    decision = decide_io(policy, port, _width(size), mask)

    def judge(entry: Entry) -> tuple[bool, str]:
        if not isinstance(entry, IoEntry):
            return False, "no port entry"
        if io_covers(entry, port, size):
            return _named(entry, mask)
        if entry.is_strict:
            what = "another port" if entry.io_address != port else "another width"
            return False, f"strict, and {what}"
        if port < entry.io_address and entry.end < port + size:
            return False, "lies inside the access, which therefore neither begins nor ends in it"
        return False, "the access neither begins nor ends in it"

    preposition = "from" if access == "read" else "to"
    return Explanation(f"{access} {_plural(size)} {preposition} port {port:#x}", decision, _walk(decision, judge))


def _explain_msr(policy: Policy, access: str, msr: int) -> Explanation:
    mask = _MASKS[access]
    if msr >= MSRS:
        raise QuestionError(f"MSR {msr:#x} is beyond {MSRS - 1:#x}")
    decision = decide_msr(policy, msr, mask)

    def judge(entry: Entry) -> tuple[bool, str]:
        if isinstance(entry, MsrEntry) and msr_covers(entry, msr):
            return _named(entry, mask)
        return False, "another MSR"

    return Explanation(f"{access} MSR {msr:#x}", decision, _walk(decision, judge))


def _explain_instruction(policy: Policy, instruction: Instruction) -> Explanation:
    decision = decide_instruction(policy, instruction)

    def judge(entry: Entry) -> tuple[bool, str]:
        if isinstance(entry, InstructionEntry) and entry.instruction_index == instruction:
            return _named(entry, Attribute.EXECUTE)
        return False, "another instruction"

    return Explanation(f"execute {instruction.name}", decision, _walk(decision, judge))


def _explain_save_state(policy: Policy, match: re.Match[str]) -> Explanation:
    access, count, name, direction, size = match.groups()
    if name not in _REGISTERS:
        raise QuestionError(f"no register `{name}`; there are {', '.join(_REGISTERS)}")
    trap: IoTrap | Status = Status.NOT_FOUND
    when = "without port access"
    if direction:
        trap = IoTrap(IoType.OUTPUT if direction == "output" else IoType.INPUT, _width(int(size)))
        when = f"on {direction} of {_plural(int(size))}"
    question = f"{access} {_plural(int(count))} of {name.upper()} of the save state {when}"
    if access == "write":
        return Explanation(question, decide_save_state_write(), ())
    register = _REGISTERS[name]
    decision = decide_save_state_read(policy, register, int(count), trap)
    field = POLICY_FIELDS.get(register)
    if field is None:
        return Explanation(question, decision, ())

    def judge(entry: Entry) -> tuple[bool, str]:
        if isinstance(entry, SaveStateEntry) and entry.map_field == field:
            return True, "is about this field; the walk ends"
        return False, "another field"

    return Explanation(question, decision, _walk(decision, judge))
