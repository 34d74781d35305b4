"""Every pointer of every system call and request, against every class of bad pointer (syscall-abi.md §5 to §7).

What is expected follows from the role of the argument. The pointer check asks only whose the pages are, all of
them alike; it does not ask whether they are present or may be written. What passes it and is then touched by
ring 0 in vain is a page fault of the supervisor itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from mmsupervisor.abi.profile import NEWEST_RELEASE
from mmsupervisor.abi.requests import REQUESTS
from mmsupervisor.abi.system_calls import SYSTEM_CALLS, CallNumber, Kind, Support
from mmsupervisor.core.entry import Core
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.guid import ZERO_GUID
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.model import AccessAttr, PolicyRoot, RootType
from tests.core import small
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
from tests.core.small import SOMEBODY, put_guid, request, system_call, unblock_bytes, user_page

C = CallNumber
S = Status
PLACES = Places(small.FREE_RAM, small.HOLE, small.MMIO)
POINTERS = {Kind.POINTER, Kind.GUID, Kind.CODE, Kind.HANDLE}

OK = "returns"
RING0 = "MM-1302"
"""Outcomes beside a fatal status: the call returns; ring 0 itself faults."""

Outcome = str | Status
DENIED = S.SECURITY_VIOLATION


def outcomes(default: Outcome, **named: Outcome) -> dict[str, Outcome]:
    """One outcome for each class: those whose pages are not ring 3's share one."""
    names = {
        "null": NULL, "closed": CLOSED, "hole": HOLE, "mmio": MMIO, "hob": HOB, "unaligned": UNALIGNED,
        "freed": FREED, "supervisor": SUPERVISOR, "mixed": MIXED, "both": USER_SUPERVISOR, "low": LOW,
        "far": NON_CANONICAL, "wrapping": WRAPPING,
    }  # fmt: skip
    return dict.fromkeys(CLASSES, default) | {names[key]: value for key, value in named.items()}


# What becomes of a pointer, by what the supervisor does with it after the check.
KEPT = outcomes(DENIED, closed=OK, hole=OK, mmio=OK, hob=OK, unaligned=OK)
KEPT_OR_ZERO = KEPT | {NULL: OK}
READ = KEPT | {CLOSED: RING0, HOLE: RING0}
READ_OR_ZERO = READ | {NULL: OK}
WRITTEN = READ | {HOB: RING0}
JUDGED = READ | {
    NULL: S.INVALID_PARAMETER, LOW: S.INVALID_PARAMETER, NON_CANONICAL: S.UNSUPPORTED, WRAPPING: S.BUFFER_TOO_SMALL,
    USER_SUPERVISOR: S.NO_MAPPING, MIXED: S.NO_MAPPING,
}  # fmt: skip
"""As READ, where the status of the pointer check itself is the call's; a size without a pointer is refused."""
NEVER_USED = outcomes(OK)
OPAQUE = outcomes(OK, null=S.INVALID_PARAMETER)
LOOKED_UP = outcomes(S.INVALID_PARAMETER)
FREED_PAGES = outcomes(DENIED, unaligned=S.INVALID_PARAMETER, closed=S.NOT_FOUND, hole=S.NOT_FOUND, mmio=S.NOT_FOUND)

Prepare = Callable[[Supervisor], tuple[int, int, int]]


@dataclass(frozen=True)
class Argument:
    """One pointer argument of a call.

    Attributes:
        size: Bytes that the call takes there.
        expected: What becomes of each class.
        prepare: Makes good arguments, of which this one is then replaced.
        enabled: Whether the handler profile must be on.
    """

    size: int
    expected: dict[str, Outcome]
    prepare: Prepare
    enabled: bool = field(default=False)


def good(supervisor: Supervisor) -> tuple[int, int, int]:
    page = user_page(supervisor)
    return page, page, page


def guid_table(supervisor: Supervisor) -> tuple[int, int, int]:
    return put_guid(supervisor, SOMEBODY), user_page(supervisor), 16


def procedure(supervisor: Supervisor) -> tuple[int, int, int]:
    page = user_page(supervisor)
    supervisor.jumps.ap = page
    return page, 1, page


