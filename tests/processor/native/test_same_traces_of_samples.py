"""Both processors lead to the same answers and canonical trace: every sample, many messages, OVMF's drivers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random

import pytest

import mmsupervisor
from firmware.samples.catalogue import Sample
from mmsupervisor import prebuilt
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.processor.native.native_processor import NativeProcessor
from mmsupervisor.session import Session
from tests.processor.native.test_same_traces import PROCESSORS
from tests.samples.stage import GUIDS, SAMPLES
from tests.support.observed import CODE, flash_platform
from tests.support.ovmf import Ovmf

BUDGET = 20_000_000
"""Enough time for a busy computer, little enough for the loop without end."""

BOX = "5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11"
OWNER = "6F6D6D73-7570-4C61-8E11-0123456789AB"

Lines = list[str]


def told(session: Session, action: Callable[[], object]) -> str:
    """What came of an action, in words that do not depend on the processor."""
    try:
        return repr(action())
    except (SystemStopError, MmSupervisorError) as failure:
        return f"{type(failure).__name__}: {failure}"


def both(run: Callable[[str], Lines]) -> Lines:
    """Run on each processor, hold that they agree, and return what they agree on."""
    emulated, native = (run(name) for name in PROCESSORS)
    for number, (one, other) in enumerate(zip(emulated, native, strict=False)):
        assert one == other, f"line {number}"
    assert len(emulated) == len(native)
    return emulated


def boot_sample(sample: Sample, processor: str) -> Session:
    known = prebuilt.driver(sample.name)
    session = mmsupervisor.boot_driver(
        prebuilt.image(sample.name),
        sample.name,
        known.guid,
        depex=known.depex,
        description=PlatformDescription(vendor=Vendor.AMD, budget=BUDGET),
        processor=processor,
    )
    assert session.processor == processor
    return session


def messages(sample: Sample) -> Iterator[bytes]:
    """One for each harmless case of a sample, then some of random bytes, shorter and longer ones among them."""
    if sample.message is None:
        return
    size = struct.calcsize(sample.message.format)
    for case in sample.cases:
        if case.number is not None and case.stop == "none":
            yield struct.pack(f"<QQ{len(case.arguments)}Q", 0, case.number, *case.arguments)[:size].ljust(size, b"\0")
    random = Random(sample.name)
    for _ in range(4):
        yield random.randbytes(random.choice((8, size, size, size + 32)))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "Offender"])
def test_every_sample(name: str) -> None:
    sample = SAMPLES[name]

    def run(processor: str) -> Lines:
        with boot_sample(sample, processor) as session:
            answers = [
                told(session, lambda payload=payload: session.communicate(GUIDS[str(sample.handler)], payload))  # type: ignore[misc]
                for payload in messages(sample)
            ]
            return [*answers, *(str(finding) for finding in session.findings), *session.log.canonical_lines()]

    assert len(both(run)) > 20


def test_a_thousand_messages() -> None:
    sample = SAMPLES["Echo"]

    def run(processor: str) -> Lines:
        random = Random(1)
        with boot_sample(sample, processor) as session:
            answers = [
                str(session.communicate(GUIDS[str(sample.handler)], random.randbytes(random.randrange(24, 4096))))
                for _ in range(1000)
            ]
            return [*answers, *session.log.canonical_lines()]

    assert len(both(run)) > 3000


def use_ovmf(session: Session) -> Lines:
    """Lock box and variables, what is refused among it, up to the end of boot."""
    said = [told(session, lambda: session.lock_box.save(BOX, bytes(range(256))))]
    session.advance(Phase.READY_TO_BOOT)
    box, variables = session.lock_box, session.variables
    actions: list[Callable[[], object]] = [
        lambda: box.restore(BOX, 256),
        lambda: box.restore(BOX, 100),
        lambda: box.save(OWNER, b"too late"),
        lambda: [(item.name, item.guid, item.attributes, item.data) for item in variables.all()],
        lambda: variables.set("Native", OWNER, bytes(range(200))),
        lambda: variables.get("Native", OWNER),
        lambda: variables.delete("Native", OWNER),
        lambda: variables.get("Native", OWNER),
        lambda: variables.set("PK", "gEfiGlobalVariableGuid", b"not signed"),
    ]
    return said + [told(session, action) for action in actions]


@pytest.mark.parametrize("with_store", [False, True], ids=["erased flash", "variable store"])
def test_the_drivers_of_ovmf(ovmf: Ovmf, with_store: bool) -> None:
    description = flash_platform(ovmf) if with_store else PlatformDescription()

    def run(processor: str) -> Lines:
        with mmsupervisor.boot(
            ovmf.path(CODE), description=description, processor=processor, observe=True, until=Phase.DXE
        ) as session:
            said = use_ovmf(session)
            assert session.stop is None
            flash = session.devices.variables
            assert flash is not None or not with_store
            return [*said, *session.log.canonical_lines(), flash.content.hex() if flash else ""]

    lines = both(run)
    assert len(lines) > 300
    assert [line.split(":")[0] for line in lines[:10] if "Error" in line].count("LockBoxError") == 2
    assert sum("VariableError" in line for line in lines[:10]) == 2


def test_a_processor_that_answers_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NativeProcessor.resume
    monkeypatch.setattr(NativeProcessor, "resume", lambda self, value=0: honest(self, value ^ 0x1000))
    with pytest.raises(AssertionError, match="line"):
        test_every_sample("Echo")
