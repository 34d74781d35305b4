"""Each relaxation permits its own violation, counts it with its place, and permits nothing else.

The violations are those of the sample drivers, which without a relaxation end the system.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mmsupervisor.abi.findings import FINDING_KINDS
from mmsupervisor.abi.relaxations import RELAXATIONS, Relaxation, UnknownRelaxationError, relaxations_by_name
from mmsupervisor.core.events import PolicyDenialPassed, RelaxationUsed, SystemReset
from mmsupervisor.core.relaxations import RelaxedUse
from mmsupervisor.pi.mmst import MMST
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.sample import mm_volume, shipped
from mmsupervisor.session import boot
from tests.samples.stage import DESCRIPTION, SAMPLES, Stage

R = Relaxation
EMPTY_PORT, DEBUG_PORT, DENIED_PORT = 0x81, 0x402, 0xCFC
APIC_BASE, EFER, NO_MSR = 0x1B, 0xC000_0080, 0x1234
CASES = {case.name: case for case in SAMPLES["Offender"].cases}
NORMAL_MEMORY = 0x40_0000


@contextmanager
def relaxed(*relaxations: Relaxation, driver: str = "Offender") -> Iterator[Stage]:
    """A driver with the broker, under some relaxations."""
    with boot(mm_volume([shipped(driver)]), relax=relaxations, description=DESCRIPTION) as session:
        yield Stage(SAMPLES[driver], session, driver)


def offend(stage: Stage, case: str, *arguments: int) -> Any:
    """Commit an offence and return the answer's fields."""
    reply = stage.send(Case=CASES[case].number, Argument=arguments)
    assert reply.mailbox == Status.SUCCESS
    return reply


def only_use(stage: Stage) -> RelaxedUse:
    (use,) = stage.session.relaxed_uses
    return use


def test_the_table_declares_every_relaxation_and_real_findings() -> None:
    assert set(RELAXATIONS) == set(Relaxation)
    assert {number for item in RELAXATIONS.values() for number in item.replaces} <= set(FINDING_KINDS)
    assert all(item.title and item.permits and item.needed and item.mend for item in RELAXATIONS.values())
    assert len({item.title for item in RELAXATIONS.values()}) == len(RELAXATIONS)


def test_relaxations_are_chosen_by_name() -> None:
    assert relaxations_by_name(["direct-io", "code-pages"]) == {R.DIRECT_IO, R.CODE_PAGES}
    with pytest.raises(UnknownRelaxationError, match=r"'io' is no relaxation; there are .*direct-io"):
        relaxations_by_name(["io"])


def test_nothing_is_relaxed_by_default() -> None:
    with boot() as session:
        assert session.core is not None
        assert session.core.supervisor.relaxations.active == frozenset()
        assert session.relaxed_uses == ()


@pytest.mark.parametrize(
    ("case", "relaxation"),
    [
        ("In", R.DIRECT_IO),
        ("Out", R.DIRECT_IO),
        ("InString", R.DIRECT_IO),
        ("OutString", R.DIRECT_IO),
        ("ReadMsr", R.PRIVILEGED_INSTRUCTIONS),
        ("WriteMsr", R.PRIVILEGED_INSTRUCTIONS),
        ("Cli", R.PRIVILEGED_INSTRUCTIONS),
        ("Sti", R.PRIVILEGED_INSTRUCTIONS),
        ("Hlt", R.PRIVILEGED_INSTRUCTIONS),
        ("Wbinvd", R.PRIVILEGED_INSTRUCTIONS),
        ("Invd", R.PRIVILEGED_INSTRUCTIONS),
        ("InvalidatePage", R.PRIVILEGED_INSTRUCTIONS),
        ("ReadCr0", R.PRIVILEGED_INSTRUCTIONS),
    ],
)
def test_an_instruction_is_carried_out_and_counted_at_its_place(case: str, relaxation: Relaxation) -> None:
    with relaxed(relaxation) as stage:
        for _ in range(3):
            offend(stage, case, *CASES[case].arguments)
        use = only_use(stage)
        assert (use.relaxation, use.count, use.denied, use.denial) == (relaxation, 3, 0, "")
        stage.assert_place(use.place, f"At{case}")
        told = [record for record in stage.session.events if isinstance(record.event, RelaxationUsed)]
        assert [(record.position.driver, record.position.offset) for record in told] == [("Offender", use.place.offset)]
        assert stage.session.findings == ()
    others = frozenset(Relaxation) - {relaxation}
    with relaxed(*others) as stage:
        finding = stage.stopped(Case=CASES[case].number, Argument=CASES[case].arguments)
        assert finding.kind.number in RELAXATIONS[relaxation].replaces
        assert stage.session.relaxed_uses == ()


