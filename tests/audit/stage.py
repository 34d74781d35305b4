"""The Careless driver on a booted platform, with a page outside MMRAM for its data."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmsupervisor import prebuilt
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.sample import DriverFile, mm_volume
from mmsupervisor.session import Answer, Session, boot
from tests.samples.stage import DESCRIPTION, GUIDS, SAMPLES, Stage, shipped_map

DRIVER = "Careless"
HANDLER = Guid.parse(GUIDS["gSampleCarelessHandlerGuid"])
SAMPLE = SAMPLES[DRIVER]
FORMAT = "<QIIQQ8Q"
_REQUESTER = Guid.parse("61C8B0A2-6C9E-4F6E-9D5B-0C5A3F2E7B44")
RECORD = struct.pack("<Q", 16) + bytes(range(64))
"""What lies outside: a length, and bytes."""


def careless_session(processor: str = "auto", **options: Any) -> tuple[Session, int]:
    """Boot; the session, and the address of the page outside."""
    known = prebuilt.driver(DRIVER)
    places: list[int] = []

    def prepare(session: Session) -> None:
        places.append(session.allocate(2))
        session.unblock(places[0], 1, _REQUESTER)
        session.memory.write(places[0], RECORD)

    driver = DriverFile(DRIVER, known.guid, prebuilt.image(DRIVER), known.depex)
    session = boot(
        mm_volume([driver]),
        until=Phase.READY_TO_BOOT,
        description=DESCRIPTION,
        processor=processor,
        name="careless",
        prepare=prepare,
        symbols={known.guid: shipped_map(DRIVER)},
        **options,
    )
    return session, places[0]


def payload(case: str | int, *, benign: bool = False, address: int = 0, length: int = 0) -> bytes:
    """The message of a case."""
    number = case if isinstance(case, int) else SAMPLE.case(case).number
    return struct.pack(FORMAT, (1 << 64) - 1, number, benign, address, length, *[0] * 8)


def status_of(answer: Answer) -> int:
    return int(struct.unpack_from("<Q", answer.data, 24)[0])


def memory_hash(session: Session) -> str:
    """A hash of MMRAM and of the memory below it, where PEI and DXE keep what they allocate."""
    top = session.description.memory_top
    start = session.description.mmram_base - (48 << 20)
    return hashlib.sha256(session.memory.read(start, top - start)).hexdigest()


@contextmanager
def careless(processor: str = "auto", **options: Any) -> Iterator[tuple[Stage, int]]:
    """Boot; the stage, and the address of the page outside."""
    session, outside = careless_session(processor, **options)
    with session:
        yield Stage(SAMPLE, session, DRIVER), outside
