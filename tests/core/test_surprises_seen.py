"""Surprises of the fact sheets that no other test shows (the table is in test_surprises.py)."""

from __future__ import annotations

import pytest

import mmsupervisor
from mmsupervisor.abi.system_calls import CallNumber
from mmsupervisor.core.entry import Core
from mmsupervisor.core.ring3 import Ring3
from mmsupervisor.core.supervisor import Supervisor
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.level_facts import Area
from mmsupervisor.policy.level_reference import reference_verdict
from mmsupervisor.policy.level_tables import Vendor
from mmsupervisor.policy.model import AccessAttr, IoEntry, PolicyRoot, RootType
from mmsupervisor.unblock.driver import StandaloneMmUnblockMem
from tests.core.files import core_volume, driver_file
from tests.core.small import OTHER, SOMEBODY, Small, bugs, put_guid, system_call, user_page
from tests.pi import pe_builder
from tests.pi.pe_builder import BuiltSection, PeBuilder


def test_a_page_that_is_not_present_passes_as_ring_3s(supervisor: Supervisor) -> None:
    """memory.md surprise 2, syscall-abi.md §11.10: a guard page, for example."""
    page = user_page(supervisor)
    supervisor.memory.set_attributes(page, PAGE_SIZE, Attribute.RP)
    assert system_call(supervisor, CallNumber.SMM_REG_HNDL, page, put_guid(supervisor, SOMEBODY))
    assert "syscall-abi.md §11.10" in bugs(supervisor)


def test_a_page_that_is_present_is_no_surprise(supervisor: Supervisor) -> None:
    assert system_call(supervisor, CallNumber.SMM_REG_HNDL, user_page(supervisor), put_guid(supervisor, SOMEBODY))
    assert "syscall-abi.md §11.10" not in bugs(supervisor)


def test_freeing_pages_of_another_owner_succeeds_and_frees_nothing(supervisor: Supervisor) -> None:
    """memory.md surprise 11: the record says the supervisor's, the page table says ring 3's."""
    handle = next(handler.handle for handler in supervisor.handlers.all()) & -PAGE_SIZE
    supervisor.memory.assign(handle, PAGE_SIZE, Attribute.XP)
    free = supervisor.pages.free_pages
    assert system_call(supervisor, CallNumber.SMM_FREE_PAGE, handle, 1) == 0
    assert supervisor.pages.free_pages == free
    assert "memory.md surprise 11" in bugs(supervisor)


PLAIN = [BuiltSection(".text", bytes([0xC3]), pe_builder.TEXT), BuiltSection(".rdata", bytes(16), pe_builder.RODATA)]
EXECUTE = pe_builder.RWDATA | pe_builder.EXECUTE


@pytest.mark.parametrize(
    ("section", "source"),
    [
        (BuiltSection(".x", bytes(16), EXECUTE), "memory.md surprise 4"),
        (BuiltSection(".x", bytes([0xC3]), pe_builder.TEXT | pe_builder.WRITE), "memory.md surprise 4"),
        (BuiltSection(".x", bytes(16), pe_builder.RODATA, virtual_size=0x3000), "memory.md surprise 6"),
        (BuiltSection(".x", bytes(16), pe_builder.RODATA), None),
    ],
)
def test_what_section_headers_say_and_what_counts(small: Small, section: BuiltSection, source: str | None) -> None:
    image = PeBuilder(sections=[*PLAIN, section]).build()
    small.add_volume(core_volume(driver_file(0, image=image)))
    core = small.start()
    assert core.dispatcher.dispatch() == 0
    assert core.supervisor.modules.by_name("D0") is not None
    found = [one for one in bugs(core.supervisor) if one.startswith("memory.md")]
    assert found == ([source] if source else [])


