"""A planted case for every kind of finding: sessions in which it is made."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from mmsupervisor import prebuilt
from mmsupervisor.abi.findings import FINDING_KINDS, FindingKind
from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.pages import PageType
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import FileType
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.sample import BROKER_NAME, mm_volume, shipped
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.session import Session, boot, boot_driver
from scripts.finding_pages import sample_message
from tests.core.files import core_volume, driver_file, volume
from tests.hostile.scripts import Of, Operation, Scene, Script, call, scene, step
from tests.samples.support import GUIDS, boot_samples, ready_driver

SHORT = PlatformDescription(budget=100_000)
SOMEBODY = Guid.parse("3C8C2B2E-6E0B-4B6B-8C59-0A6C0F0E9D12")
DEVICE = 0xFD00_0000
"""Of the device that no resource descriptor HOB tells of."""


class Silent:
    """A device that answers 0."""

    def mmio_read(self, offset: int, width: int) -> int:
        return 0

    def mmio_write(self, offset: int, width: int, value: int) -> None:
        return None


# By a shipped sample, as the finding's page tells the reader to


@contextmanager
def sample_session(kind: FindingKind) -> Iterator[Session]:
    """Do what the page of a kind says."""
    known = prebuilt.driver(kind.sample)
    image = prebuilt.image(kind.sample)
    with boot_driver(image, kind.sample, known.guid, depex=known.depex, description=SHORT) as session:
        message = sample_message(kind)
        if message is not None:
            with suppress(SystemStopError):
                session.communicate(GUIDS[message[0]], message[1])
        yield session


# By a script of memory accesses


@dataclass(frozen=True)
class Touch:
    """An access and its benign twin.

    Attributes:
        bad: What is done, given the scene.
        good: The same with what is the driver's own.
        says: What the detail must contain.
    """

    bad: Callable[[Scene], Script]
    good: Callable[[Scene], Script]
    says: str


def guarded(here: Scene) -> Scene:
    """Have every later allocation guarded, as the memory protection HOB asks for."""
    here.core.supervisor.pages.guarded_types = frozenset({PageType.RUNTIME_SERVICES_DATA})
    return here


def page(*rest: object) -> list[object]:
    return [call(CallNumber.SMM_ALOC_PAGE, 0, 6, 1), *rest]


def table(here: Scene) -> int:
    """Put something that looks like the EFI system table into normal memory."""
    address = here.session.allocate(1, owner="DXE core")
    here.session.memory.write(address + 0x18, struct.pack("<8sIII", b"IBI SYST", 0x0002_0046, 0x78, 0))
    return address + 0x18


def device(here: Scene) -> int:
    memory = here.session.memory
    if memory.state(DEVICE).bank is None:
        memory.add_device(DEVICE, 0x1000, "timer", Silent())
    return DEVICE


def opened_device(here: Scene) -> int:
    address = device(here)
    here.session.memory.assign(address, 0x1000, Attribute.XP)
    return address


def read(address: Callable[[Scene], int]) -> Callable[[Scene], Script]:
    return lambda here: Script([step(Operation.READ, address(here))])


TOUCHES: dict[str, Touch] = {
    "MM-1206": Touch(
        lambda here: guarded(here) and Script(page(step(Operation.READ, Of(0, 0x1000)))),  # type: ignore[arg-type]
        lambda here: guarded(here) and Script(page(step(Operation.READ, Of(0, 0xFF8)))),  # type: ignore[arg-type]
        "guard page",
    ),
    "MM-1209": Touch(
        lambda here: Script([step(Operation.SAVE, opened_device(here))]),
        lambda here: Script([step(Operation.READ, opened_device(here))]),
        "write at 0xfd000000",
    ),
    "MM-1210": Touch(read(device), read(lambda _: 0xFEC0_0000), "device timer"),
    "MM-1211": Touch(
        read(lambda here: here.outside + 0x1FFC),
        read(lambda here: here.outside + 0x1FF8),
        "just behind the 2 pages",
    ),
    "MM-1214": Touch(read(lambda here: table(here) + 0x60), read(lambda here: here.data), "in the EFI system table"),
}


@contextmanager
def touched(number: str) -> Iterator[Session]:
    with scene() as here:
        touch = TOUCHES[number]
        assert here.run(touch.good(here))[0] == 0
        with suppress(SystemStopError):
            here.run(touch.bad(here))
        yield here.session


# By what is booted, and what is sent


def debug_build() -> Session:
    """Send a DEBUG build a message that its handler refuses."""
    session = boot_samples("StatusReturner", description=PlatformDescription(profile=PROFILES["newest-debug"]))
    with suppress(SystemStopError):
        session.communicate(GUIDS["gSampleStatusHandlerGuid"], struct.pack("<5Q", 0, 1 << 63 | 7, 0, 0, 0))
    return session


def refused_request() -> Session:
    def ask_twice(session: Session) -> None:
        start = session.allocate(4)
        session.unblock(start, 2, SOMEBODY)
        session.unblock(start, 4, SOMEBODY)

    return boot(prepare=ask_twice)


def unheard() -> Session:
    session = boot(until=Phase.DXE)
    session.communicate(SOMEBODY, b"anybody?")
    return session


def broken_policy() -> Session:
    blob = bytearray(write_blob(default_policy()))
    blob[0x38:0x50] = blob[0x28:0x38] + blob[0x40:0x48]  # the second root becomes one of the first's type
    return boot(mm_volume([shipped("Echo")], policy=bytes(blob)))


def vain_wait() -> Session:
    image = shipped("Lifecycle").image
    assert image is not None
    for number, name in enumerate(("gEfiEventReadyToBootGuid", "gEfiEventExitBootServicesGuid")):
        image = image.replace(known_guid(name).raw, bytes([number + 1]) * 16)
    return boot_samples(extra=[ready_driver("Waiting", image)])


BOOTS: dict[str, Callable[[], Session]] = {
    "MM-1303": debug_build,
    "MM-2001": lambda: boot_driver(b"MZ" + bytes(0x1000), "Broken", SOMEBODY),
    "MM-2003": lambda: boot(mm_volume([shipped("Echo"), replace(shipped("CpuIo"), depex=None)])),
    "MM-2005": lambda: boot(mm_volume([shipped(BROKER_NAME)], broker=shipped("FirstBeforeBroker"))),
    "MM-2006": broken_policy,
    "MM-2007": refused_request,
    "MM-2008": unheard,
    "MM-2009": lambda: boot(volume(driver_file(0)), name="image without a core"),
    "MM-2011": lambda: boot(core_volume(driver_file(0, kind=FileType.MM))),
    "MM-2012": vain_wait,
    "MM-2013": lambda: boot(mm_volume([shipped("Echo"), shipped("CpuIo")])[:-0x4000], name="cut.fv"),
}


PLANTED = {*TOUCHES, *BOOTS, *(number for number, kind in FINDING_KINDS.items() if kind.sample)}
"""Every kind with a case here."""
