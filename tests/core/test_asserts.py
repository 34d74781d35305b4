"""ASSERTs of the core: a DEBUG build stands still at each, a RELEASE build goes on as other tests show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mmsupervisor.abi.profile import NEWEST_RELEASE, PROFILES
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import SystemReset
from mmsupervisor.core.findings import SystemStopError
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.core.telemetry import TelemetryReported
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import GuidHob, ResourceType
from mmsupervisor.pi.status import Status
from mmsupervisor.pi.supervisor_hobs import ProtectedRegion, SupervisorCommBuffer, UserCommBuffer, hob_for
from tests.core import files, small
from tests.core.files import core_volume, driver_file
from tests.core.small import (
    FREE_RAM,
    OTHER,
    SOMEBODY,
    Small,
    message,
    message_v3,
    post,
    register_user,
    send_supervisor,
    send_user,
    system_call,
    unblock_bytes,
)
from tests.pi.pe_builder import BuiltSection, PeBuilder

DEBUG = PROFILES["newest-debug"]
UNBLOCK_GUID = known_guid("gMmSupvUnblockRegionHobGuid")
ROUTINE = 0x8000
FOR_NOBODY = unblock_bytes(FREE_RAM, 1)[:40] + bytes(16)

Act = Callable[[Core], object]
Change = Callable[[Small], object]


def answer(status: int, size: int | None = None) -> Act:
    """Send a message to a handler that returns a status, and perhaps a size."""

    def act(core: Core) -> None:
        def serve(_handle: int, _context: int, _buffer: int, pointer: int, _routine: int) -> int:
            if size is not None:
                core.supervisor.memory.write_u64(pointer, size)
            return status

        register_user(core.supervisor, SOMEBODY, ROUTINE, serve)
        send_user(core, message(SOMEBODY, b"x"))

    return act


def in_handler(number: int, *arguments: int) -> Act:
    """Let a handler make a system call."""

    def act(core: Core) -> None:
        def serve(*_: int) -> int:
            system_call(core.supervisor, number, *arguments)
            return 0

        register_user(core.supervisor, SOMEBODY, ROUTINE, serve)
        send_user(core, message(SOMEBODY, b"x"))

    return act


def root_answer(core: Core) -> None:
    register_user(core.supervisor, None, ROUTINE, int(Status.DEVICE_ERROR))
    serve_mmi(core.supervisor, "test")


def supervisor_answer(core: Core) -> None:
    core.supervisor.handlers.register(OTHER, supervisor=lambda _buffer, size: (Status.DEVICE_ERROR, size))
    send_supervisor(core, message(OTHER, b"x"))


def runtime_message(core: Core) -> None:
    core.supervisor.lifecycle.runtime = True
    post(core.supervisor, core.supervisor.supervisor, message(OTHER, b"x"))
    serve_mmi(core.supervisor, "test")


def unblock_twice(core: Core) -> None:
    small.request(core, 1, unblock_bytes(FREE_RAM, 1))
    small.request(core, 1, unblock_bytes(FREE_RAM, 1, memory_type=0))


def bad_call(core: Core) -> None:
    system_call(core.supervisor, CallNumber.SMM_REG_HNDL, 0, 0)


def unknown_call(core: Core) -> None:
    system_call(core.supervisor, 0x4242)


ACTS: dict[str, tuple[str, Act]] = {
    "message too long": ("communicate.md §3.1", lambda core: send_user(core, message(SOMEBODY, b"", 0xFFE9))),
    "supervisor message too long": (
        "communicate.md §3.1", lambda core: send_supervisor(core, message(SOMEBODY, b"", 0xFFE9)),
    ),
    "V3 on the supervisor channel": (
        "communicate.md §3.1", lambda core: send_supervisor(core, message_v3(OTHER, b"x")),
    ),
    "answer too long": ("communicate.md §3.1", answer(0, 0x1_0000)),
    "answer overflows": ("communicate.md §3.1", answer(0, (1 << 64) - 1)),
    "handler's error": ("boot-flow.md §10.2", answer(int(Status.DEVICE_ERROR))),
    "root handler's error": ("boot-flow.md §10.2", root_answer),
    "supervisor handler's error": ("boot-flow.md §10.2", supervisor_answer),
    "supervisor channel at runtime": ("communicate.md §13.2", runtime_message),
    "port that is not aligned": (
        "syscall-abi.md §7.3", in_handler(CallNumber.SMM_SC_IO_READ, 0x71, 1),
    ),
    "unblock, another descriptor": ("unblock.md §5 rule 11", unblock_twice),
    "unblock, no pages": ("unblock.md §5 rule 11", lambda core: small.request(core, 1, unblock_bytes(FREE_RAM, 0))),
}  # fmt: skip

GOOD: dict[str, Act] = {
    "message": answer(0),
    "interrupt pending": answer(int(Status.INTERRUPT_PENDING)),
    "warning": answer(int(Status.WARN_INTERRUPT_SOURCE_PENDING)),
    "unblock in MMRAM (rule 3)": lambda core: small.request(core, 1, unblock_bytes(small.MMRAM, 1)),
    "unblock for nobody (rule 2)": lambda core: small.request(core, 1, FOR_NOBODY),
    "aligned port": in_handler(CallNumber.SMM_SC_IO_WRITE, 0x72, 1, 0),
    "byte at an odd port": in_handler(CallNumber.SMM_SC_IO_READ, 0x71, 0),
    "a GUID that nobody knows": lambda core: send_user(core, message(OTHER, b"x")),
}


def comm(*, user: int = small.USER_BUFFER, pages: int = 16) -> Change:
    def change(platform: Small) -> None:
        platform.comm = [
            hob_for(SupervisorCommBuffer(small.SUPERVISOR_BUFFER, 16, small.SUPERVISOR_STATUS)),
            hob_for(UserCommBuffer(user, pages, small.USER_STATUS)),
        ]

    return change


def with_policy(platform: Small) -> None:
    platform.add_volume(core_volume(driver_file(0)))


def no_policy(platform: Small) -> None:
    platform.volumes.clear()
    platform.extra.clear()


def and_extra(*records: GuidHob) -> Change:
    return lambda platform: platform.extra.extend(records)


def odd_mmio(platform: Small) -> None:
    platform.resources[-1] = small.memory_resource(small.MMIO + 8, 0x1000, ResourceType.MEMORY_MAPPED_IO)


def no_memory_around_mmram(platform: Small) -> None:
    del platform.resources[1]


CHANGES: dict[str, tuple[str, Change]] = {
    "no policy": ("boot-flow.md §4.3 step 6", no_policy),
    "user buffer in MMRAM": ("boot-flow.md §4 step 12", comm(user=small.MMRAM)),
    "no user buffer": ("boot-flow.md §4 step 12", comm(user=0)),
    "unblock HOB for nobody": ("unblock.md §3", and_extra(GuidHob(UNBLOCK_GUID, FOR_NOBODY))),
    "unblock HOB in MMRAM": ("unblock.md §3", and_extra(GuidHob(UNBLOCK_GUID, unblock_bytes(small.MMRAM, 1)))),
    "protected region of no type": ("isolation-policy.md §14", and_extra(hob_for(ProtectedRegion(2, FREE_RAM, 1)))),
    "memory map that does not nest": ("memory.md §7", no_memory_around_mmram),
    "MMIO that is not aligned": ("memory.md surprise 9", odd_mmio),
}  # fmt: skip


@pytest.fixture
def debug(small: Small) -> Small:
    with_policy(small)
    small.profile = DEBUG
    return small


def assert_stands_still(error: SystemStopError, rule: str) -> None:
    assert error.finding.kind.number == "MM-1303"
    assert error.finding.rule == f"{rule}: ASSERT"


@pytest.mark.parametrize("name", ACTS)
def test_a_debug_build_stands_still(debug: Small, name: str) -> None:
    rule, act = ACTS[name]
    core = debug.start()
    with pytest.raises(SystemStopError) as caught:
        act(core)
    assert_stands_still(caught.value, rule)
    assert core.supervisor.stop is caught.value.finding
    kinds = {type(record.event) for record in core.supervisor.log.records}
    assert TelemetryReported not in kinds, "it makes no report"
    (reset,) = small.events(core.supervisor, SystemReset)
    assert reset == SystemReset("none", "MM-1303")


@pytest.mark.parametrize("name", ACTS)
def test_a_release_build_goes_on(small: Small, name: str) -> None:
    with_policy(small)
    core = small.start()
    ACTS[name][1](core)
    assert core.supervisor.stop is None


@pytest.mark.parametrize("name", GOOD)
def test_a_debug_build_goes_on_where_nothing_is_asserted(debug: Small, name: str) -> None:
    core = debug.start()
    GOOD[name](core)
    assert core.supervisor.stop is None


@pytest.mark.parametrize("name", CHANGES)
def test_a_debug_build_stands_still_at_entry(debug: Small, name: str) -> None:
    rule, change = CHANGES[name]
    change(debug)
    with pytest.raises(SystemStopError) as caught:
        debug.start()
    assert_stands_still(caught.value, rule)


def test_a_protected_region_that_is_merely_not_supported_is_no_assert(debug: Small) -> None:
    debug.extra.append(hob_for(ProtectedRegion(1, FREE_RAM, 1)))
    assert "MM-2007" in small.finding_numbers(debug.start().supervisor)


@pytest.mark.parametrize("call", [bad_call, unknown_call])
def test_a_fatal_call_is_an_assert_too(debug: Small, call: Act) -> None:
    """Its finding keeps its own number; what follows is no reset (telemetry.md §7)."""
    core = debug.start()
    with pytest.raises(SystemStopError) as caught:
        call(core)
    assert caught.value.finding.kind.number in ("MM-1002", "MM-1003")
    assert core.supervisor.reset == "none"


def test_a_fault_of_ring_0_is_none(debug: Small) -> None:
    core = debug.start()
    with pytest.raises(SystemStopError) as caught:
        system_call(core.supervisor, CallNumber.SMM_INST_PROT, FREE_RAM)
    assert caught.value.finding.vector == 14
    assert core.supervisor.reset == "warm"


@pytest.fixture
def dispatching(small: Small) -> Callable[[files.FileSpec], Core]:
    def dispatch(file: files.FileSpec) -> Core:
        small.add_volume(core_volume(file))
        small.profile = DEBUG
        core = small.start()
        core.dispatcher.dispatch()
        return core

    return dispatch


def test_dependency_expressions(dispatching: Callable[[files.FileSpec], Core]) -> None:
    with pytest.raises(SystemStopError) as caught:
        dispatching(driver_file(0, bytes([0x06]) + files.before(1)))
    assert_stands_still(caught.value, "boot-flow.md §6.2")
    assert caught.value.finding.subject == "D0"


def test_images_that_cannot_be_protected(dispatching: Callable[[files.FileSpec], Core]) -> None:
    image = PeBuilder(sections=[BuiltSection(".rdata", bytes(16), 0x4000_0040)]).build()
    with pytest.raises(SystemStopError) as caught:
        dispatching(driver_file(0, image=image))
    assert_stands_still(caught.value, "memory.md §5")


def test_images_that_are_not_loaded_at_all(dispatching: Callable[[files.FileSpec], Core]) -> None:
    core = dispatching(driver_file(0, image=b"no image"))
    assert core.supervisor.stop is None


def test_profiles_say_which_build_they_are() -> None:
    assert replace(NEWEST_RELEASE, name=DEBUG.name, debug=True) == DEBUG
    assert [profile.name for profile in PROFILES.values() if profile.debug] == ["newest-debug"]
