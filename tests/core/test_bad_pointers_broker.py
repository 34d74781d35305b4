"""Every pointer of every broker service, against every class of bad pointer (docs/reference/gmmst.md §2 to §5).

The services run in ring 3 on the real processor, called through the broker's own central jump: it calls its fifth
argument with the first four, and returns what that returns. For the one service with five arguments a page of code
does the same. A bad pointer that the service does not look for faults
in the broker, as it does on the device.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

import mmsupervisor
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.status import Status
from mmsupervisor.session import Session
from tests.core.pointer_classes import (
    CLASSES,
    CLOSED,
    FREED,
    HOB,
    HOLE,
    LOW,
    MIXED,
    MMIO,
    NON_CANONICAL,
    NULL,
    SUPERVISOR,
    UNALIGNED,
    USER_SUPERVISOR,
    WRAPPING,
    Places,
    make_pointer,
)
from tests.core.small import OTHER, SOMEBODY, user_page

PLACES = Places(0x200_0000, 0x8_8000_0000, 0xFED0_0000)
BAD, MISSING, TOO_SMALL = Status.INVALID_PARAMETER, Status.NOT_FOUND, Status.BUFFER_TOO_SMALL
MAX = (1 << 64) - 1

# Offsets of the services in the table (gmmst.md §1).
INSTALL_TABLE, ALLOCATE_POOL, FREE_POOL, ALLOCATE_PAGES, FREE_PAGES, STARTUP_AP = 0x28, 0x50, 0x58, 0x60, 0x68, 0x70
INSTALL, UNINSTALL, HANDLE, NOTIFY, LOCATE_HANDLE, LOCATE = 0xA8, 0xB0, 0xB8, 0xC0, 0xC8, 0xD0
REGISTER, UNREGISTER = 0xE0, 0xE8

# mov rax, [rsp+0x30]; mov r10, [rsp+0x28]; sub rsp, 0x38; mov [rsp+0x20], r10; call rax; add rsp, 0x38; push r15;
# call far [rsp]
CALL_WITH_FIVE = bytes.fromhex("488b442430 4c8b542428 4883ec38 4c89542420 ffd0 4883c438 4157 ff1c24")

Outcome = str | int
DONE = "returns"
GATE = "MM-1002"
"""Refused by the gate: the broker passes the pointer on."""

READ: dict[str, Outcome] = {
    LOW: "MM-1205",
    NON_CANONICAL: "MM-1208",
    WRAPPING: "MM-1207",
    SUPERVISOR: "MM-1202",
    USER_SUPERVISOR: "MM-1202",
    MIXED: DONE,
    UNALIGNED: DONE,
    CLOSED: "MM-1201",
    HOLE: "MM-1207",
    MMIO: DONE,
    FREED: "MM-1213",
    HOB: DONE,
}
"""What each class gives where the broker itself reads; NULL is each service's own affair."""

WRITTEN = READ | {MIXED: "MM-1203", HOB: "MM-1203"}
PASSED_ON: dict[str, Outcome] = dict.fromkeys(READ, GATE) | dict.fromkeys((UNALIGNED, CLOSED, HOLE, MMIO, HOB), DONE)
PASSED_ON_AND_READ = PASSED_ON | {CLOSED: "MM-1302", HOLE: "MM-1302"}


def then(status: Outcome, outcomes: dict[str, Outcome], **changes: Outcome) -> dict[str, Outcome]:
    """Say what the service returns where the pointer does not fault."""
    named = {"both": USER_SUPERVISOR, "mixed": MIXED, "mmio": MMIO, "hob": HOB, "unaligned": UNALIGNED}
    found = {kind: status if what == DONE else what for kind, what in outcomes.items()}
    return found | {named[key]: value for key, value in changes.items()}


def all_of(status: Outcome) -> dict[str, Outcome]:
    return dict.fromkeys(READ, status)


