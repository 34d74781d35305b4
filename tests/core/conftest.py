"""Fixtures for the core: a small machine, and a core that came up on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.supervisor import Supervisor
from tests.core.small import Small


@pytest.fixture
def small() -> Iterator[Small]:
    """A platform that may still be changed."""
    platform = Small()
    yield platform
    platform.machine.memory.close()


@pytest.fixture
def core(small: Small) -> Core:
    """A core without drivers, initialised and locked down."""
    return small.start()


@pytest.fixture
def supervisor(core: Core) -> Supervisor:
    """Its state."""
    return core.supervisor