@pytest.mark.parametrize("register", [5, 6])
def test_amd_table_bases_give_their_low_half_twice(supervisor: Supervisor, register: int) -> None:
    """save-state.md surprise 3."""
    supervisor.policy = CompiledPolicy(assemble((PolicyRoot(RootType.IO, AccessAttr.DENY),)))
    page = user_page(supervisor)
    for width, seen in ((4, False), (8, True)):
        system_call(supervisor, CallNumber.SMM_SC_SVST_READ, 1, register, 0)
        assert system_call(supervisor, CallNumber.SMM_SC_SVST_READ_2, 1, width, page) == 0
        assert ("save-state.md surprise 3" in bugs(supervisor)) is seen


@pytest.mark.parametrize(("arguments", "below"), [(2, 0x18), (4, 0x18), (5, 0x48), (6, 0x48)])
def test_the_stack_at_entry(core: Core, arguments: int, below: int) -> None:
    """syscall-abi.md §3.2 and §11.4: with four arguments or fewer there is no room for R8 and R9."""
    ring3 = core.ring3
    assert isinstance(ring3, Ring3)
    stacks = core.supervisor.stacks
    values = tuple(range(1, arguments + 1))
    for cpu in range(stacks.count):
        end = stacks.base + stacks.size * (cpu + 1)
        rsp = ring3._stack(cpu, values, None)
        assert rsp == end - below
        assert rsp % 16 == 8
        for number in range(5, arguments + 1):
            assert core.supervisor.memory.read_u64(rsp + 0x28 + 8 * (number - 5)) == number
        if arguments <= 4:
            assert end - (rsp + 8 + 0x20) == -0x10, "homing R8 and R9 would leave the stack by 16 bytes"


def test_device_windows_are_ring_3s() -> None:
    """q35-platform.md surprises 2 and 3."""
    with mmsupervisor.boot(until=Phase.LAUNCHED) as session:
        for address in (0xB000_0000, 0xBFFF_F000, 0xC000_0000, 0xFEE0_0000):
            assert session.memory.state(address).attributes == Attribute.XP


class Requests:
    """The supervisor channel, which grants everything."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def request(self, _request: int, parameters: bytes, _source: str) -> tuple[int, bytes]:
        self.sent.append(parameters)
        return Status.SUCCESS, b""


def test_the_driver_judges_the_first_descriptor_only() -> None:
    """developer-considerations.md §10.4: pages are compared with bytes. And unblock.md surprise 5."""
    with mmsupervisor.boot(until=Phase.DXE) as session:
        page = session.allocate(1, memory_type=MemoryType.RUNTIME_SERVICES_DATA)
        boot_page = session.allocate(1, memory_type=MemoryType.BOOT_SERVICES_DATA)
        driver = StandaloneMmUnblockMem(session._platform.world.memory_map)
        driver.channel = requests = Requests()
        assert driver.request(page, 200, OTHER)[0] == Status.SUCCESS
        assert len(requests.sent) == 1
        assert driver.request(boot_page, 1, OTHER)[0] == Status.ACCESS_DENIED
        assert driver.request(0x8_8000_0000, 1, OTHER)[0] == Status.ACCESS_DENIED, "no descriptor at all"


def test_after_the_lock_the_drivers_own_flag_is_still_down() -> None:
    """unblock.md surprise 4, communicate.md §13.9: the supervisor refuses, the driver would have sent it."""
    with mmsupervisor.boot(until=Phase.READY_TO_LOCK) as session:
        driver = session._platform.world.unblock_driver
        assert driver is not None
        assert not driver.ready_to_lock
        assert session.unblock(session.allocate(1), 1, OTHER).status == Status.ACCESS_DENIED


@pytest.mark.parametrize("attr", [AccessAttr.ALLOW, AccessAttr.DENY])
@pytest.mark.parametrize("access", [0, 1, 2, 3, 0xA])
def test_io_never_scores_20(attr: AccessAttr, access: int) -> None:
    """levels.md surprise 3: both ports miss as one, whatever the list."""
    scores = set()
    for port in range(0xCF0, 0xD04):
        for length in (1, 2, 4, 8, 16):
            root = PolicyRoot(RootType.IO, attr, (IoEntry(port, length, access),))
            scores.add(reference_verdict(assemble((root,)), Vendor.AMD).parts[Area.IO])
    assert scores <= {10, 30}
    assert 30 in scores or attr is AccessAttr.DENY
