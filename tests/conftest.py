"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests.support.ovmf import Ovmf, OvmfMissingError, locate


@pytest.fixture(scope="session")
def ovmf() -> Ovmf:
    """Debian's OVMF images; a test that needs them fails, with advice, where they cannot be had."""
    try:
        return locate()
    except OvmfMissingError as error:
        pytest.fail(str(error), pytrace=False)