@dataclass(frozen=True)
class Case:
    """One pointer of one service.

    Attributes:
        service: Offset in the table.
        position: Which argument.
        size: Bytes that the service takes there.
        null: What NULL gives.
        others: What each other class gives.
        arguments: Good arguments.
        shift: How far behind the place that is looked at first the pointer points.
    """

    service: int
    position: int
    size: int
    null: Outcome
    others: dict[str, Outcome]
    arguments: Callable[[Supervisor], tuple[int, ...]]
    shift: int = 0


def page_of(supervisor: Supervisor, data: bytes = b"") -> int:
    page = user_page(supervisor)
    supervisor.memory.fill(page, 0x1000)
    supervisor.memory.write(page, data)
    return page


def guid(supervisor: Supervisor) -> int:
    return page_of(supervisor, OTHER.raw)


def zero(supervisor: Supervisor) -> int:
    return page_of(supervisor)


def table_arguments(s: Supervisor) -> tuple[int, ...]:
    return 0, guid(s), zero(s), 16


def handler_arguments(s: Supervisor) -> tuple[int, ...]:
    return zero(s), guid(s), zero(s)


def notify_arguments(s: Supervisor) -> tuple[int, ...]:
    return guid(s), zero(s), zero(s)


def install_arguments(s: Supervisor) -> tuple[int, ...]:
    return zero(s), page_of(s, SOMEBODY.raw), 0, 0


# A page of zeros is no handle: its signature is wrong.
def handle_arguments(s: Supervisor) -> tuple[int, ...]:
    return zero(s), guid(s), zero(s)


def ready(s: Supervisor) -> int:
    """The name of a protocol that one handle has."""
    return page_of(s, known_guid("gMmRing3HandlerReadyProtocol").raw)


def installed_arguments(s: Supervisor) -> tuple[int, ...]:
    """The handle and the name of an installed protocol, and another interface than its own."""
    name, place = page_of(s, b"to be taken away"), zero(s)
    call(s, INSTALL, place, name, 0, 0x4242)
    return s.memory.read_u64(place), name, MAX


POOL = then(BAD, READ, both=BAD)
"""The signature of the header is looked at first, and it is wrong."""