def two_pages(supervisor: Supervisor) -> tuple[int, int, int]:
    return user_page(supervisor, 2), 2, 0


def a_register(_supervisor: Supervisor) -> tuple[int, int, int]:
    return 0x7777, 38, 0


def a_named_register(supervisor: Supervisor) -> tuple[int, int, int]:
    supervisor.policy = CompiledPolicy(assemble((PolicyRoot(RootType.IO, AccessAttr.DENY),)))
    system_call(supervisor, C.SMM_SC_SVST_READ, 0x7777, 38, 0)
    return 0x7777, 8, user_page(supervisor)


def begun(first: CallNumber, size: int = 0) -> Prepare:
    """The first half of a pair was made with a GUID of zeros, as lies in fresh pages and devices."""

    def prepare(supervisor: Supervisor) -> tuple[int, int, int]:
        guid = user_page(supervisor)
        supervisor.memory.fill(guid, PAGE_SIZE)
        supervisor.memory.fill(supervisor.hob_list, 16)
        system_call(supervisor, first, guid, 0x1111, 0x2222)
        if first is C.SMM_MM_HDL_UNREG_1:
            system_call(supervisor, C.SMM_MM_HDL_REG_1, guid, 0x1111, 0x2222)
            system_call(supervisor, C.SMM_MM_HDL_REG_2, guid, 0, 0)
            system_call(supervisor, first, guid, 0x1111, 0)
        return guid, 0, size

    return prepare


ARGUMENTS: dict[tuple[CallNumber, int], Argument] = {
    (C.SMM_SC_SVST_READ, 0): Argument(8, OPAQUE, a_register),
    (C.SMM_SC_SVST_READ_2, 0): Argument(8, OPAQUE, a_named_register),
    (C.SMM_SC_SVST_READ_2, 2): Argument(8, WRITTEN, a_named_register),
    (C.SMM_REG_HDL_JMP, 0): Argument(8, KEPT, good),
    (C.SMM_REG_HDL_JMP, 1): Argument(8, KEPT, good),
    (C.SMM_INST_CONF_T, 0): Argument(16, READ, guid_table),
    (C.SMM_INST_CONF_T, 1): Argument(16, KEPT, guid_table),
    (C.SMM_FREE_PAGE, 0): Argument(2 * PAGE_SIZE, FREED_PAGES, two_pages),
    (C.SMM_START_AP_PROC, 0): Argument(8, KEPT, procedure),
    (C.SMM_START_AP_PROC, 2): Argument(1, KEPT_OR_ZERO | {USER_SUPERVISOR: OK, MIXED: OK}, procedure),
    (C.SMM_REG_HNDL, 0): Argument(8, KEPT, guid_table),
    (C.SMM_REG_HNDL, 1): Argument(16, READ_OR_ZERO, good),
    (C.SMM_UNREG_HNDL, 0): Argument(8, LOOKED_UP, good),
    (C.SMM_SET_CPL3_TBL, 0): Argument(0xF0, WRITTEN, good),
    (C.SMM_INST_PROT, 0): Argument(16, READ, good),
    (C.SMM_ERR_RPT_JMP, 0): Argument(8, KEPT, good),
    (C.SMM_MM_HDL_REG_1, 0): Argument(16, READ, good, enabled=True),
    (C.SMM_MM_HDL_REG_1, 1): Argument(8, NEVER_USED, guid_table, enabled=True),
    (C.SMM_MM_HDL_REG_1, 2): Argument(8, NEVER_USED, guid_table, enabled=True),
    (C.SMM_MM_HDL_REG_2, 0): Argument(16, READ, begun(C.SMM_MM_HDL_REG_1), enabled=True),
    (C.SMM_MM_HDL_REG_2, 1): Argument(8, JUDGED, begun(C.SMM_MM_HDL_REG_1, 8), enabled=True),
    (C.SMM_MM_HDL_UNREG_1, 0): Argument(16, READ, good, enabled=True),
    (C.SMM_MM_HDL_UNREG_1, 1): Argument(8, NEVER_USED, guid_table, enabled=True),
    (C.SMM_MM_HDL_UNREG_2, 0): Argument(16, READ, begun(C.SMM_MM_HDL_UNREG_1), enabled=True),
    (C.SMM_MM_HDL_UNREG_2, 1): Argument(
        8, {kind: S.NOT_FOUND if what in (OK, RING0) else what for kind, what in JUDGED.items()},
        begun(C.SMM_MM_HDL_UNREG_1, 8), enabled=True,
    ),
    (C.SMM_MM_UNBLOCKED, 0): Argument(8, outcomes("0", mmio="1"), lambda _: (0, 8, 0)),
    (C.SMM_MM_IS_COMM_BUFF, 0): Argument(8, outcomes("SECURITY_VIOLATION returned"), lambda _: (0, 8, 0)),
}  # fmt: skip

