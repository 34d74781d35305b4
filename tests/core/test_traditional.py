"""Traditional drivers are found and scheduled as a PI SMM core does it, and only under their relaxation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.core.entry import Core, start_core
from mmsupervisor.core.events import DriverRemoved
from mmsupervisor.core.findings import SystemStopError, make_finding
from mmsupervisor.core.interfaces import OutsideCall, OutsideHost
from mmsupervisor.core.modules import Module
from mmsupervisor.core.relaxations import Relaxations
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec
from mmsupervisor.pi.volume.build_section import build_section
from mmsupervisor.processor.interface import Processor
from tests.core import files
from tests.core.small import NoProcessor, Small

R = Relaxation
APRIORI = known_guid("gAprioriGuid")
HANDLE, TABLE = 0x1111, 0x2222
SMM, COMBINED = FileType.MM, FileType.COMBINED_MM_DXE


class OutsideDouble:
    """DXE with one protocol; remembers who was entered."""

    def __init__(self, *, ready: bool = True) -> None:
        self.ready = ready
        self.entered: list[str] = []

    def has_protocol(self, guid: Guid) -> bool:
        return guid == files.protocol(1)

    def enter(self, module: Module) -> tuple[int, int]:
        self.entered.append(module.name)
        return HANDLE, TABLE

    def is_service(self, address: int) -> bool:
        return False

    def serve(self, host: OutsideHost, call: OutsideCall) -> int:
        raise AssertionError((host, call))


class Bench:
    """A core with a volume of traditional drivers beside its own, and ring 3 that does what a test says."""

    def __init__(
        self, small: Small, *specs: FileSpec, relax: Iterable[Relaxation] = (R.TRADITIONAL_ENTRY,), ready: bool = True
    ) -> None:
        small.add_volume(files.core_volume())
        small.add_volume(files.volume(*specs))
        self.outside = OutsideDouble(ready=ready)
        processor: Processor = NoProcessor(small.machine.memory)  # type: ignore[assignment]
        relaxations = Relaxations(relax, self.outside)
        self.core: Core = start_core(small.machine, processor, small.hob_list(), relaxations=relaxations)
        self.core.supervisor.ring3 = self  # type: ignore[assignment]
        self.core.supervisor.protocols.install(files.READY)
        self.acts: dict[str, Callable[[], int]] = {}
        self.started: list[tuple[str, tuple[int, ...]]] = []

    def call(
        self, routine: int, arguments: tuple[int, ...], cpu: int, *, target: int = 0, below: int | None = None
    ) -> int:
        module = self.core.supervisor.modules.find(routine)
        assert module is not None
        assert (cpu, target, below) == (0, 0, None)
        self.started.append((module.name, arguments))
        return self.acts.get(module.name, lambda: 0)()

    def dispatch(self) -> list[str]:
        self.core.dispatcher.dispatch()
        return [name for name, _ in self.started]


def apriori(*numbers: int) -> FileSpec:
    listed = b"".join(files.guid(number).raw for number in numbers)
    return FileSpec(APRIORI, FileType.FREEFORM, build_section(SectionType.RAW, listed))


def test_both_types_start_in_file_order_with_what_the_outside_gives(small: Small) -> None:
    bench = Bench(small, files.driver_file(1, kind=SMM), files.driver_file(2, kind=COMBINED))
    assert bench.dispatch() == ["D1", "D2"]
    assert [arguments for _, arguments in bench.started] == [(HANDLE, TABLE)] * 2
    assert bench.outside.entered == ["D1", "D2"]
    assert all(module.traditional for module in bench.core.supervisor.modules.modules)


def test_those_that_share_a_name_have_each_their_own(small: Small) -> None:
    bench = Bench(small, files.driver_file(1, kind=SMM, name="Twin"), files.driver_file(2, kind=SMM, name="Twin"))
    assert bench.dispatch() == ["Twin", "Twin #2"]
    assert set(bench.core.dispatcher.results) == {"Twin", "Twin #2"}


def test_without_the_relaxation_they_are_not_there(small: Small) -> None:
    bench = Bench(small, files.driver_file(1, kind=SMM), relax=set(Relaxation) - {R.TRADITIONAL_ENTRY})
    assert bench.dispatch() == []
    assert bench.core.dispatcher.drivers == []


def test_none_starts_before_dxe_has_begun(small: Small) -> None:
    bench = Bench(small, files.driver_file(1, kind=SMM), ready=False)
    assert bench.dispatch() == []
    assert [driver.name for driver in bench.core.dispatcher.never_dispatched()] == ["D1"]
    bench.outside.ready = True
    assert bench.dispatch() == ["D1"]


def test_an_apriori_file_goes_before_all_and_over_expressions(small: Small) -> None:
    specs = [
        files.driver_file(number, depex, kind=SMM) for number, depex in enumerate([files.TRUE, files.TRUE, files.FALSE])
    ]
    bench = Bench(small, *specs, apriori(2, 9, 1, 2))
    assert bench.dispatch() == ["D2", "D1", "D0"]


def test_a_file_without_an_expression_starts(small: Small) -> None:
    bench = Bench(small, files.driver_file(1, None, kind=SMM))
    assert bench.dispatch() == ["D1"]


def test_expressions_see_both_databases(small: Small) -> None:
    outside, inside, nobody = (files.protocol(number) for number in (1, 2, 3))
    bench = Bench(
        small,
        files.driver_file(0, files.needs(outside, inside), kind=SMM),
        files.driver_file(1, files.needs(outside), kind=SMM),
        files.driver_file(2, files.needs(nobody), kind=SMM),
    )

    def install() -> int:
        bench.core.supervisor.protocols.install(inside)
        return 0

    bench.acts["D1"] = install
    assert bench.dispatch() == ["D1", "D0"]
    (left,) = bench.core.dispatcher.never_dispatched()
    assert left.name == "D2"
    assert bench.core.dispatcher.sees(left, outside)
    assert not bench.core.dispatcher.sees(left, nobody)


def test_converted_drivers_do_not_see_dxe(small: Small) -> None:
    bench = Bench(small, files.driver_file(1, files.needs(files.protocol(1))), files.driver_file(2, kind=SMM))
    assert bench.dispatch() == ["D2"]


def test_neighbours_are_of_the_same_kind(small: Small) -> None:
    """A converted driver starts long before DXE; it does not take a traditional one with it."""
    specs = [files.driver_file(1), files.driver_file(2, files.after(1), kind=SMM), files.driver_file(3, kind=SMM)]
    bench = Bench(small, *specs, files.driver_file(4, files.before(3), kind=SMM), ready=False)
    assert bench.dispatch() == ["D1"]
    bench.outside.ready = True
    assert bench.dispatch() == ["D1", "D4", "D3"]


def break_a_rule(bench: Bench) -> int:
    supervisor = bench.core.supervisor
    module = supervisor.modules.by_name("D1")
    assert module is not None
    supervisor.handlers.register(files.guid(77), routine=module.base + 0x10)
    raise supervisor.die(make_finding("MM-1102", "a rule", place=module.place(module.entry)))


def test_a_driver_that_breaks_a_rule_is_removed_and_the_others_go_on(small: Small) -> None:
    specs = [files.driver_file(number, kind=SMM) for number in (1, 2)]
    bench = Bench(small, *specs, relax=(R.TRADITIONAL_ENTRY, R.DRIVER_REMOVAL))
    bench.acts["D1"] = lambda: break_a_rule(bench)
    before = len(bench.core.supervisor.handlers.all())
    assert bench.dispatch() == ["D1", "D2"]
    supervisor = bench.core.supervisor
    assert supervisor.stop is None
    assert not supervisor.removable
    assert [finding.kind.number for finding in supervisor.findings] == ["MM-1102"]
    assert bench.core.dispatcher.removed == {"D1": supervisor.findings[0]}
    assert bench.core.dispatcher.results == {"D2": 0}
    assert len(supervisor.handlers.all()) == before
    events = [record.event for record in supervisor.log.records]
    assert DriverRemoved("D1", "MM-1102") in events
    with pytest.raises(SystemStopError):
        raise supervisor.die(make_finding("MM-1102", "later"))
    assert supervisor.stop is not None


def test_without_removal_it_ends_the_system(small: Small) -> None:
    bench = Bench(small, *(files.driver_file(number, kind=SMM) for number in (1, 2)))
    bench.acts["D1"] = lambda: break_a_rule(bench)
    with pytest.raises(SystemStopError):
        bench.dispatch()
    assert bench.core.supervisor.stop is not None
    assert [name for name, _ in bench.started] == ["D1"]


def test_a_converted_driver_is_never_removed(small: Small) -> None:
    bench = Bench(small, files.driver_file(1), relax=Relaxation)
    bench.acts["D1"] = lambda: break_a_rule(bench)
    with pytest.raises(SystemStopError):
        bench.dispatch()
    assert bench.core.dispatcher.removed == {}
