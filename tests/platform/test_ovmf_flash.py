"""OVMF's own flash and variable drivers on our flash; what they leave in it is read by somebody else's reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from virt.firmware.varstore import edk2

from mmsupervisor.clients.variables import Variables
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.description import DeviceFacts, PlatformDescription
from mmsupervisor.processor.select import probe_one
from mmsupervisor.session import Session, boot
from tests.support.observed import CODE, VARIABLES, settled_store
from tests.support.ovmf import Ovmf

OWNER = "6f6d6d73-7570-4c61-8e11-0123456789ab"
STACK = {"FvbServicesSmm", "SmmFaultTolerantWriteDxe", "VariableSmm"}


@pytest.fixture
def store(ovmf: Ovmf, tmp_path: Path) -> Path:
    path = tmp_path / "vars.fd"
    path.write_bytes(settled_store(ovmf))
    return path


@contextmanager
def booted(ovmf: Ovmf, store: Path) -> Iterator[tuple[Session, Variables]]:
    description = PlatformDescription(devices=DeviceFacts(flash_variables=store))
    with boot(ovmf.path(CODE), description=description, observe=True) as session:
        assert {driver.name for driver in session.drivers if driver.state == "started"} >= STACK
        yield session, session.variables


def read_by_another(store: Path) -> dict[tuple[str, str], bytes]:
    """Name and GUID to data, as the package virt-firmware reads the file."""
    found = edk2.Edk2VarStore(str(store)).get_varlist()
    return {(str(item.name), str(item.guid).lower()): bytes(item.data) for item in found.values()}


def test_a_first_boot_adds_to_the_store_and_changes_nothing_in_it(ovmf: Ovmf, store: Path) -> None:
    shipped, settled = ovmf.path(VARIABLES).read_bytes(), store.read_bytes()
    assert len(settled) == len(shipped)
    assert all(new == old or old == 0xFF for old, new in zip(shipped, settled, strict=True))
    assert read_by_another(ovmf.path(VARIABLES)).items() <= read_by_another(store).items()


def test_variables_of_the_store_are_those_that_another_reader_finds(ovmf: Ovmf, store: Path) -> None:
    oracle = read_by_another(store)
    with booted(ovmf, store) as (session, variables):
        found = {(item.name, str(item.guid).lower()): item.data for item in variables.all()}
        assert session.devices.variables is not None
        assert session.devices.variables.content == store.read_bytes(), "reading changes nothing"
    assert {"PK", "KEK", "db"} <= {name for name, _ in oracle}
    assert {key: found.get(key) for key in oracle} == oracle


def test_a_variable_goes_through_ring_3_into_the_file(ovmf: Ovmf, store: Path) -> None:
    before = store.read_bytes()
    oracle = read_by_another(store)
    with booted(ovmf, store) as (session, variables):
        variables.set("FromRing3", OWNER, b"written by VariableSmm")
        flash = session.devices.variables
        assert flash is not None
        assert flash.unerased == 0, "OVMF's drivers write as NOR flash wants it"
        assert store.read_bytes() == before
        assert session.devices.write_back()
    assert read_by_another(store) == {**oracle, ("FromRing3", OWNER): b"written by VariableSmm"}
    with booted(ovmf, store) as (_, variables):
        assert variables.get("FromRing3", Guid.parse(OWNER)).data == b"written by VariableSmm"


def test_both_processors_leave_the_same_flash_and_trace(ovmf: Ovmf, store: Path) -> None:
    """One lets the flash answer within, the other leaves ring 3 for each touch."""
    native = probe_one("native")
    if not native.is_available:
        assert native.reason, "where it is not to be had, it says why"
        return
    found = []
    for processor in ("unicorn", "native"):
        description = PlatformDescription(devices=DeviceFacts(flash_variables=store))
        with boot(ovmf.path(CODE), description=description, observe=True, processor=processor) as session:
            for number in range(3):
                session.variables.set("FromRing3", OWNER, bytes([number]) * 50)
            flash = session.devices.variables
            assert flash is not None
            found.append((session.processor, list(session.log.canonical_lines()), flash.content, flash.state()))
    assert [item[0] for item in found] == ["unicorn", "native"]
    assert found[0][1:] == found[1][1:]