RETURNED = {OK: None, "0": 0, "1": 1, "SECURITY_VIOLATION returned": int(DENIED)}
CASES = [(call, position, kind) for call, position in ARGUMENTS for kind in CLASSES]


def test_no_combination_is_missing() -> None:
    wanted = {
        (CallNumber(number), position)
        for number, call in SYSTEM_CALLS.items()
        if call.support is Support.SERVED
        for position, argument in enumerate(call.arguments)
        if argument.kind in POINTERS
    }
    assert set(ARGUMENTS) == wanted
    for place, argument in ARGUMENTS.items():
        assert set(argument.expected) == set(CLASSES), place


@pytest.mark.parametrize(
    ("call", "position", "kind"), CASES, ids=[f"{call.name}-{place}-{kind}" for call, place, kind in CASES]
)
def test_system_calls(supervisor: Supervisor, call: CallNumber, position: int, kind: str) -> None:
    argument = ARGUMENTS[call, position]
    if argument.enabled:
        supervisor.profile = replace(NEWEST_RELEASE, handler_profile=True)
    arguments = list(argument.prepare(supervisor))
    arguments[position] = make_pointer(supervisor, kind, argument.size, PLACES)
    wanted = argument.expected[kind]
    if wanted in RETURNED:
        result = system_call(supervisor, call, *arguments)
        assert RETURNED[wanted] in (None, result)  # type: ignore[index]
        assert supervisor.stop is None
        return
    with pytest.raises(SystemStopError) as caught:
        system_call(supervisor, call, *arguments)
    finding = caught.value.finding
    if wanted == RING0:
        assert (finding.kind.number, finding.vector) == ("MM-1302", 14), str(finding)
    else:
        assert finding.status == wanted, str(finding)
        assert finding.kind.number in ("MM-1002", "MM-1004")


@pytest.mark.parametrize("call", sorted({call for call, _ in ARGUMENTS}))
def test_a_refused_call_changes_nothing(supervisor: Supervisor, call: CallNumber) -> None:
    """Whatever a call registers, allocates or frees, it does not do so when a pointer is refused."""
    supervisor.profile = replace(NEWEST_RELEASE, handler_profile=True)
    for (other, position), argument in ARGUMENTS.items():
        if other is not call or DENIED not in argument.expected.values():
            continue
        arguments = list(argument.prepare(supervisor))
        arguments[position] = make_pointer(supervisor, SUPERVISOR, argument.size, PLACES)
        before = fingerprint(supervisor)
        with pytest.raises(SystemStopError):
            system_call(supervisor, call, *arguments)
        supervisor.stop = None
        assert fingerprint(supervisor) == before


def test_ring_3_may_free_its_copy_of_the_hob_list(supervisor: Supervisor) -> None:
    assert system_call(supervisor, C.SMM_FREE_PAGE, supervisor.hob_list, 1) == 0


def test_ring_0_reads_and_writes_devices_as_devices(supervisor: Supervisor) -> None:
    """A GUID in a device's registers is one of zeros here; a save-state value goes to the device."""
    assert system_call(supervisor, C.SMM_INST_PROT, small.MMIO + 4) == 0
    assert supervisor.protocols.has(ZERO_GUID)
    *arguments, _ = a_named_register(supervisor)
    assert system_call(supervisor, C.SMM_SC_SVST_READ_2, *arguments, small.MMIO + 3) == 0


