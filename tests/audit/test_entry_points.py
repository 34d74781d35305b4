"""The audit begins with the first MMI: what drivers do in their entry points is seen too, and nothing is changed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from mmsupervisor.audit.handlers import HandlerAudit
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.sample import DriverFile, mm_volume, ready_depex
from mmsupervisor.session import Session, boot
from tests.audit.stage import memory_hash
from tests.pi.pe_builder import TEXT, BuiltSection, PeBuilder
from tests.samples.stage import DESCRIPTION

DRIVER = Guid(b"an-entry-point-1")
REQUESTER = Guid(b"who-has-asked-it")
LEAVE = bytes.fromhex("31c0 4157 ff1c24")
"""``xor eax, eax; push r15; call far [rsp]``: the way back."""


def load_page(page: int) -> bytes:
    return bytes.fromhex("48b8") + struct.pack("<Q", page)


def fetch(times: int) -> Callable[[int], bytes]:
    """``mov rax, PAGE; mov ecx, [rax]`` as often as wanted."""
    return lambda page: load_page(page) + bytes.fromhex("8b08") * times


def call(page: int) -> bytes:
    return load_page(page) + bytes.fromhex("ffd0")


def booted(
    code: Callable[[int], bytes], *, audited: bool, processor: str = "auto"
) -> tuple[Session, list[HandlerAudit]]:
    """Boot a driver whose entry point is code about a page outside MMRAM, which was unblocked before the launch."""
    place: list[int] = []

    def first(session: Session) -> None:
        place.append(session.allocate(1))

    boot(prepare=first, description=DESCRIPTION).close()
    image = PeBuilder([BuiltSection(".text", code(place[0]) + LEAVE, TEXT)]).build()
    audits: list[HandlerAudit] = []

    def prepare(session: Session) -> None:
        assert session.allocate(1) == place[0]
        session.unblock(place[0], 1, REQUESTER)
        if audited:
            audits.append(HandlerAudit(session))

    volume = mm_volume([DriverFile("Entry", DRIVER, image, ready_depex())])
    return boot(volume, prepare=prepare, description=DESCRIPTION, processor=processor), audits


@pytest.mark.parametrize(
    ("mistake", "twin", "number"),
    [(fetch(2), fetch(1), "MM-4001"), (call, fetch(1), "MM-4004")],
    ids=["double fetch", "callout"],
)
def test_an_entry_point_is_audited(
    mistake: Callable[[int], bytes], twin: Callable[[int], bytes], number: str, processor: str
) -> None:
    for code, wanted in ((twin, []), (mistake, [number])):
        session, audits = booted(code, audited=True, processor=processor)
        with session, audits[0] as audit:
            assert audit.is_attached
            assert [finding.kind.number for finding in audit.findings] == wanted
            assert [finding.place.driver for finding in audit.findings if finding.place] == ["Entry"] * len(wanted)


@pytest.mark.parametrize("code", [fetch(2), call], ids=["lives", "dies"])
def test_trace_and_memory_of_a_boot_are_the_same(code: Callable[[int], bytes]) -> None:
    found = []
    for audited in (False, True):
        session, audits = booted(code, audited=audited)
        with session:
            assert bool(audits) is audited
            found.append((list(session.log.canonical_lines()), memory_hash(session), str(session.stop)))
            for audit in audits:
                assert audit.findings
                audit.close()
    assert found[0] == found[1]


def test_a_session_whose_launch_fails_has_nothing_to_audit() -> None:
    audits: list[HandlerAudit] = []
    with boot(bytes(0x1000), prepare=lambda session: audits.append(HandlerAudit(session))) as session:
        (audit,) = audits
        assert session.core is None
        assert not audit.is_attached
        audit.close()
        audit.close()
