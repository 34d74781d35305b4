"""Who starts when, and what a load or an entry point that fails leaves (docs/reference/boot-flow.md §6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import DriverLoaded, DriverRefused
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.machine.memory import Attribute
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.pe import image_pages, parse_pe
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.status import Status
from tests.core import files
from tests.core.files import FALSE, TRUE, after, before, core_volume, driver_file, needs, protocol, volume
from tests.core.small import Small, bugs, events, finding_numbers, ring3, user_page
from tests.pi import pe_builder
from tests.pi.pe_builder import BuiltSection, PeBuilder

LOADED_IMAGE = known_guid("gEfiLoadedImageProtocolGuid")
CONFIGURATION = known_guid("gEfiMmConfigurationProtocolGuid")
SOR = bytes([0x09, 0x06, 0x08])


class Run:
    """A core whose drivers do what a test says when they are started."""

    def __init__(self, small: Small, depexes: list[bytes], *more: files.FileSpec) -> None:
        small.add_volume(core_volume(*files.drivers(depexes), *more))
        self.core: Core = small.start()
        self.started: list[str] = []
        self.actions: dict[str, Callable[[], int]] = {}
        double = ring3(self.core.supervisor)
        original = double.call

        def call(routine: int, arguments: tuple[int, ...], cpu: int, *, target: int = 0) -> int:
            original(routine, arguments, cpu, target=target)
            module = self.core.supervisor.modules.find(routine)
            assert module is not None
            assert module.entry == routine
            self.started.append(module.name)
            return self.actions.get(module.name, lambda: 0)()

        double.call = call  # type: ignore[method-assign]

    def installs(self, name: str, *numbers: int, status: int = 0) -> None:
        """Let a driver's entry point install protocols."""

        def act() -> int:
            for number in numbers:
                self.core.supervisor.protocols.install(protocol(number))
            return status

        self.actions[name] = act

    def dispatch(self) -> list[str]:
        self.status = self.core.dispatcher.dispatch()
        return self.started

    def never(self) -> list[str]:
        return [driver.name for driver in self.core.dispatcher.never_dispatched()]


def test_file_order(small: Small) -> None:
    assert Run(small, [TRUE, TRUE, TRUE]).dispatch() == ["D0", "D1", "D2"]


def test_a_pass_judges_all_before_any_runs(small: Small) -> None:
    """What a driver of this pass installs is seen in the next one, by file order."""
    run = Run(small, [needs(protocol(2)), TRUE, needs(protocol(1)), TRUE])
    run.installs("D1", 1)
    run.installs("D2", 2)
    assert run.dispatch() == ["D1", "D3", "D2", "D0"]


def test_chains_take_as_many_passes_as_they_need(small: Small) -> None:
    run = Run(small, [needs(protocol(n + 1)) for n in range(5)] + [TRUE])
    for n in range(6):
        run.installs(f"D{n}", n)
    assert run.dispatch() == ["D5", "D4", "D3", "D2", "D1", "D0"]


def test_before_and_after_chains(small: Small) -> None:
    run = Run(small, [after(4), before(4), before(1), after(0), TRUE, TRUE, after(2), before(0)])
    # For D4: D1 (itself after D2 and what is after D2), then D4, then D0 with its own neighbours.
    assert run.dispatch() == ["D2", "D6", "D1", "D4", "D7", "D0", "D3", "D5"]


def test_neighbours_run_in_file_order(small: Small) -> None:
    assert Run(small, [after(3), before(3), after(3), TRUE, before(3)]).dispatch() == ["D1", "D4", "D3", "D0", "D2"]


def test_neighbours_need_nothing_themselves_and_never_start_alone(small: Small) -> None:
    run = Run(small, [before(1), FALSE, after(1), before(9)])
    assert run.dispatch() == []
    assert run.never() == ["D0", "D1", "D2", "D3"]
    assert run.status == Status.SUCCESS


@pytest.mark.parametrize(
    "depexes",
    [
        [before(0)],
        [after(0)],
        [before(1), before(0)],
        [after(1), after(0)],
        [before(1), after(0)],
        [after(1), after(2), after(0)],
    ],
)
def test_cycles_never_start_and_never_hang(small: Small, depexes: list[bytes]) -> None:
    run = Run(small, [*depexes])
    assert run.dispatch() == []


