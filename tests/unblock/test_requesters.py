"""Who may ask for memory, by which door, and what each rule answers (docs/reference/unblock.md §2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob, HobRecord
from mmsupervisor.pi.memory_types import MemoryAttribute, MemoryDescriptor, MemoryType
from mmsupervisor.pi.status import Status
from mmsupervisor.unblock.driver import StandaloneMmUnblockMem, request_in_dxe
from mmsupervisor.unblock.ledger import UnblockLedger
from mmsupervisor.unblock.pei import request_in_pei

WHO = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
GOOD, CODE, READ_ONLY, BOOT, NVS, RESERVED, PROTECTED, NOWHERE = range(0x10_0000, 0x90_0000, 0x10_0000)
PAGES = 0x20
END = GOOD + PAGES * 0x1000

TYPES = {
    GOOD: (MemoryType.RUNTIME_SERVICES_DATA, 0),
    CODE: (MemoryType.RUNTIME_SERVICES_CODE, 0),
    READ_ONLY: (MemoryType.RUNTIME_SERVICES_DATA, MemoryAttribute.RO),
    BOOT: (MemoryType.BOOT_SERVICES_DATA, 0),
    NVS: (MemoryType.ACPI_NVS, MemoryAttribute.RO),
    RESERVED: (MemoryType.RESERVED, MemoryAttribute.RO),
    PROTECTED: (MemoryType.CONVENTIONAL, 0),
}


@dataclass
class Map:
    """A UEFI memory map with a descriptor of each kind."""

    def descriptors(self) -> tuple[MemoryDescriptor, ...]:
        return tuple(
            MemoryDescriptor(kind, start, 0, PAGES, int(attribute)) for start, (kind, attribute) in TYPES.items()
        )


@dataclass
class Channel:
    """The supervisor channel, which answers what a test says."""

    answer: int = Status.SUCCESS
    sent: list[bytes] = field(default_factory=list)

    def request(self, request: int, parameters: bytes, _source: str) -> tuple[int, bytes]:
        assert request == 1
        self.sent.append(parameters)
        return self.answer, b""


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def driver(channel: Channel) -> StandaloneMmUnblockMem:
    made = StandaloneMmUnblockMem(Map())
    made.channel = channel
    return made


@pytest.mark.parametrize(
    ("start", "pages", "who", "status", "rule"),
    [
        (GOOD, 1, None, Status.INVALID_PARAMETER, 1),
        (0, 1, WHO, Status.INVALID_PARAMETER, 1),
        (GOOD + 1, 1, WHO, Status.INVALID_PARAMETER, 1),
        (GOOD + 0x800, 0, WHO, Status.INVALID_PARAMETER, 1),
        (GOOD, 0, WHO, Status.SUCCESS, 2),
        (NOWHERE, 0, WHO, Status.SUCCESS, 2),
        (NOWHERE, 1, WHO, Status.ACCESS_DENIED, 5),
        (END, 1, WHO, Status.ACCESS_DENIED, 5),
        (GOOD - 0x1000, 1, WHO, Status.ACCESS_DENIED, 5),
        (BOOT, 1, WHO, Status.ACCESS_DENIED, 5),
        (PROTECTED, 1, WHO, Status.ACCESS_DENIED, 5),
        (READ_ONLY, 1, WHO, Status.ACCESS_DENIED, 5),
    ],
)
def test_what_the_driver_refuses(
    driver: StandaloneMmUnblockMem,
    channel: Channel,
    start: int,
    pages: int,
    who: Guid | None,
    status: Status,
    rule: int,
) -> None:
    found, why = driver.request(start, pages, who)
    assert found == status
    assert f"rule {rule}:" in why
    assert channel.sent == []


@pytest.mark.parametrize("start", [GOOD, END - 0x1000, CODE, NVS, RESERVED])
@pytest.mark.parametrize("answer", [Status.SUCCESS, Status.SECURITY_VIOLATION, Status.ACCESS_DENIED])
def test_what_the_driver_sends(driver: StandaloneMmUnblockMem, channel: Channel, start: int, answer: Status) -> None:
    """Read-only counts for runtime memory alone; the supervisor's answer is passed on."""
    channel.answer = answer
    assert driver.request(start, 3, WHO)[0] == answer
    (sent,) = channel.sent
    descriptor = MemoryDescriptor(MemoryType.RUNTIME_SERVICES_DATA, start, 0, 3, 0)
    assert sent == descriptor.pack()[:40] + WHO.raw


def test_rules_3_and_4_come_before_the_memory_map(driver: StandaloneMmUnblockMem, channel: Channel) -> None:
    driver.channel = None
    assert driver.request(BOOT, 1, WHO)[0] == Status.NOT_READY
    driver.ready_to_lock = True
    assert driver.request(BOOT, 1, WHO) == driver.request(GOOD, 1, WHO)
    assert driver.request(GOOD, 1, WHO)[0] == Status.ACCESS_DENIED
    assert channel.sent == []


def test_the_library_of_dxe(driver: StandaloneMmUnblockMem) -> None:
    assert request_in_dxe(None, GOOD, 1, WHO)[0] == Status.NOT_AVAILABLE_YET
    assert request_in_dxe(driver, GOOD, 1, WHO)[0] == Status.SUCCESS
    driver.channel = None
    assert request_in_dxe(driver, GOOD, 1, WHO)[0] == Status.NOT_AVAILABLE_YET, "its protocol is not there either"


@dataclass
class Hobs:
    """The HOB list of PEI, with room for so many."""

    room: int = 9
    records: list[HobRecord] = field(default_factory=list)

    def append(self, record: HobRecord) -> None:
        if len(self.records) == self.room:
            raise ValueError
        self.records.append(record)


@pytest.mark.parametrize(("start", "pages"), [(GOOD, 1), (GOOD + 1, 1), (0, 0), (1 << 63, 1 << 52)])
def test_pei_looks_at_nothing(start: int, pages: int) -> None:
    hobs = Hobs()
    status, why = request_in_pei(hobs, start, pages, WHO, core_is_up=False)
    assert status == Status.SUCCESS
    assert "rule 3:" in why
    descriptor = MemoryDescriptor(0, start, 0, pages, 0)
    assert hobs.records == [GuidHob(known_guid("gMmSupvUnblockRegionHobGuid"), descriptor.pack()[:40] + WHO.raw)]


def test_pei_refuses_after_the_launch_and_without_room() -> None:
    hobs = Hobs(room=0)
    assert request_in_pei(hobs, GOOD, 1, WHO, core_is_up=True)[0] == Status.ACCESS_DENIED
    assert request_in_pei(hobs, GOOD, 1, WHO, core_is_up=False)[0] == Status.OUT_OF_RESOURCES
    assert hobs.records == []


def test_the_list_says_who_asked_when_and_what_came_of_it() -> None:
    ledger = UnblockLedger()
    first = ledger.note("PEI", "before launch", WHO, (GOOD, 2), (Status.SUCCESS, "a rule"))
    second = ledger.note("DXE", "dxe", WHO, (BOOT, 1), (Status.ACCESS_DENIED, "another"))
    assert ledger.records == [first, second]
    assert [record.granted for record in ledger.records] == [True, False]
    assert second.as_fields() == {
        "number": 2,
        "window": "DXE",
        "phase": "dxe",
        "requester": WHO.label,
        "start": f"{BOOT:#x}",
        "pages": 1,
        "status": "EFI_ACCESS_DENIED",
        "rule": "another",
    }