def test_ports_are_really_read_and_written() -> None:
    with relaxed(R.DIRECT_IO) as stage:
        assert offend(stage, "In", EMPTY_PORT).values["Result"] == 0xFF
        for letter in b"ret":
            offend(stage, "Out", DEBUG_PORT, letter)
        assert stage.session.console == "ret"
        assert [use.detail for use in stage.session.relaxed_uses] == [
            f"read 1 bytes at port {EMPTY_PORT:#x}",
            f"write 1 bytes at port {DEBUG_PORT:#x}",
        ]


def test_registers_are_really_read_and_written() -> None:
    with relaxed(R.PRIVILEGED_INSTRUCTIONS) as stage:
        before = DESCRIPTION.msrs[APIC_BASE]
        assert offend(stage, "ReadMsr", APIC_BASE).values["Result"] == before
        offend(stage, "WriteMsr", APIC_BASE, before | 0x400)
        assert offend(stage, "ReadMsr", APIC_BASE).values["Result"] == before | 0x400
        assert offend(stage, "ReadCr0").values["Result"] & 0x8001_0021 == 0x8001_0021


@pytest.mark.parametrize(
    ("case", "arguments", "relaxation", "detail"),
    [
        ("Out", (DENIED_PORT, 0), R.DIRECT_IO, "write 1 bytes at port 0xcfc"),
        ("ReadMsr", (EFER,), R.PRIVILEGED_INSTRUCTIONS, "read MSR 0xc0000080"),
    ],
)
def test_what_the_policy_denies_is_done_and_counted_as_denied(
    case: str, arguments: tuple[int, ...], relaxation: Relaxation, detail: str
) -> None:
    with relaxed(relaxation) as stage:
        offend(stage, case, *arguments)
        offend(stage, case, *arguments)
        use = only_use(stage)
        assert (use.count, use.denied, use.detail) == (2, 2, detail)
        told = [record.event for record in stage.session.events if isinstance(record.event, PolicyDenialPassed)]
        assert [(event.detail, event.rule) for event in told] == [(detail, use.denial)]
        assert use.denial


@pytest.mark.parametrize(("case", "arguments"), [("PortDenied", ()), ("MsrDenied", (APIC_BASE,))])
def test_no_relaxation_passes_a_denied_system_call(case: str, arguments: tuple[int, ...]) -> None:
    with relaxed(*Relaxation) as stage:
        assert stage.stopped(Case=CASES[case].number, Argument=arguments).kind.number == "MM-1001"


@pytest.mark.parametrize(
    "case", ["WriteCr3", "ReadDr7", "LoadGdt", "LoadIdt", "LoadTask", "StoreGdt", "SwapGs", "SysReturn", "ReadCounter"]
)
def test_what_no_ring_3_could_be_given_ends_the_system_all_the_same(case: str) -> None:
    with relaxed(*Relaxation) as stage:
        finding = stage.stopped(Case=CASES[case].number, Argument=CASES[case].arguments)
        assert finding.kind.number == "MM-1102"
        stage.assert_dead(finding)


def test_an_msr_that_is_not_there_ends_the_system() -> None:
    with relaxed(*Relaxation) as stage:
        assert stage.stopped(Case=CASES["ReadMsr"].number, Argument=(NO_MSR,)).kind.number == "MM-1102"


