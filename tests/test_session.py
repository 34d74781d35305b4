"""The public face where it meets files that cannot be read, and callers that fail."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import mmsupervisor
from mmsupervisor import prebuilt
from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.container import InputError
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.message import HEADER_SIZE, HEADER_V3_SIZE
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.session import PhaseError, Relay, Request, Session, boot_driver

SOMEBODY = Guid.parse("0E6E8C1B-62B3-4C0F-9E52-6C2B1E0E3A77")


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


# Ways into MM


@pytest.mark.parametrize("until", [Phase.LAUNCHED, Phase.DXE])
def test_a_message_with_a_header_of_version_3(until: Phase) -> None:
    with boot_driver(prebuilt.image("Echo"), "Echo", SOMEBODY, until=until) as session:
        handler = session.drivers[-1].handlers[0]
        request = bytes(8) + (3).to_bytes(4, "little") + bytes(12) + b"to upper case"
        old, new = session.communicate(handler, request), session.communicate(handler, request, v3=True)
        assert (old.status, new.status) == (0, 0)
        status, operation, total, calls, text = struct.unpack("<QIIQ13s", old.data[HEADER_SIZE:])
        assert struct.unpack("<QIIQ13s", new.data[HEADER_V3_SIZE:]) == (status, operation, total, calls + 1, text)
        assert new.data.endswith(b"TO UPPER CASE")


def test_a_request_to_the_supervisor_needs_its_channel() -> None:
    with mmsupervisor.boot(until=Phase.END_OF_PEI) as session:
        with pytest.raises(PhaseError, match="supervisor channel is not published"):
            session.request(Request.VERSION_INFO, bytes(16))
        session.advance(Phase.DXE)
        assert session.request(3, bytes(16))[0] == 0


def by_message(session: Session) -> None:
    session.communicate(*deadly(session))


def by_protocol(session: Session) -> None:
    guid, payload = deadly(session)
    session.add_relay(Relay("relay", SOMEBODY, guid, lambda: payload))
    session.install_dxe_protocol(SOMEBODY)


def by_protocol_that_is_there(session: Session) -> None:
    guid, payload = deadly(session)
    session.install_dxe_protocol(SOMEBODY)
    session.add_relay(Relay("relay", SOMEBODY, guid, lambda: payload))


def by_unblocking(session: Session) -> None:
    page = session.allocate(2)
    session.unblock(page, 1, SOMEBODY)
    session.unblock(page, 2, SOMEBODY)


def deadly(session: Session) -> tuple[Guid, bytes]:
    """A message on which the Offender executes an undefined instruction."""
    return Guid.parse(session.drivers[-1].handlers[0]), struct.pack("<QIIQ8Q", 0, 0x11D, 0, 0, *[0] * 8)


@pytest.mark.parametrize(
    "way", [by_message, by_protocol, by_protocol_that_is_there, by_unblocking], ids=lambda way: way.__name__
)
def test_a_session_knows_that_its_system_died(way: Callable[[Session], None]) -> None:
    debug = PlatformDescription(profile=PROFILES["newest-debug"])
    offender = prebuilt.image("Offender")
    with boot_driver(offender, "Offender", SOMEBODY, until=Phase.DXE, description=debug) as session:
        with pytest.raises(SystemStopError) as death:
            way(session)
        assert session.stop == death.value.finding
        session.advance(Phase.READY_TO_BOOT)
        assert session.phase is Phase.DXE, "nothing more happens"
        with pytest.raises(SystemStopError):
            session.request(Request.VERSION_INFO, bytes(16))
