"""A Python file that exercises a booted platform: it defines ``run(session)``, which is called once the boot is done.

>>> def run(session):
...     session.communicate("gMyHandlerGuid", b"...")
...     session.variables.set(...)
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.limits import MIB

if TYPE_CHECKING:
    from mmsupervisor.session import Session

Script: TypeAlias = "Callable[[Session], None]"
"""Exercises a platform; lets SystemStopError pass if the system dies meanwhile."""

_FUNCTION = "run"
_MODULE = "mmsup_script"
_MOST_BYTES = 16 * MIB


class ScriptError(MmSupervisorError):
    """A script that cannot be read as Python, has no ``run``, fails, or exits."""


def read_script(path: Path) -> Script:
    """Read a script and run its top level.

    Raises:
        InputError: the file cannot be read.
        LimitError: it is too large.
        ScriptError: it is no Python, its top level fails or exits, or it does not define ``run``.
    """
    data = read_input_file(path, _MOST_BYTES)  # once: it may be a pipe
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module  # classes look for the module they are made in
    try:
        exec(compile(data, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102  (that is what it is for)
    except SyntaxError as error:
        raise ScriptError(f"{path}:{error.lineno or 1}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise _blame(path, error) from error
    function = getattr(module, _FUNCTION, None)
    if not callable(function):
        raise ScriptError(f"{path}: defines no function `{_FUNCTION}(session)`")

    def script(session: Session) -> None:
        try:
            function(session)
        except SystemStopError:
            raise
        except (Exception, SystemExit) as error:
            raise _blame(path, error) from error

    return script


def _blame(path: Path, error: Exception | SystemExit) -> ScriptError:
    """The line of the script that failed, and how."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    text = " ".join(str(error).split())
    return ScriptError(f"{where}: {type(error).__name__}: {text}" if text else f"{where}: {type(error).__name__}")
