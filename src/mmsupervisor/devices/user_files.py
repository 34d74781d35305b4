"""Loading files with devices of the user (:mod:`mmsupervisor.devices.api`).

Such a file is a program: it runs on the host with all rights of the user, when a boot begins. It is loaded only
because a platform description or a caller names it, never found by itself.
"""

from __future__ import annotations

import copy
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mmsupervisor.devices.api import Access, Claim, Space, claims_of
from mmsupervisor.devices.state import State
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.machine.routing import MsrRouter, PortRouter
from mmsupervisor.pi.errors import SourceError

_MSR_WIDTH = 8
_DIRECTIONS = ("read", "write")


class UserDevice:
    """A device from a file: a function, or one object of a class.

    Attributes:
        name: The function's or class's name.
        file: The file, as it was named.
        line: Where it is defined in it, 0 if that is not known.
        claims: The ranges it answers.
    """

    def __init__(self, target: Any, file: str) -> None:
        """Make the object, if it is a class.

        Raises:
            SourceError: it cannot be made, or lacks a method for one of its ranges.
        """
        self.name: str = target.__name__
        self.file = file
        self.claims = claims_of(target)
        self.line = _line_of(target)
        self._is_class = isinstance(target, type)
        self._target = self.run(target) if self._is_class else target
        if self._is_class:
            self._require_methods()

    def _require_methods(self) -> None:
        wanted = [f"{claim.space.value}_{way}" for claim in self.claims for way in _DIRECTIONS]
        missing = [name for name in wanted if not callable(getattr(self._target, name, None))]
        if missing:
            raise SourceError(self.file, self.line, f"device `{self.name}` has no method {missing[0]}()")

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call code of the file.

        Raises:
            SourceError: it raised something; the error names the line.
        """
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:  # ending the program is not a device's to do
            raise _as_source_error(error, self.file, f"device `{self.name}`") from error

    def read(self, claim: Claim, offset: int, width: int, cpu: int = 0) -> int:
        """Read from a range; raises as :meth:`run` does, and where the answer is no number."""
        if self._is_class:
            method = getattr(self._target, f"{claim.space.value}_read")
            answer = self.run(method, *_operands(claim, offset, width, cpu))
        else:
            answer = self.run(self._target, Access(claim.first + offset, offset, width, None, cpu))
        if answer is None:
            return (1 << 8 * width) - 1
        if not isinstance(answer, int):
            kind = type(answer).__name__
            raise SourceError(self.file, self.line, f"device `{self.name}` answered a read with {kind}, not a number")
        return answer & (1 << 8 * width) - 1

    def write(self, claim: Claim, offset: int, width: int, value: int, cpu: int = 0) -> None:
        """Write to a range; raises as :meth:`run` does."""
        if self._is_class:
            method = getattr(self._target, f"{claim.space.value}_write")
            self.run(method, *_operands(claim, offset, width, cpu), value)
        else:
            self.run(self._target, Access(claim.first + offset, offset, width, value, cpu))

    def state(self) -> State:
        """Return what its ``state()`` returns, else a copy of its attributes; a function has no state."""
        if not self._is_class:
            return {}
        if hasattr(self._target, "state"):
            return dict(self.run(self._target.state))
        return copy.deepcopy(vars(self._target))

    def restore(self, state: State) -> None:
        """Give it back what :meth:`state` returned."""
        if not self._is_class:
            return
        if hasattr(self._target, "restore"):
            self.run(self._target.restore, state)
        else:
            vars(self._target).clear()
            vars(self._target).update(copy.deepcopy(state))


def _operands(claim: Claim, offset: int, width: int, cpu: int) -> tuple[int, int]:
    return (claim.first + offset, cpu) if claim.space is Space.MSR else (offset, width)


class _Range:
    """One range of a device, as the routers and memory want to see it."""

    def __init__(self, owner: UserDevice, claim: Claim) -> None:
        self._owner = owner
        self._claim = claim

    def port_read(self, offset: int, width: int) -> int:
        return self._owner.read(self._claim, offset, width)

    def port_write(self, offset: int, width: int, value: int) -> None:
        self._owner.write(self._claim, offset, width, value)

    mmio_read = port_read
    mmio_write = port_write

    def msr_read(self, number: int, cpu: int) -> int:
        return self._owner.read(self._claim, number - self._claim.first, _MSR_WIDTH, cpu)

    def msr_write(self, number: int, cpu: int, value: int) -> None:
        self._owner.write(self._claim, number - self._claim.first, _MSR_WIDTH, value, cpu)


def load_device_file(path: Path, name: str = "") -> tuple[UserDevice, ...]:
    """Run a file and return its devices, in order of definition.

    Args:
        path: The file.
        name: What to call it in messages; its path if empty.

    Raises:
        SourceError: it is no Python, raised something, defines no device, or one that cannot be made.
        OSError: it cannot be read.
    """
    file = name or str(path)
    source = path.read_bytes()
    module = ModuleType(f"mmsupervisor_user_devices.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and inspect look for the module of a class there
    try:
        _execute(source, module, file)
        targets = {id(value): value for value in vars(module).values() if claims_of(value)}.values()
        found = tuple(UserDevice(target, file) for target in targets)
    finally:
        del sys.modules[module.__name__]
    if not found:
        raise SourceError(file, 0, "no device: nothing in it has a decorator of mmsupervisor.devices.api")
    return found


def _execute(source: bytes, module: ModuleType, file: str) -> None:
    """Run the code here, not by the import system: that would leave compiled files beside it."""
    try:
        exec(compile(source, module.__file__ or file, "exec"), vars(module))  # noqa: S102  (what the file is for)
    except SyntaxError as error:
        raise SourceError(file, error.lineno or 0, f"not Python: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise _as_source_error(error, file, "loading") from error


def attach(device: UserDevice, memory: PhysicalMemory, ports: PortRouter, msrs: MsrRouter) -> None:
    """Let a device answer its ranges.

    Raises:
        SourceError: a range is taken, or beyond the machine's address width.
    """
    for claim in device.claims:
        answers = _Range(device, claim)
        try:
            if claim.space is Space.PORT:
                ports.claim(claim.first, claim.count, device.name, answers)
            elif claim.space is Space.MMIO:
                memory.add_device(claim.first, claim.count, device.name, answers)
            else:
                msrs.claim(claim.first, claim.count, answers)
        except ValueError as error:
            raise SourceError(device.file, device.line, str(error)) from error


def _line_of(target: Any) -> int:
    try:
        return inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return 0


def _as_source_error(error: BaseException, file: str, what: str) -> SourceError:
    """The error with the last line of the user's file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == Path(file).name and frame.lineno]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return SourceError(file, lines[-1] if lines else 0, f"{what}: {text}")
