"""Exit codes: the table, which is worst, and what each exception gives."""

from __future__ import annotations

import pytest

from mmsupervisor.cli.errors import exit_code_of, guard, line_of
from mmsupervisor.cli.exit_codes import ExitCode, most_severe, table
from mmsupervisor.inventory.payloads import OutputError
from mmsupervisor.pi.container import InputError
from mmsupervisor.pi.errors import FormatError, LimitError, MissingLibraryError


def test_the_table_has_every_code_once_with_a_meaning() -> None:
    rows = table()
    assert [number for number, _, _ in rows] == sorted({code.value for code in ExitCode})
    assert all(meaning and "\n" not in meaning and not meaning.endswith(".") for _, _, meaning in rows)


def test_numbers_that_scripts_rely_on() -> None:
    assert {name: number for number, name, _ in table()} == {
        "OK": 0,
        "INTERNAL_ERROR": 1,
        "USAGE": 2,
        "MALFORMED": 3,
        "UNREADABLE": 4,
        "LIMIT": 5,
        "MISSING_LIBRARY": 6,
        "NOT_MET": 7,
        "VIOLATION": 10,
        "DRIVER_ERROR": 11,
        "NOT_DISPATCHED": 12,
        "NOT_HANDLED": 13,
        "BUDGET_SPENT": 14,
        "LAUNCH_FAILED": 15,
        "SETUP": 69,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([], ExitCode.OK),
        ([ExitCode.OK, ExitCode.OK], ExitCode.OK),
        ([ExitCode.OK, ExitCode.MALFORMED, ExitCode.OK], ExitCode.MALFORMED),
        ([ExitCode.MALFORMED, ExitCode.UNREADABLE], ExitCode.UNREADABLE),
        ([ExitCode.LIMIT, ExitCode.MALFORMED, ExitCode.MISSING_LIBRARY], ExitCode.LIMIT),
        ([ExitCode.UNREADABLE, ExitCode.INTERNAL_ERROR], ExitCode.INTERNAL_ERROR),
    ],
)
def test_the_worst_code_of_several_inputs(codes: list[ExitCode], worst: ExitCode) -> None:
    assert most_severe(codes) is worst
    assert most_severe(reversed(codes)) is worst


CASES = [
    (FormatError("a.fd", 4, "is odd"), ExitCode.MALFORMED, "a.fd: offset 0x4: is odd"),
    (LimitError("a.fd", 4, "is large"), ExitCode.LIMIT, "a.fd: offset 0x4: is large"),
    (MemoryError(), ExitCode.LIMIT, "there is not enough memory for this input"),
    (MissingLibraryError("Tiano", "tiano"), ExitCode.MISSING_LIBRARY, "Tiano: install the optional extra"),
    (InputError("a.fd: No such file or directory"), ExitCode.UNREADABLE, "a.fd: No such file or directory"),
    (OutputError("out/a.efi: is there already"), ExitCode.UNREADABLE, "out/a.efi: is there already"),
    (PermissionError(13, "Permission denied", "x/a.fd"), ExitCode.UNREADABLE, "x/a.fd: Permission denied"),
    (OSError(28, "No space left on device"), ExitCode.UNREADABLE, "No space left on device"),
    (ZeroDivisionError("planted"), ExitCode.INTERNAL_ERROR, "internal error: ZeroDivisionError: planted"),
    (KeyboardInterrupt(), ExitCode.INTERRUPTED, ""),
    (BrokenPipeError(), ExitCode.BROKEN_PIPE, ""),
]


@pytest.mark.parametrize(("error", "code", "line"), CASES, ids=lambda case: type(case).__name__)
def test_each_exception_has_its_code_and_line(error: BaseException, code: ExitCode, line: str) -> None:
    assert exit_code_of(error) is code
    assert line_of(error).startswith(line)


def test_an_error_is_one_line_whatever_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    with guard() as outcome:
        raise InputError("two\nlines\x1b[31m red.fd")
    assert outcome.code is ExitCode.UNREADABLE
    assert capsys.readouterr().err == "mmsup: two\\nlines\\x1b[31m red.fd\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_what_ends_the_whole_command_is_not_held_back_for_one_input(error: type[BaseException]) -> None:
    with pytest.raises(error), guard(per_input=True):
        raise error


def test_the_traceback_is_shown_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for value, is_shown in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("MMSUP_DEBUG", value)
        with guard():
            raise ZeroDivisionError("planted")
        assert ("Traceback" in capsys.readouterr().err) is is_shown
