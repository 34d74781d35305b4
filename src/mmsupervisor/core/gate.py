"""The system-call gate: look up, check, serve, or die (docs/reference/syscall-abi.md §5 to §7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from mmsupervisor.abi.system_calls import (
    EARLY_CALLS,
    FIRST_SUPERVISOR_CALL,
    SYSTEM_CALLS,
    Kind,
    NonZero,
    Once,
    Support,
    SystemCallDeclaration,
    UserRange,
)
from mmsupervisor.core.errors import CoreError, PolicyDeniedError, Ring0FaultError
from mmsupervisor.core.events import SystemCallMade
from mmsupervisor.core.findings import Finding, SystemStopError, make_finding
from mmsupervisor.core.ownership import is_user_range
from mmsupervisor.core.supervisor import STANDS_STILL, Supervisor
from mmsupervisor.machine.events import Hex
from mmsupervisor.machine.memory import Attribute, BusError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.status import Status, status_name
from mmsupervisor.processor.interface import SystemCall

Service: TypeAlias = Callable[[Supervisor, int, int, int], int]
"""Serves one call: (supervisor, RDX, R8, R9) to RAX. A :class:`CoreError` it raises is fatal."""

_MASK64 = (1 << 64) - 1


class SystemCallGate:
    """Dispatches system calls by the table."""

    def __init__(self, supervisor: Supervisor, services: Mapping[int, Service]) -> None:
        """Serve calls with ``services``, which has one entry for each call that the table says is served."""
        self._supervisor = supervisor
        self._services = services

    def dispatch(self, call: SystemCall) -> int:
        """Serve one call.

        Returns:
            What RAX holds afterwards.

        Raises:
            SystemStopError: the call is fatal.
        """
        declaration = SYSTEM_CALLS.get(call.number)
        if declaration is None or declaration.support is not Support.SERVED:
            raise self._unserved(call, declaration)
        if not self._supervisor.jumps.central and declaration.number not in EARLY_CALLS:
            self._report_early(declaration)
        try:
            if declaration.checks:
                self._check(declaration, call.arguments)
            result = self._services[call.number](self._supervisor, *call.arguments) & _MASK64
        except CoreError as error:
            self._emit(declaration, call, None)
            raise self._end(self._fatal(declaration, call, error)) from error
        self._emit(declaration, call, result)
        return result

    def _report_early(self, declaration: SystemCallDeclaration) -> None:
        """Tell of a call before the broker has registered itself; the reference serves it like any other."""
        mend = "Until then library constructors may ask for the HOB list and use ports: leave out what does more."
        self._supervisor.report(
            make_finding(
                "MM-2005",
                f"{declaration.name} is called before the broker has registered itself (SMM_REG_HDL_JMP)",
                place=self._supervisor.place,
                rule="developer-considerations.md §6",
                mend=mend,
            )
        )

    def _check(self, declaration: SystemCallDeclaration, arguments: tuple[int, int, int]) -> None:
        supervisor = self._supervisor
        for check in declaration.checks:
            match check:
                case Once():
                    if declaration.number in supervisor.calls_made:
                        detail = "it was made before, and may be made once"
                        raise CoreError(check.status, detail, mend=_mend_once(check))
                case NonZero():
                    if arguments[check.argument] == 0:
                        raise CoreError(check.status, f"{declaration.arguments[check.argument].name} is 0")
                case UserRange():
                    self._check_range(declaration, check, arguments)
        if any(isinstance(check, Once) for check in declaration.checks):
            supervisor.calls_made.add(declaration.number)

    def _check_range(
        self, declaration: SystemCallDeclaration, check: UserRange, arguments: tuple[int, int, int]
    ) -> None:
        address = arguments[check.argument]
        if check.unless_zero and address == 0:
            return
        size = arguments[check.size_argument] if check.size_argument is not None else check.size or 0
        name = declaration.arguments[check.argument].name
        try:
            user = is_user_range(self._supervisor.memory, address, size)
        except CoreError as error:
            raise CoreError(check.status, f"{name} does not name ring-3 memory: {error.detail}") from error
        if not user:
            use = self._supervisor.memory.state(address).use
            whose = f" ({use})" if use else ""
            raise CoreError(check.status, f"{name} {address:#x} + {size:#x} is a supervisor page{whose}")
        if self._supervisor.memory.state(address).attributes & Attribute.RP:  # all pages of the range are alike
            self._supervisor.reference_bug("syscall-abi.md §11.10", f"{name} {address:#x} passes, and is not present")

    def _fatal(self, declaration: SystemCallDeclaration, call: SystemCall, error: CoreError) -> Finding:
        place = self._supervisor.place
        detail = f"{declaration.name}: {error.detail}"
        source = f"{declaration.source}: {status_name(error.status)} is fatal"
        if isinstance(error, Ring0FaultError):
            return self._ring0_fault(detail, error)
        if isinstance(error, PolicyDeniedError):
            return self._denied(detail, error)
        resources = error.status in (Status.OUT_OF_RESOURCES, Status.NOT_FOUND)
        number = "MM-1004" if resources else "MM-1002"
        return make_finding(number, detail, place=place, rule=source, mend=error.mend, status=error.status)

    def _denied(self, detail: str, error: PolicyDeniedError) -> Finding:
        return make_finding(
            "MM-1001",
            detail,
            place=self._supervisor.place,
            rule=error.rule,
            mend=error.mend,
            status=error.status,
            written=error.written,
        )

    def _ring0_fault(self, detail: str, error: Ring0FaultError) -> Finding:
        """Explain a fault of ring 0 itself; one at an address comes from ownership that ignores presence."""
        if error.address:
            self._supervisor.reference_bug("syscall-abi.md §11.10", "ring 3 owns a page that ring 0 cannot use")
        place = self._supervisor.place
        return make_finding(
            "MM-1302",
            detail,
            place=place,
            rule=error.rule,
            mend=error.mend,
            vector=error.vector,
            address=error.address,
        )

    def _end(self, finding: Finding) -> SystemStopError:
        """Die of a call that is refused: by an ASSERT in a DEBUG build, else by a breakpoint (telemetry.md §5.1, §7).

        A fault of ring 0 itself is no ASSERT.
        """
        stands_still = self._supervisor.profile.debug and finding.vector is None
        return self._supervisor.die(finding, STANDS_STILL if stands_still else "warm")

    def _unserved(self, call: SystemCall, declaration: SystemCallDeclaration | None) -> Exception:
        place = self._supervisor.place
        if declaration is None:
            name, status = f"{call.number:#x}", Status.INVALID_PARAMETER
            detail = f"system call {name} does not exist"
            source = "syscall-abi.md §7.1" if call.number < FIRST_SUPERVISOR_CALL else "syscall-abi.md §7.2"
        else:
            name, status = declaration.name, declaration.failures[0][0]
            detail = f"{name}: {declaration.support.value}"
            source = declaration.source
        arguments = tuple(Hex(value) for value in call.arguments)
        self._supervisor.log.emit(SystemCallMade(name, arguments, "", None))
        rule = f"{source}: {status_name(status)} is fatal"
        return self._end(make_finding("MM-1003", detail, place=place, rule=rule, status=status))

    def _emit(self, declaration: SystemCallDeclaration, call: SystemCall, result: int | None) -> None:
        guid = ""
        for argument, value in zip(declaration.arguments, call.arguments, strict=False):
            if argument.kind is Kind.GUID and value:
                guid = self._guid_name(value)
        arguments = tuple(Hex(value) for value in call.arguments[: len(declaration.arguments)])
        self._supervisor.log.emit(
            SystemCallMade(declaration.name, arguments, guid, None if result is None else Hex(result))
        )

    def _guid_name(self, address: int) -> str:
        try:
            return Guid(self._supervisor.memory.read(address, GUID_SIZE)).label
        except BusError:
            return "unreadable"


def _mend_once(check: Once) -> str:
    return (
        f"Take the call out: it is {check.made_by} that makes it, when it starts. "
        "Look for a library of that driver among those linked, or for two such drivers in the volume."
    )