def test_pages_outside_mmram_are_mapped_when_they_are_touched() -> None:
    with relaxed(R.OUTSIDE_MEMORY) as stage:
        offend(stage, "ReadAddress", NORMAL_MEMORY)
        offend(stage, "ReadAddress", NORMAL_MEMORY + 8)
        use = only_use(stage)
        assert (use.count, use.detail) == (1, f"read at {NORMAL_MEMORY:#x}")
        stage.assert_place(use.place, "AtRead")
        offend(stage, "WriteAddress", NORMAL_MEMORY + 0x1000)
        assert [(found.place.symbol, found.count) for found in stage.session.relaxed_uses] == [
            (use.place.symbol, 1),
            (stage.session.relaxed_uses[1].place.symbol, 1),
        ]


@pytest.mark.parametrize(
    ("case", "where", "number"),
    [
        ("ReadAddress", "supervisor page", "MM-1202"),
        ("ReadAddress", "page 0", "MM-1205"),
        ("ReadAddress", "hole", "MM-1207"),
        ("ReadAddress", "mailbox", "MM-1202"),
        ("ExecuteAddress", "normal memory", "MM-1201"),
    ],
)
def test_other_pages_stay_closed(case: str, where: str, number: str) -> None:
    with relaxed(*Relaxation) as stage:
        places = {
            "supervisor page": stage.module.handle,
            "page 0": 0x10,
            "hole": 0xE_0000_0000,
            "mailbox": stage.core.supervisor.user.status,
            "normal memory": NORMAL_MEMORY,
        }
        assert stage.stopped(Case=CASES[case].number, Argument=(places[where],)).kind.number == number


def test_an_entry_point_may_return_by_ret() -> None:
    volume = mm_volume([shipped("ReturnsByRet")])
    with boot(volume, description=DESCRIPTION) as session:
        assert session.stop is not None
        assert session.stop.kind.number == "MM-1105"
    with boot(volume, description=DESCRIPTION, relax=["return-by-ret"]) as session:
        assert session.stop is None
        assert [driver.state for driver in session.drivers] == ["started", "started"]
        (use,) = session.relaxed_uses
        assert (use.relaxation, use.count, use.place.driver) == (R.RETURN_BY_RET, 1, "ReturnsByRet")


def test_code_pages_are_given_writable_and_executable() -> None:
    with relaxed(R.CODE_PAGES) as stage:
        offend(stage, "AllocateCode")
        assert only_use(stage).detail == "1 pages that are writable and executable"


def test_configuration_tables_are_visible() -> None:
    def shown(stage: Stage) -> tuple[int, int]:
        stage.send(Case=1)  # ConfigInstall
        table, read = stage.core.supervisor.jumps.user_table, stage.session.memory.read_u64
        fields = ("NumberOfTableEntries", "MmConfigurationTable")
        count, rows = (read(table + MMST.offset_of(name)) for name in fields)
        return count, rows

    with relaxed(driver="ConfigTable") as stage:
        assert shown(stage) == (0, 0)
    with relaxed(R.CONFIGURATION_TABLES, driver="ConfigTable") as stage:
        count, rows = shown(stage)
        tables = stage.core.supervisor.configuration
        assert count == len(tables) == 2
        assert [use.relaxation for use in stage.session.relaxed_uses] == [R.CONFIGURATION_TABLES]
        content = b"".join(guid.raw + address.to_bytes(8, "little") for guid, address in tables.items())
        assert stage.session.memory.read(rows, len(content)) == content


def test_observing_changes_nothing_for_drivers_that_keep_the_rules() -> None:
    with boot() as strict, boot(observe=True) as observed:
        assert [(one.name, one.state, one.handlers) for one in observed.drivers] == [
            (one.name, one.state, one.handlers) for one in strict.drivers
        ]
        assert {use.relaxation for use in observed.relaxed_uses} <= {R.CONFIGURATION_TABLES}
        assert not any(isinstance(record.event, SystemReset) for record in observed.events)