CASES = {
    "InstallConfigurationTable Guid": Case(INSTALL_TABLE, 1, 16, GATE, PASSED_ON_AND_READ, table_arguments),
    "InstallConfigurationTable Table": Case(INSTALL_TABLE, 2, 16, GATE, PASSED_ON, table_arguments),
    "AllocatePool Buffer": Case(ALLOCATE_POOL, 2, 8, "MM-1205", WRITTEN, lambda s: (6, 8, zero(s))),
    "FreePool Buffer": Case(FREE_POOL, 0, 24, BAD, POOL, lambda s: (zero(s),), shift=24),
    "AllocatePages Memory": Case(ALLOCATE_PAGES, 3, 8, BAD, WRITTEN, lambda s: (0, 6, 1, zero(s))),
    "FreePages Memory": Case(
        FREE_PAGES,
        0,
        8,
        GATE,
        PASSED_ON | {UNALIGNED: GATE} | dict.fromkeys((CLOSED, HOLE, MMIO), "MM-1004") | {HOB: DONE},
        lambda s: (zero(s), 1),
    ),
    "StartupThisAp Procedure": Case(STARTUP_AP, 0, 8, GATE, PASSED_ON, lambda s: (zero(s), 1, 0)),
    "StartupThisAp Argument": Case(
        # The procedure itself is a page of data: that it is run at all is what tells.
        STARTUP_AP,
        2,
        1,
        DONE,
        then("MM-1204", PASSED_ON, both="MM-1204", mixed="MM-1204"),
        lambda s: (zero(s), 1, zero(s)),
    ),
    "InstallProtocol Handle": Case(
        # What lies there is taken for a handle: all ones from the device, the first bytes of the list.
        INSTALL,
        0,
        8,
        BAD,
        then(0, WRITTEN, mmio="MM-1207", hob="MM-1201"),
        install_arguments,
    ),
    "UninstallProtocol Handle": Case(UNINSTALL, 0, 48, BAD, then(BAD, READ, both=BAD), handle_arguments),
    "UninstallProtocol Guid": Case(UNINSTALL, 1, 16, BAD, all_of(BAD), handle_arguments),
    "HandleProtocol Handle": Case(HANDLE, 0, 48, BAD, then(BAD, READ, both=BAD), handle_arguments),
    "HandleProtocol Protocol": Case(HANDLE, 1, 16, BAD, all_of(BAD), handle_arguments),
    "HandleProtocol Interface": Case(HANDLE, 2, 8, BAD, then(BAD, WRITTEN), handle_arguments),
    "RegisterProtocolNotify Protocol": Case(NOTIFY, 0, 16, BAD, then(0, READ), notify_arguments),
    "RegisterProtocolNotify Function": Case(NOTIFY, 1, 8, MISSING, all_of(0), notify_arguments),
    "RegisterProtocolNotify Registration": Case(NOTIFY, 2, 8, BAD, then(0, WRITTEN), notify_arguments),
    "LocateHandle Protocol": Case(LOCATE_HANDLE, 1, 16, BAD, then(MISSING, READ), lambda s: (2, guid(s), 0, zero(s))),
    "LocateProtocol Protocol": Case(LOCATE, 0, 16, BAD, then(MISSING, READ), lambda s: (guid(s), 0, zero(s))),
    "LocateProtocol Interface": Case(LOCATE, 2, 8, BAD, then(MISSING, WRITTEN), lambda s: (guid(s), 0, zero(s))),
    "MmiHandlerRegister Handler": Case(REGISTER, 0, 8, GATE, PASSED_ON, handler_arguments),
    "MmiHandlerRegister HandlerType": Case(REGISTER, 1, 16, DONE, PASSED_ON_AND_READ, handler_arguments),
    "MmiHandlerRegister DispatchHandle": Case(REGISTER, 2, 8, BAD, WRITTEN, handler_arguments),
    "MmiHandlerUnRegister DispatchHandle": Case(UNREGISTER, 0, 8, GATE, all_of(GATE), lambda s: (0,)),
    "InstallProtocol Guid": Case(INSTALL, 1, 16, BAD, then(0, READ, mixed=GATE), install_arguments),
    # Kept or compared, never looked at.
    "InstallConfigurationTable SystemTable": Case(INSTALL_TABLE, 0, 8, DONE, all_of(DONE), table_arguments),
    "InstallProtocol Interface": Case(INSTALL, 3, 8, DONE, all_of(DONE), install_arguments),
    "UninstallProtocol Interface": Case(UNINSTALL, 2, 8, MISSING, all_of(MISSING), installed_arguments),
    # A registration is known by its signature, which is wrong everywhere.
    "LocateHandle SearchKey": Case(
        LOCATE_HANDLE, 2, 8, BAD, then(MISSING, READ), lambda s: (1, 0, zero(s), zero(s), 0)
    ),
    "LocateProtocol Registration": Case(
        LOCATE, 1, 8, MISSING, then(MISSING, READ), lambda s: (guid(s), zero(s), zero(s))
    ),
    "LocateHandle BufferSize": Case(
        LOCATE_HANDLE, 3, 8, BAD, then(TOO_SMALL, WRITTEN, mmio=0), lambda s: (0, 0, 0, zero(s), zero(s))
    ),
    "LocateHandle Buffer": Case(
        LOCATE_HANDLE, 4, 8, BAD, then(0, WRITTEN), lambda s: (2, ready(s), 0, page_of(s, bytes([8])), zero(s))
    ),
}

POINTERS = {
    INSTALL_TABLE: ("SystemTable", "Guid", "Table"),
    ALLOCATE_POOL: ("Buffer",),
    FREE_POOL: ("Buffer",),
    ALLOCATE_PAGES: ("Memory",),
    FREE_PAGES: ("Memory",),
    STARTUP_AP: ("Procedure", "Argument"),
    INSTALL: ("Handle", "Guid", "Interface"),
    UNINSTALL: ("Handle", "Guid", "Interface"),
    HANDLE: ("Handle", "Protocol", "Interface"),
    NOTIFY: ("Protocol", "Function", "Registration"),
    LOCATE_HANDLE: ("Protocol", "SearchKey", "BufferSize", "Buffer"),
    LOCATE: ("Protocol", "Registration", "Interface"),
    REGISTER: ("Handler", "HandlerType", "DispatchHandle"),
    UNREGISTER: ("DispatchHandle",),
}
"""The pointer parameters of every service that ring 3 has (gmmst.md §1, §2)."""