def test_a_cycle_beside_a_driver_that_starts(small: Small) -> None:
    run = Run(small, [TRUE, after(0), after(1), before(2)])
    assert run.dispatch() == ["D0", "D1", "D3", "D2"]


def test_two_files_of_one_name_each_start_once(small: Small) -> None:
    twin = driver_file(7, name="Twin", file_guid=files.guid(0))
    assert Run(small, [TRUE, after(0)], twin).dispatch() == ["D0", "D1", "Twin"]


@pytest.mark.parametrize(
    ("depex", "starts"),
    [
        (TRUE, True),
        (FALSE, False),
        (SOR, False),
        (bytes([0x06]), False),  # no END
        (bytes([0x08]), False),  # nothing on the stack
        (bytes([0x06, 0x03, 0x08]), False),  # too few operands
        (bytes([0x06, 0x08, 0xFF]), True),  # what follows END is not looked at
        (bytes([0x07, 0x05, 0x08]), True),
        (bytes([0x42, 0x06, 0x08]), False),
        (bytes([0x06, 0x01]) + protocol(0).raw + bytes([0x03, 0x08]), False),  # AFTER not first: as PUSH
    ],
)
def test_expressions(small: Small, depex: bytes, starts: bool) -> None:
    assert Run(small, [depex]).dispatch() == (["D0"] if starts else [])


def test_after_that_is_not_first_counts_as_push(small: Small) -> None:
    run = Run(small, [bytes([0x06, 0x01]) + protocol(0).raw + bytes([0x03, 0x08]), TRUE])
    run.installs("D1", 0)
    assert run.dispatch() == ["D1", "D0"]


def test_expressions_see_loaded_image_and_configuration(small: Small) -> None:
    """Both are in the supervisor's database only; ring 3 cannot locate them."""
    assert Run(small, [needs(LOADED_IMAGE, CONFIGURATION)]).dispatch() == ["D0"]


def test_nothing_to_do(small: Small) -> None:
    run = Run(small, [])
    run.dispatch()
    assert run.status == Status.NOT_FOUND


def test_the_request_stays_until_all_ran(small: Small) -> None:
    run = Run(small, [TRUE, needs(protocol(0))])
    run.dispatch()
    assert run.core.dispatcher.requested
    run.core.supervisor.protocols.install(protocol(0))
    assert run.dispatch() == ["D0", "D1"]
    assert not run.core.dispatcher.requested
    run.dispatch()
    assert run.status == Status.NOT_FOUND


def test_entered_again(small: Small) -> None:
    run = Run(small, [TRUE, TRUE])
    inner = []
    run.actions["D0"] = lambda: inner.append(run.core.dispatcher.dispatch()) or 0
    assert run.dispatch() == ["D0", "D1"]
    assert inner == [Status.ALREADY_STARTED]


def test_a_driver_that_dies_ends_the_dispatch_and_a_later_one_is_not_entered_again(small: Small) -> None:
    run = Run(small, [TRUE])

    def die() -> int:
        raise run.core.supervisor.die(make_finding("MM-1106", "x"))

    run.actions["D0"] = die
    with pytest.raises(SystemStopError):
        run.dispatch()


def test_what_an_entry_point_is_given(small: Small) -> None:
    run = Run(small, [TRUE])
    run.core.supervisor.jumps.user_table = 0x4242
    run.dispatch()
    module = run.core.supervisor.modules.by_name("D0")
    assert module is not None
    ((routine, arguments, cpu),) = ring3(run.core.supervisor).calls
    assert (routine, arguments, cpu) == (module.entry, (module.handle, 0x4242), 0)
    state = run.core.supervisor.memory.state(module.handle)
    assert state.attributes & Attribute.SP, "the handle is a supervisor pointer"


# Broker first (§6.3)


