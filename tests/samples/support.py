"""What the tests of the samples share: sessions, and messages as the samples' own tables describe them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.sample import BROKER_NAME, DriverFile, mm_volume, ready_depex, shipped
from mmsupervisor.session import Answer, Session, boot

SAMPLES = {sample.name: sample for sample in catalogue.samples()}
GUIDS = {name: Guid(value.bytes_le) for name, value in catalogue.guids().items()}
STEP = struct.Struct("<QII6Q")
UNTOUCHED = 0xFFFF_FFFF_FFFF_FFFF
HEADER = 0x18


def broker_files() -> list[Path | None]:
    """Return the brokers to be tested: ours, and every file that MMSUP_BROKER names (separated as in PATH)."""
    named = os.environ.get("MMSUP_BROKER", "")
    return [None, *(Path(part) for part in named.split(os.pathsep) if part)]


def broker_driver(file: Path | None) -> DriverFile:
    """Return a broker to be packed."""
    ours = shipped(BROKER_NAME)
    return ours if file is None else DriverFile(BROKER_NAME, ours.guid, file.read_bytes(), ours.depex)


def boot_samples(
    *names: str,
    until: Phase = Phase.READY_TO_BOOT,
    broker: Path | None = None,
    extra: Iterable[DriverFile] = (),
    description: PlatformDescription | None = None,
    prepare: Callable[[Session], None] | None = None,
) -> Session:
    """Boot a volume with the samples named."""
    drivers = [*(shipped(name) for name in names), *extra]
    volume = mm_volume(drivers, broker=broker_driver(broker))
    return boot(volume, until=until, description=description, prepare=prepare)


def ready_driver(name: str, image: bytes) -> DriverFile:
    """Return a driver with a made-up GUID that needs the broker only."""
    guid = Guid(name.encode().ljust(16, b"\0")[:16])
    return DriverFile(name, guid, image, ready_depex())


def handler_of(sample: str) -> Guid:
    """Return the GUID of a sample's messages."""
    name = SAMPLES[sample].handler
    assert name is not None
    return GUIDS[name]


def send(session: Session, sample: str, payload: bytes) -> tuple[Answer, bytes]:
    """Send a sample its message; the answer and its payload."""
    answer = session.communicate(handler_of(sample), payload)
    return answer, answer.data[HEADER:]


def step(session: Session, sample: str, number: int, *values: int) -> tuple[int, tuple[int, ...]]:
    """Send a step; its status and values."""
    payload = STEP.pack(UNTOUCHED, number, 0, *values, *[0] * (6 - len(values)))
    answer, body = send(session, sample, payload)
    assert answer.status == Status.SUCCESS
    status, _, _, *returned = STEP.unpack(body)
    return status, tuple(returned)


def offend(session: Session, case: str, *arguments: int, benign: bool = False) -> bytes:
    """Send the Offender a case by name; the answer's payload."""
    number = SAMPLES["Offender"].case(case).number
    assert number is not None
    payload = struct.pack("<QIIQ8Q", UNTOUCHED, number, benign, 0, *arguments, *[0] * (8 - len(arguments)))
    return send(session, "Offender", payload)[1]


def symbol_offset(driver: str, name: str) -> int:
    """Return the offset of a symbol in a shipped driver's image."""
    return next(symbol.rva for symbol in prebuilt.symbols(driver) if symbol.name == name)


def efi(name: str | None) -> int:
    """Return the status that a case names, SUCCESS if it names none."""
    return int(Status[name or "SUCCESS"])
