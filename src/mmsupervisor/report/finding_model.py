"""One finding in a report, as frozen values; see :mod:`mmsupervisor.report.model` for how they become JSON."""

from __future__ import annotations

from dataclasses import dataclass

from mmsupervisor.machine.events import Hex


@dataclass(frozen=True, slots=True)
class FaultReport:
    """The exception behind a finding.

    Attributes:
        vector: Its number.
        name: Its name, for example ``#PF``.
        error_code: What the processor pushed, or None for vectors without.
        address: The address touched, for a page fault.
    """

    vector: int
    name: str
    error_code: Hex | None
    address: Hex | None


@dataclass(frozen=True, slots=True)
class FrameReport:
    """A place in code: one function of a call stack.

    Attributes:
        driver: The driver whose image holds it, or empty.
        offset: Offset in that image, or None outside all images.
        symbol: Name there, where symbols are known.
        source: Source file and line, where they are known: ``file:line``.
        address: Its address; of a caller, that to which the call returns.
        found: How it was found: ``the place itself``, by ``.pdata``, ``DWARF``, the function's ``code`` read ahead
            to its return, ``frame pointer`` or ``top of stack``; by ``scan`` it may be a stale one.
    """

    driver: str
    offset: Hex | None
    symbol: str
    source: str
    address: Hex
    found: str

    def __str__(self) -> str:
        """``Driver+0x12 (name+0x2)``, or the address outside all images."""
        if self.offset is None:
            return f"{self.address:#x} (in no image)"
        return f"{self.driver}+{self.offset:#x}" + (f" ({self.symbol})" if self.symbol else "")


@dataclass(frozen=True, slots=True)
class CodeReport:
    """One instruction near the place.

    Attributes:
        offset: Offset in the driver's image.
        code: Its bytes, as hexadecimal digits.
        text: It in words.
        target: Name of what it calls or jumps to, where that is known.
        here: Whether it is the one that the finding is about.
    """

    offset: Hex
    code: str
    text: str
    target: str
    here: bool


@dataclass(frozen=True, slots=True)
class ValueReport:
    """A number with a name: a register, an argument.

    Attributes:
        name: Its name.
        value: Its value.
    """

    name: str
    value: Hex


@dataclass(frozen=True, slots=True)
class RequestReport:
    """The system call that was refused.

    Attributes:
        call: Its name, or its number where it has none.
        arguments: What was passed, in order.
        guid: The GUID that was pointed to, for calls that take one; else empty.
    """

    call: str
    arguments: tuple[ValueReport, ...]
    guid: str


@dataclass(frozen=True, slots=True)
class MomentReport:
    """When it happened.

    Attributes:
        mmi: Number of the MMI, 0 for the core's own entry and the drivers it starts.
        step: Running number of the event in the run; the trace has it.
        cpu: On which CPU.
        source: What raised the MMI, or empty outside of one.
        channel: ``user``, ``supervisor``, ``none``, ``malformed`` or ``refused``; empty outside of an MMI.
        guid: Name or text of the message's GUID, or empty without a message.
        size: Bytes of the message's payload.
    """

    mmi: int
    step: int
    cpu: int
    source: str
    channel: str
    guid: str
    size: int


@dataclass(frozen=True, slots=True)
class FindingReport:
    """One finding.

    Attributes:
        number: Its number.
        title: Name of its kind.
        page: Where the documentation explains the kind.
        fatal: Whether it ended the system.
        driver: The driver it is about, or empty.
        offset: Offset in the driver's image, or None outside all images.
        symbol: Name there, where symbols are known.
        source: Source file and line there, where they are known: ``file:line``.
        address: Address of the code, or None if it is about no code.
        call_site: For a system call that was made by a stub, what called the stub; else None.
        subject: What it is about where there is no code: a file, a message.
        detail: The access or request, with its numbers.
        rule: The rule that was broken, with its place.
        written: Where in the policy that rule is written, or empty for a rule of the design.
        mend: What to change.
        status: Name of the reference's internal status, or None.
        fault: The exception, or None.
        request: The system call that was refused, or None.
        moment: When it happened, or None for what the whole boot shows.
        stack: Who called whom, the place itself first; empty if it is about no code.
        code: The instructions around the place.
        registers: The general registers there.
    """

    number: str
    title: str
    page: str
    fatal: bool
    driver: str
    offset: Hex | None
    symbol: str
    source: str
    address: Hex | None
    call_site: FrameReport | None
    subject: str
    detail: str
    rule: str
    written: str
    mend: str
    status: str | None
    fault: FaultReport | None
    request: RequestReport | None
    moment: MomentReport | None
    stack: tuple[FrameReport, ...]
    code: tuple[CodeReport, ...]
    registers: tuple[ValueReport, ...]