def fingerprint(supervisor: Supervisor) -> tuple[object, ...]:
    return (
        list(supervisor.pages.records),
        [handler.handle for handler in supervisor.handlers.all()],
        supervisor.protocols.handles,
        dict(supervisor.configuration),
        supervisor.jumps.central,
        supervisor.jumps.user_table,
        supervisor.jumps.error_report,
        list(supervisor.profile_records),
        supervisor.save_state_request.register,
        set(supervisor.calls_made),
    )


# Requests: physical addresses from outside

UNBLOCKED_STARTS: dict[str, Outcome] = outcomes(
    DENIED,
    null=OK,
    far=S.UNSUPPORTED,
    wrapping=S.UNSUPPORTED,
    both=S.NO_MAPPING,
    mixed=S.NO_MAPPING,
    closed=OK,
    hole=OK,
)
BLOCKS = ("supervisor mailbox", "user mailbox", "supervisor buffer", "user buffer")
NEW = (0x94_0000, 0x94_1000, 0x90_0000, 0x92_0000)
REQUEST_POINTERS = {1: ("start",), 2: (), 3: (), 4: BLOCKS}


def start_of(supervisor: Supervisor, kind: str, pages: int) -> int:
    """Where a request's region begins for a class of pointer."""
    inside = {SUPERVISOR, FREED, HOB}
    if kind in inside:
        return make_pointer(supervisor, kind, 8, PLACES)
    if kind == USER_SUPERVISOR:
        return small.MMRAM - PAGE_SIZE * (pages - 1) if pages > 1 else small.MMRAM - PAGE_SIZE // 2
    if kind == MIXED:
        inner = 0xA0_0000
        small.unblock(supervisor, inner, 1)
        return inner - PAGE_SIZE if pages > 2 else inner - PAGE_SIZE // 2
    if kind == UNALIGNED:
        return small.FREE_RAM + 8
    if kind == WRAPPING:
        return (1 << 64) - PAGE_SIZE
    return make_pointer(supervisor, kind, 8, PLACES)


def test_no_request_is_missing() -> None:
    assert set(REQUEST_POINTERS) == set(REQUESTS)
    assert set(UNBLOCKED_STARTS) == set(CLASSES)


def check(core: Core, kind: str, pages: int, send: Callable[[int], int]) -> None:
    supervisor = core.supervisor
    start = start_of(supervisor, kind, pages)
    wanted = UNBLOCKED_STARTS[kind]
    if kind == MIXED and pages <= 2:
        wanted = S.SECURITY_VIOLATION  # its end falls inside the region that is open
    result = send(start)
    assert result == (0 if wanted == OK else wanted)
    opened = [region for region in supervisor.unblocked.regions if (region.start, region.pages) == (start, pages)]
    assert bool(opened) is (wanted == OK)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("pages", [1, 3])
def test_unblock_requests(core: Core, kind: str, pages: int) -> None:
    check(core, kind, pages, lambda start: request(core, 1, unblock_bytes(start, pages)).result)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("which", range(4), ids=BLOCKS)
def test_comm_update_requests(core: Core, kind: str, which: int) -> None:
    pages = (1, 1, 16, 16)

    def send(start: int) -> int:
        places = [start if n == which else NEW[n] for n in range(4)]
        blocks = [unblock_bytes(place, pages[n], attribute=0x44000, virtual=place) for n, place in enumerate(places)]
        return request(core, 4, b"".join(blocks)).result

    if kind == HOLE and which in (0, 2):
        # The answer itself goes into the hole; nobody can read it.
        send_into_hole(core, which, pages)
        return
    check(core, kind, pages[which], send)


def send_into_hole(core: Core, which: int, pages: tuple[int, ...]) -> None:
    places = [small.HOLE if n == which else NEW[n] for n in range(4)]
    blocks = [unblock_bytes(place, pages[n], attribute=0x44000, virtual=place) for n, place in enumerate(places)]
    small.post(
        core.supervisor,
        core.supervisor.supervisor,
        small.message(small.REQUEST, small.pack_request(4, b"".join(blocks))),
    )
    small.serve_mmi(core.supervisor, "test")
    assert core.supervisor.lifecycle.comm_moved
