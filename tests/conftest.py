"""Fixtures and settings for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tests.support.ovmf import DEFAULT_CACHE, FOLDER_VARIABLE, Ovmf, OvmfMissingError, locate

EXACT_FACTS = "OVMF_CODE_4M.secboot.fd"

RANDOM_EXAMPLES = "MMSUP_RANDOM_EXAMPLES"

# Tests are not timed: a busy machine is no failure. A commit gets the same examples, and verdict, every time; who wants
# to search for new ones sets the variable above.
hypothesis.settings.register_profile(
    "mmsupervisor",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=not os.environ.get(RANDOM_EXAMPLES),
)
hypothesis.settings.load_profile("mmsupervisor")


@pytest.fixture(scope="session", autouse=True)
def output_does_not_depend_on_the_terminal() -> None:
    """Forget its size: pytest's workers are told 80 columns, whatever there is."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def programs_can_be_interrupted() -> None:
    """Undo what a shell does to programs it runs in the background: the tests' own programs would not hear Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ovmf() -> Ovmf:
    """Debian's OVMF images; a test that needs them fails, with advice, where they cannot be had."""
    try:
        return locate()
    except OvmfMissingError as error:
        pytest.fail(str(error), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which firmware the tests read, and whether it is one of which exact facts are known."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_CACHE)
    if not folder.is_dir():
        return  # no test has asked for it
    try:
        release = Ovmf(folder).known_release(EXACT_FACTS)
    except OvmfMissingError:
        return  # the tests that need it have failed with the advice
    held = f"ovmf {release}: exact facts and other readers" if release else "another release: other readers only"
    terminalreporter.write_line(f"firmware: {EXACT_FACTS} is of {held} decide")