def test_a_driver_before_the_broker_is_told(small: Small) -> None:
    run = Run(small, [TRUE, needs(files.READY)], driver_file(9, name="Broker", file_guid=files.BROKER))
    run.actions["Broker"] = lambda: run.core.supervisor.protocols.install(files.READY) and 0
    assert run.dispatch() == ["D0", "Broker", "D1"]
    assert [f.subject for f in run.core.supervisor.findings if f.kind.number == "MM-2005"] == ["D0"]


# Load (§6.4)

GOOD = pe_builder.driver()
STRIPPED = 0x222F


def code_at(*places: int) -> bytes:
    sections = [BuiltSection(f".t{n}", b"\xc3" * 16, pe_builder.TEXT, place) for n, place in enumerate(places)]
    return PeBuilder(sections=sections).build()


REFUSED = {
    "no image at all": (b"", Status.UNSUPPORTED),
    "no PE signature": (b"MZ" + bytes(0x200), Status.UNSUPPORTED),
    "no code section": (
        PeBuilder(sections=[BuiltSection(".data", bytes(64), pe_builder.RWDATA)]).build(),
        Status.SECURITY_VIOLATION,
    ),
    "alignment below a page": (
        pe_builder.driver(alignment=0x800, relocations=b"", entry=0x800),
        Status.SECURITY_VIOLATION,
    ),
    "no relocations, and loaded elsewhere": (
        pe_builder.driver(characteristics=STRIPPED, image_base=0x7F00_0000),
        Status.INVALID_PARAMETER,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_images(small: Small, name: str) -> None:
    image, status = REFUSED[name]
    run = Run(small, [], driver_file(0, TRUE, image), driver_file(1))
    free = run.core.supervisor.pages.free_pages
    assert run.dispatch() == ["D1"]
    (event,) = events(run.core.supervisor, DriverRefused)
    assert isinstance(event, DriverRefused)
    assert event.status == status.efi_name
    assert finding_numbers(run.core.supervisor).count("MM-2001") == 1
    assert run.never() == [], "it counts as initialised and is never tried again"
    loaded = run.core.supervisor.modules.modules
    assert [module.name for module in loaded] == ["D1"]
    needed = image_pages(parse_pe(Reader(files.IMAGE, "D1")))
    assert run.core.supervisor.pages.free_pages == free - needed, "the other's pages are free again"


def test_image_pages_and_attributes(small: Small) -> None:
    run = Run(small, [TRUE])
    run.dispatch()
    (event,) = events(run.core.supervisor, DriverLoaded)
    assert isinstance(event, DriverLoaded)
    memory = run.core.supervisor.memory
    wanted = {
        0x0000: Attribute.XP,  # headers: writable
        0x1000: Attribute.RO,  # code
        0x2000: Attribute.XP,  # data
        0x3000: Attribute.RO | Attribute.XP,  # relocations: neither writable nor code
        0x4000: Attribute.XP,  # the page for the alignment
    }
    found = {offset: memory.state(event.base + offset).attributes for offset in wanted}
    assert found == wanted
    assert event.entry == 0x1000


def test_the_image_is_relocated(small: Small) -> None:
    image = pe_builder.driver(
        sections=[
            BuiltSection(".text", b"\xc3" * 16, pe_builder.TEXT),
            BuiltSection(".data", bytes(8) + (0x2000).to_bytes(8, "little"), pe_builder.RWDATA),
        ]
    )
    run = Run(small, [], driver_file(0, TRUE, image))
    run.dispatch()
    module = run.core.supervisor.modules.by_name("D0")
    assert module is not None
    assert run.core.supervisor.memory.read_u64(module.base + 0x2008) == module.base + 0x2000


def test_adjacent_code_sections_lose_the_second(small: Small) -> None:
    run = Run(small, [], driver_file(0, TRUE, code_at(0x1000, 0x2000)))
    run.dispatch()
    module = run.core.supervisor.modules.by_name("D0")
    assert module is not None
    assert run.core.supervisor.memory.state(module.base + 0x2000).attributes == Attribute.XP
    assert "boot-flow.md §12.12" in bugs(run.core.supervisor)


def test_code_sections_with_a_gap_do_not(small: Small) -> None:
    run = Run(small, [], driver_file(0, TRUE, code_at(0x1000, 0x3000)))
    run.dispatch()
    module = run.core.supervisor.modules.by_name("D0")
    assert module is not None
    assert run.core.supervisor.memory.state(module.base + 0x3000).attributes == Attribute.RO


def test_a_null_image_faults_in_ring_0(small: Small) -> None:
    """A file without PE32 but with a dependency section is in the list, and loading it reads address 0."""
    run = Run(small, [TRUE], driver_file(1, TRUE, None))
    with pytest.raises(SystemStopError) as caught:
        run.dispatch()
    assert run.started == ["D0"]
    assert caught.value.finding.kind.number == "MM-1302"
    assert caught.value.finding.vector == 14


def test_no_memory_for_an_image(small: Small) -> None:
    run = Run(small, [TRUE])
    pages = run.core.supervisor.pages
    user_page(run.core.supervisor, pages.free_pages)
    assert run.dispatch() == []
    assert "MM-2001" in finding_numbers(run.core.supervisor)


# An entry point that fails (§6.5)


def test_a_failed_driver_is_unloaded_and_what_it_registered_stays(small: Small) -> None:
    run = Run(small, [TRUE, needs(protocol(5))])
    supervisor = run.core.supervisor
    seen: dict[str, int] = {}

    def fail() -> int:
        module = supervisor.modules.by_name("D0")
        assert module is not None
        seen["base"], seen["instances"] = module.base, supervisor.protocols.instances(LOADED_IMAGE)
        supervisor.handlers.register(protocol(1), routine=module.base + 0x1000)
        supervisor.protocols.install(protocol(5))
        return Status.DEVICE_ERROR

    run.actions["D0"] = fail
    assert run.dispatch() == ["D0", "D1"], "its protocol stays, so D1 starts"
    assert supervisor.modules.by_name("D0") is None
    assert supervisor.memory.state(seen["base"] + 0x1000).attributes & Attribute.SP or supervisor.modules.find(
        seen["base"] + 0x1000
    ), "its pages are free, or D1's"
    assert [handler.routine for handler in supervisor.handlers.all() if handler.guid == protocol(1)] == [
        seen["base"] + 0x1000
    ]
    assert "boot-flow.md §12.14" in bugs(supervisor)
    assert "MM-2004" in finding_numbers(supervisor)
    assert run.core.dispatcher.results["D0"] == Status.DEVICE_ERROR


@pytest.mark.parametrize("status", [0, Status.WARN_UNKNOWN_GLYPH, Status.WARN_INTERRUPT_SOURCE_PENDING])
def test_a_warning_is_no_failure(small: Small, status: int) -> None:
    run = Run(small, [TRUE])
    run.actions["D0"] = lambda: status
    run.dispatch()
    assert run.core.supervisor.modules.by_name("D0") is not None


def test_a_failed_driver_is_not_started_again(small: Small) -> None:
    run = Run(small, [TRUE, needs(protocol(0))])
    run.actions["D0"] = lambda: Status.NOT_FOUND
    run.dispatch()
    run.core.supervisor.protocols.install(protocol(0))
    assert run.dispatch() == ["D0", "D1"]


def test_loaded_images_come_and_go(small: Small) -> None:
    run = Run(small, [TRUE, TRUE])
    run.actions["D1"] = lambda: Status.ABORTED
    before_dispatch = run.core.supervisor.protocols.instances(LOADED_IMAGE)
    assert before_dispatch == 1, "the core's own"
    run.dispatch()
    assert run.core.supervisor.protocols.instances(LOADED_IMAGE) == 2


def test_volumes_without_the_core_dispatch_too(small: Small) -> None:
    small.add_volume(volume(driver_file(3)))
    assert Run(small, [TRUE]).dispatch() == ["D3", "D0"]


def test_results_of_drivers_that_share_a_name_are_kept_apart(small: Small) -> None:
    run = Run(small, [], driver_file(0, name="Twin"), driver_file(1, name="Twin"))
    run.actions["Twin #2"] = lambda: int(Status.NOT_FOUND)
    assert run.dispatch() == ["Twin", "Twin #2"]
    assert run.core.dispatcher.results == {"Twin": 0, "Twin #2": Status.NOT_FOUND}
    assert run.core.supervisor.findings[-1].subject == "Twin #2"
