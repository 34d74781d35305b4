"""How far a boot goes: as the caller says, else as the platform file does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.learn.run import observe
from mmsupervisor.platform.toml_file import load_platform
from mmsupervisor.session import boot, boot_driver


@pytest.mark.parametrize(("said", "reached"), [(None, Phase.DXE), (Phase.END_OF_PEI, Phase.END_OF_PEI)])
def test_who_says_how_far(tmp_path: Path, said: Phase | None, reached: Phase) -> None:
    file = tmp_path / "platform.toml"
    file.write_text('[platform]\nuntil = "dxe"\n', "utf-8")
    description = load_platform(file)
    with boot(description=description, until=said) as session:
        assert session.phase is session.description.until is reached
    echo = prebuilt.driver("Echo")
    image = prebuilt.image("Echo")
    with boot_driver(image, "Echo", echo.guid, description=description, until=said) as session:
        assert session.phase is reached
    assert observe(None, description=description, until=said).phase == reached.value
