"""MMI handler lists, MmiManage and its status tables (docs/reference/boot-flow.md §10.2); the protocol database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmsupervisor.core.errors import CoreError
from mmsupervisor.core.handlers import HandlerDatabase, MmiHandler, combine
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.status import Status
from tests.core.small import OTHER, SOMEBODY, bugs

S = Status
PENDING, QUIESCED, MORE = S.INTERRUPT_PENDING, S.WARN_INTERRUPT_SOURCE_QUIESCED, S.WARN_INTERRUPT_SOURCE_PENDING
NONE = S.NOT_FOUND


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(
    ("before", "status", "guided_result", "root_result"),
    [
        (NONE, S.SUCCESS, (S.SUCCESS, True), (S.SUCCESS, False)),
        (MORE, S.SUCCESS, (S.SUCCESS, True), (S.SUCCESS, False)),
        (NONE, PENDING, (PENDING, True), (PENDING, False)),
        (S.SUCCESS, PENDING, (PENDING, True), (S.SUCCESS, False)),
        (MORE, PENDING, (PENDING, True), (PENDING, False)),
        (NONE, QUIESCED, (S.SUCCESS, False), (S.SUCCESS, False)),
        (PENDING, QUIESCED, (S.SUCCESS, False), (S.SUCCESS, False)),
        (NONE, MORE, (MORE, False), (MORE, False)),
        (S.SUCCESS, MORE, (S.SUCCESS, False), (S.SUCCESS, False)),
        (PENDING, MORE, (MORE, False), (MORE, False)),
        (NONE, S.ABORTED, (NONE, False), (NONE, False)),
        (S.SUCCESS, S.ABORTED, (S.SUCCESS, False), (S.SUCCESS, False)),
        (MORE, S.WARN_UNKNOWN_GLYPH, (MORE, False), (MORE, False)),
        (NONE, 0x1234, (NONE, False), (NONE, False)),
        (NONE, S.NOT_READY, (NONE, False), (NONE, False)),
    ],
)
def test_status_table(
    before: int, status: int, guided_result: tuple[int, bool], root_result: tuple[int, bool], guided: bool
) -> None:
    assert combine(before, status, guided=guided) == (guided_result if guided else root_result)


@pytest.fixture
def handlers(supervisor: Supervisor) -> HandlerDatabase:
    return supervisor.handlers


def serve(_buffer: int, size: int) -> tuple[int, int]:
    return 0, size


class Calls:
    """Answers handlers by routine and remembers the order."""

    def __init__(self, answers: dict[int, int | Callable[[], int]] | None = None) -> None:
        self.answers = answers or {}
        self.seen: list[int] = []

    def __call__(self, handler: MmiHandler) -> int:
        self.seen.append(handler.routine)
        answer = self.answers.get(handler.routine, int(Status.WARN_INTERRUPT_SOURCE_QUIESCED))
        return answer() if callable(answer) else answer


def test_registration_order_within_a_guid(handlers: HandlerDatabase) -> None:
    for routine in (1, 2, 3):
        handlers.register(SOMEBODY, routine=routine)
    handlers.register(OTHER, routine=9)
    calls = Calls()
    assert handlers.manage(SOMEBODY, user=True, call=calls) == Status.SUCCESS
    assert calls.seen == [1, 2, 3]


def test_a_guided_dispatch_stops_at_success(handlers: HandlerDatabase) -> None:
    for routine in (1, 2, 3):
        handlers.register(SOMEBODY, routine=routine)
    calls = Calls({1: Status.ABORTED, 2: 0})
    assert handlers.manage(SOMEBODY, user=True, call=calls) == Status.SUCCESS
    assert calls.seen == [1, 2]


def test_root_handlers_all_run(handlers: HandlerDatabase) -> None:
    for routine in (1, 2, 3):
        handlers.register(None, routine=routine)
    calls = Calls({1: 0, 2: PENDING, 3: Status.ABORTED})
    assert handlers.manage(None, user=True, call=calls) == Status.SUCCESS
    assert calls.seen == [1, 2, 3]


def test_no_handler_is_not_found(handlers: HandlerDatabase) -> None:
    assert handlers.manage(None, user=True, call=Calls()) == Status.NOT_FOUND
    assert handlers.depth == 0, "the root list always exists: no early exit"


def test_handlers_of_the_other_owner_are_passed_over(handlers: HandlerDatabase) -> None:
    handlers.register(SOMEBODY, supervisor=serve)
    handlers.register(SOMEBODY, routine=1)
    calls = Calls()
    handlers.manage(SOMEBODY, user=True, call=calls)
    assert calls.seen == [1]
    handlers.manage(SOMEBODY, user=False, call=calls)
    assert calls.seen == [1, 0]
    handlers.register(OTHER, routine=2)
    assert handlers.manage(OTHER, user=False, call=calls) == Status.NOT_FOUND
    assert handlers.depth == 0, "no handler for this owner is no early exit"


def test_a_handler_may_register_another_that_is_then_called(handlers: HandlerDatabase) -> None:
    def add() -> int:
        handlers.register(SOMEBODY, routine=2)
        return Status.ABORTED

    handlers.register(SOMEBODY, routine=1)
    calls = Calls({1: add, 2: 0})
    assert handlers.manage(SOMEBODY, user=True, call=calls) == Status.SUCCESS
    assert calls.seen == [1, 2]


# Unregistration


def handles(database: HandlerDatabase) -> list[int]:
    return [handler.handle for handler in database.all() if handler.supervisor is None]


def test_unregistration_outside_a_dispatch_is_at_once(handlers: HandlerDatabase) -> None:
    one, two = (handlers.register(SOMEBODY, routine=n).handle for n in (1, 2))
    handlers.unregister(one, user=True)
    assert handles(handlers) == [two]
    handlers.unregister(two, user=True)
    assert handles(handlers) == []
    assert handlers.manage(SOMEBODY, user=True, call=Calls()) == Status.NOT_FOUND
    assert handlers.depth == 1, "the entry went with its last handler: an unknown GUID"


def test_during_a_dispatch_it_is_deferred_and_the_handler_still_called(handlers: HandlerDatabase) -> None:
    two = handlers.register(SOMEBODY, routine=1).handle, handlers.register(SOMEBODY, routine=2).handle

    def drop() -> int:
        handlers.unregister(two[1], user=True)
        return Status.ABORTED

    calls = Calls({1: drop, 2: 0})
    handlers.manage(SOMEBODY, user=True, call=calls)
    assert calls.seen == [1, 2]
    assert handles(handlers) == [two[0]]


def test_a_handler_may_unregister_itself(handlers: HandlerDatabase) -> None:
    handle = handlers.register(None, routine=1).handle
    calls = Calls({1: lambda: handlers.unregister(handle, user=True) or 0})
    handlers.manage(None, user=True, call=calls)
    handlers.manage(None, user=True, call=calls)
    assert calls.seen == [1]


def test_nested_dispatches_defer_to_the_outermost(handlers: HandlerDatabase) -> None:
    inner = handlers.register(OTHER, routine=2).handle
    handlers.register(SOMEBODY, routine=1)
    seen = []

    def nest() -> int:
        handlers.manage(OTHER, user=True, call=Calls({2: lambda: handlers.unregister(inner, user=True) or 0}))
        seen.append(inner in handles(handlers))
        return 0

    handlers.manage(SOMEBODY, user=True, call=Calls({1: nest}))
    assert seen == [True]
    assert inner not in handles(handlers)


def test_a_handle_is_used_again_only_after_it_is_free(handlers: HandlerDatabase) -> None:
    one = handlers.register(SOMEBODY, routine=1).handle
    assert handlers.register(SOMEBODY, routine=1).handle != one
    handlers.unregister(one, user=True)
    assert handlers.register(SOMEBODY, routine=1).handle == one


@pytest.mark.parametrize("what", ["unknown", "supervisor"])
def test_what_ring_3_cannot_unregister(handlers: HandlerDatabase, what: str) -> None:
    handle = 0x1234 if what == "unknown" else handlers.register(SOMEBODY, supervisor=serve).handle
    with pytest.raises(CoreError) as caught:
        handlers.unregister(handle, user=True)
    assert caught.value.status is Status.INVALID_PARAMETER


def test_handles_are_supervisor_pointers(supervisor: Supervisor) -> None:
    handle = supervisor.handlers.register(SOMEBODY, routine=1).handle
    assert supervisor.memory.state(handle).attributes & Attribute.SP


# The leak (boot-flow.md, surprise 6)


@pytest.mark.parametrize("early", ["unknown GUID", "bad buffer"])
def test_an_early_exit_leaks_the_depth_for_ever(supervisor: Supervisor, early: str) -> None:
    handlers = supervisor.handlers
    one = handlers.register(SOMEBODY, routine=1).handle
    if early == "unknown GUID":
        assert handlers.manage(OTHER, user=True, call=Calls()) == Status.NOT_FOUND
    else:
        assert handlers.manage(SOMEBODY, user=None, call=Calls()) == Status.NOT_FOUND
    assert handlers.depth == 1
    assert bugs(supervisor)[-1] == "boot-flow.md §12.6"
    handlers.unregister(one, user=True)
    calls = Calls({1: 0})
    assert handlers.manage(SOMEBODY, user=True, call=calls) == Status.SUCCESS
    assert calls.seen == [1], "flagged, and called all the same"
    assert handles(handlers) == [one]


def test_without_an_early_exit_nothing_leaks(supervisor: Supervisor) -> None:
    supervisor.handlers.register(SOMEBODY, routine=1)
    supervisor.handlers.manage(SOMEBODY, user=True, call=Calls({1: Status.ABORTED}))
    assert supervisor.handlers.depth == 0
    assert "boot-flow.md §12.6" not in bugs(supervisor)


# The supervisor's protocol database (gmmst.md §5.8)


def test_every_install_makes_a_handle_and_counts(supervisor: Supervisor) -> None:
    database = supervisor.protocols
    begin = database.handles
    first, second = database.install(SOMEBODY), database.install(SOMEBODY)
    assert first != second
    assert database.handles == begin + 2
    assert database.instances(SOMEBODY) == 2
    assert database.has(SOMEBODY)
    assert not database.has(OTHER)
    assert SOMEBODY in database.installed()


def test_uninstall_takes_one_instance_and_empty_handles(supervisor: Supervisor) -> None:
    database = supervisor.protocols
    begin = database.handles
    first = database.install(SOMEBODY)
    assert database.install(OTHER, first) == first
    database.uninstall(SOMEBODY, first)
    assert not database.has(SOMEBODY)
    assert SOMEBODY not in database.installed()
    assert database.handles == begin + 1
    database.uninstall(OTHER, first)
    assert database.handles == begin


def test_notifies_are_called_in_order_at_later_installs_only(supervisor: Supervisor) -> None:
    database = supervisor.protocols
    seen: list[str] = []
    database.install(SOMEBODY)
    database.notify(SOMEBODY, lambda: seen.append("one"))
    database.notify(SOMEBODY, lambda: seen.append("two"))
    assert seen == []
    database.install(SOMEBODY)
    database.install(OTHER)
    assert seen == ["one", "two"]
