"""The public face where it meets files that cannot be read, and callers that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmsupervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.container import InputError
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.session import Session


def test_an_image_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        mmsupervisor.boot(tmp_path / "no-such.fd")


def test_an_image_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "image.fd"
    with path.open("wb") as file:
        file.truncate(64 << 30)
    with pytest.raises(LimitError, match="larger than 512 MiB"):
        mmsupervisor.boot(path)


def test_a_caller_that_fails_before_the_launch_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Session] = []
    close = Session.close

    def noted(session: Session) -> None:
        closed.append(session)
        close(session)

    monkeypatch.setattr(Session, "close", noted)
    made: list[Session] = []

    def failing(session: Session) -> None:
        made.append(session)
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        mmsupervisor.boot(until=Phase.LAUNCHED, prepare=failing)
    assert closed == made
    assert len(closed) == 1
