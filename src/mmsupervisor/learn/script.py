"""A Python file that exercises a booted platform: it defines ``run(session)``, which is called once the boot is done.

>>> def run(session):
...     session.communicate("gMyHandlerGuid", b"...")
...     session.variables.set(...)
"""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.pi.container import InputError
from mmsupervisor.pi.errors import MmSupervisorError

if TYPE_CHECKING:
    from mmsupervisor.session import Session

Script: TypeAlias = "Callable[[Session], None]"
"""Exercises a platform; lets SystemStopError pass if the system dies meanwhile."""

_FUNCTION = "run"


class ScriptError(MmSupervisorError):
    """A script that cannot be read as Python, has no ``run``, or fails."""


def read_script(path: Path) -> Script:
    """Read a script and run its top level.

    Raises:
        InputError: the file cannot be read.
        ScriptError: it is no Python, its top level fails, or it does not define ``run``.
    """
    try:
        path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    try:
        names = runpy.run_path(str(path), run_name="mmsup_script")
    except SyntaxError as error:
        raise ScriptError(f"{path}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise _blame(path, error) from error
    function = names.get(_FUNCTION)
    if not callable(function):
        raise ScriptError(f"{path}: defines no function `{_FUNCTION}(session)`")

    def script(session: Session) -> None:
        try:
            function(session)
        except SystemStopError:
            raise
        except Exception as error:
            raise _blame(path, error) from error

    return script


def _blame(path: Path, error: Exception) -> ScriptError:
    """The line of the script that failed, and how."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    text = " ".join(str(error).split())
    return ScriptError(f"{where}: {type(error).__name__}: {text}" if text else f"{where}: {type(error).__name__}")
