"""Fixtures and settings for all tests."""

from __future__ import annotations

import os

import hypothesis
import pytest

from tests.support.ovmf import Ovmf, OvmfMissingError, locate

# Tests are not timed: a busy machine is no failure. In CI a commit gets the same examples, and verdict, every time.
hypothesis.settings.register_profile("mmsupervisor", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("mmsupervisor")


@pytest.fixture(scope="session")
def ovmf() -> Ovmf:
    """Debian's OVMF images; a test that needs them fails, with advice, where they cannot be had."""
    try:
        return locate()
    except OvmfMissingError as error:
        pytest.fail(str(error), pytrace=False)
