"""What the tests of audits share."""

from __future__ import annotations

import pytest

from mmsupervisor.processor.select import PROCESSORS, probe_one


@pytest.fixture(params=PROCESSORS)
def processor(request: pytest.FixtureRequest) -> str:
    found = probe_one(request.param)
    if not found.is_available:
        pytest.skip(f"{request.param}: {found.reason}")
    return str(request.param)