def test_no_pointer_and_no_class_is_missing() -> None:
    tried = {(case.service, name.split()[1]) for name, case in CASES.items()}
    assert tried == {(service, name) for service, names in POINTERS.items() for name in names}
    for name, case in CASES.items():
        assert {NULL, *case.others} == set(CLASSES), name


def call(supervisor: Supervisor, service: int, *arguments: int) -> int:
    """Call a service through the central jump, or one with a fifth argument through code that passes that on."""
    routine = supervisor.memory.read_u64(supervisor.jumps.user_table + service)
    if len(arguments) > 4:
        thunk = page_of(supervisor, CALL_WITH_FIVE)
        supervisor.memory.assign(thunk, PAGE_SIZE, Attribute.RO)
        return supervisor.ring3.call(thunk, (*arguments, routine), 0, target=routine)
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return supervisor.ring3.call(supervisor.jumps.central, (*padded, routine), 0, target=routine)


class Broker:
    """The booted platform's broker, called service by service; it survives what kills the device."""

    def __init__(self, session: Session) -> None:
        assert session.core is not None
        self.supervisor = session.core.supervisor

    def call(self, service: int, *arguments: int) -> int:
        return call(self.supervisor, service, *arguments)

    def outcome(self, service: int, *arguments: int) -> Outcome:
        """Return the status, or the number of the finding; the system is taken alive again."""
        try:
            return self.call(service, *arguments)
        except SystemStopError as error:
            self.supervisor.stop = None
            return error.finding.kind.number


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with mmsupervisor.boot(until=Phase.READY_TO_BOOT) as booted:
        yield booted


@pytest.fixture(scope="module")
def other_session() -> Iterator[Session]:
    """For what installs any bytes as a protocol, which the others must not find or be told of."""
    with mmsupervisor.boot(until=Phase.READY_TO_BOOT) as booted:
        yield booted


@pytest.fixture
def broker(session: Session) -> Broker:
    return Broker(session)


@pytest.fixture
def other_broker(other_session: Session) -> Broker:
    return Broker(other_session)


def test_the_way_in_works(broker: Broker) -> None:
    place = zero(broker.supervisor)
    assert broker.call(ALLOCATE_POOL, 6, 100, place) == 0
    pool = broker.supervisor.memory.read_u64(place)
    assert pool % 16 == 8
    assert broker.call(FREE_POOL, pool) == 0
    assert broker.call(FREE_POOL, pool) == BAD


COMBINATIONS = [
    (name, kind)
    for name in CASES
    for kind in CLASSES
    if (name, kind)
    != ("FreePages Memory", HOB)  # it would take the list away from the others; test_bad_pointers.py has it
]


@pytest.mark.parametrize(("name", "kind"), COMBINATIONS)
def test_broker_services(broker: Broker, other_broker: Broker, name: str, kind: str) -> None:
    case = CASES[name]
    broker = other_broker if name == "InstallProtocol Guid" else broker
    wanted = case.null if kind == NULL else case.others[kind]
    arguments = list(case.arguments(broker.supervisor))
    pointer = make_pointer(broker.supervisor, kind, case.size, PLACES)
    arguments[case.position] = (pointer + case.shift) & MAX if kind != NULL else pointer
    found = broker.outcome(case.service, *arguments)
    assert found == (0 if wanted == DONE else wanted)


def test_the_broker_is_whole_afterwards(broker: Broker) -> None:
    test_the_way_in_works(broker)
    name, place = page_of(broker.supervisor, b"a GUID of its own"[:16]), zero(broker.supervisor)
    assert broker.call(INSTALL, place, name, 0, 0x4242) == 0
    handle = broker.supervisor.memory.read_u64(place)
    assert broker.call(HANDLE, handle, name, place + 8) == 0
    assert struct.unpack("<QQ", broker.supervisor.memory.read(place, 16)) == (handle, 0x4242)
