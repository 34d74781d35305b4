"""UEFI variables through OVMF's own variable driver in ring 3; ``virt-firmware`` reads the same store as an oracle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from virt.firmware.varstore.edk2 import Edk2VarStore

from mmsupervisor.abi.relaxations import Relaxation
from mmsupervisor.clients.errors import DroppedMessageError, NotServedError
from mmsupervisor.clients.variables import DEFAULT_ATTRIBUTES, Variable, VariableAttribute, VariableError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import DeviceFacts, PlatformDescription
from mmsupervisor.session import Session, boot
from tests.support.observed import CODE, VARIABLES, flash_platform, observe, settled_store
from tests.support.ovmf import Ovmf

OWN = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")
SECURE_BOOT = {
    "PK": "gEfiGlobalVariableGuid",
    "KEK": "gEfiGlobalVariableGuid",
    "db": "gEfiImageSecurityDatabaseGuid",
    "dbx": "gEfiImageSecurityDatabaseGuid",
    "SecureBootEnable": "gEfiSecureBootEnableDisableGuid",
}
UPDATED_AT_BOOT = {"MTC", "VarErrorFlag"}


@pytest.fixture
def session(ovmf: Ovmf) -> Iterator[Session]:
    with observe(ovmf) as booted:
        yield booted


def by_oracle(path: Path) -> dict[tuple[str, Guid], Variable]:
    """What virt-firmware parses out of a store."""
    found = {}
    for item in Edk2VarStore(str(path)).get_varlist().values():
        name, guid = str(item.name), Guid(item.guid.bytes_le)
        found[name, guid] = Variable(name, guid, VariableAttribute(item.attr), bytes(item.data))
    return found


@pytest.fixture
def store(ovmf: Ovmf, tmp_path: Path) -> Path:
    """The store as a first boot leaves it."""
    path = tmp_path / "settled.fd"
    path.write_bytes(settled_store(ovmf))
    return path


def on(store: Path) -> PlatformDescription:
    return PlatformDescription(devices=DeviceFacts(flash_variables=store))


@pytest.mark.parametrize("name", SECURE_BOOT)
def test_secure_boot_variables_are_what_the_oracle_parses(store: Path, session: Session, name: str) -> None:
    guid = Guid.parse(SECURE_BOOT[name])
    assert session.variables.get(name, SECURE_BOOT[name]) == by_oracle(store)[name, guid]


def test_every_variable_of_the_store_is_listed_with_its_value(store: Path, session: Session) -> None:
    stored = by_oracle(store)
    listed = {(one.name, one.guid): one for one in session.variables.all()}
    assert len(stored) > len(SECURE_BOOT)
    assert set(stored) <= set(listed)
    same = {key: one for key, one in stored.items() if key[0] not in UPDATED_AT_BOOT}
    assert {key: listed[key] for key in same} == same
    assert all(not one.attributes & VariableAttribute.NON_VOLATILE for key, one in listed.items() if key not in stored)


def test_a_variable_is_set_changed_and_deleted(session: Session) -> None:
    variables = session.variables
    for data in (b"first", b"second, and longer", bytes(1000)):
        variables.set("Ours", OWN, data)
        assert variables.get("Ours", OWN) == Variable("Ours", OWN, DEFAULT_ATTRIBUTES, data)
    assert ("Ours", OWN) in list(variables)
    variables.delete("Ours", OWN)
    assert ("Ours", OWN) not in list(variables)
    with pytest.raises(VariableError, match="EFI_NOT_FOUND") as caught:
        variables.get("Ours", OWN)
    assert caught.value.status == Status.NOT_FOUND


def test_what_is_written_is_in_the_flash_as_the_oracle_reads_it(ovmf: Ovmf, session: Session, tmp_path: Path) -> None:
    session.variables.set("Ours", OWN, b"kept", VariableAttribute.NON_VOLATILE | VariableAttribute.BOOT_SERVICE)
    assert session.devices.variables is not None
    store = tmp_path / "store.fd"
    store.write_bytes(session.devices.variables.content)
    after = by_oracle(store)
    assert after["Ours", OWN].data == b"kept"
    assert set(by_oracle(ovmf.path(VARIABLES))) <= set(after)


def test_storage_shrinks_by_what_is_written(session: Session) -> None:
    before = session.variables.storage()
    session.variables.set("Ours", OWN, bytes(4096))
    after = session.variables.storage()
    assert after.maximum_storage == before.maximum_storage
    assert 4096 <= before.remaining_storage - after.remaining_storage < 4096 + 100
    with pytest.raises(VariableError, match="EFI_INVALID_PARAMETER"):
        session.variables.set("Ours", OWN, bytes(before.maximum_variable + 1))


def test_a_key_is_not_changed_without_its_signature(session: Session) -> None:
    key = session.variables.get("PK", SECURE_BOOT["PK"])
    with pytest.raises(VariableError):
        session.variables.set("PK", SECURE_BOOT["PK"], b"x", key.attributes)
    assert session.variables.get("PK", SECURE_BOOT["PK"]) == key


A = VariableAttribute
REFUSED = [
    (A.RUNTIME, "EFI_INVALID_PARAMETER"),
    (A.NON_VOLATILE, "EFI_INVALID_PARAMETER"),
    (A.NON_VOLATILE | A.RUNTIME, "EFI_INVALID_PARAMETER"),
    (A.BOOT_SERVICE | A.HARDWARE_ERROR, "EFI_INVALID_PARAMETER"),
    (A.BOOT_SERVICE | VariableAttribute(0x80), "EFI_INVALID_PARAMETER"),
    (A.BOOT_SERVICE | A.AUTHENTICATED_WRITE, "EFI_UNSUPPORTED"),
    (A.NON_VOLATILE | A.BOOT_SERVICE | A.TIME_BASED_AUTHENTICATED_WRITE, "EFI_SECURITY_VIOLATION"),
    (VariableAttribute(0), "EFI_NOT_FOUND"),
]


def test_attributes_are_refused_by_the_driver_with_its_status(session: Session) -> None:
    variables = session.variables
    for attributes, status in REFUSED:
        with pytest.raises(VariableError, match=status):
            variables.set("Ours", OWN, b"x", attributes)
    assert ("Ours", OWN) not in list(variables)
    variables.set("Ours", OWN, b"x", A.BOOT_SERVICE)
    for other in (A.BOOT_SERVICE | A.RUNTIME, A.BOOT_SERVICE | A.NON_VOLATILE):
        with pytest.raises(VariableError, match="EFI_INVALID_PARAMETER"):
            variables.set("Ours", OWN, b"y", other)
    variables.set("Ours", OWN, b"y", A.BOOT_SERVICE | A.APPEND)
    assert variables.get("Ours", OWN) == Variable("Ours", OWN, A.BOOT_SERVICE, b"xy")
    with pytest.raises(VariableError, match="EFI_WRITE_PROTECTED"):
        variables.set("SecureBoot", "gEfiGlobalVariableGuid", b"\0", A.BOOT_SERVICE | A.RUNTIME)


def test_volatile_variables_go_with_the_boot_and_others_stay(ovmf: Ovmf, store: Path) -> None:
    before = store.read_bytes()
    with boot(ovmf.path(CODE), description=on(store), observe=True) as session:
        session.variables.set("Volatile", OWN, b"gone", A.BOOT_SERVICE)
        assert session.devices.variables is not None
        assert session.devices.variables.content == before, "it is nowhere in the flash"
        session.variables.set("Kept", OWN, b"kept", A.BOOT_SERVICE | A.NON_VOLATILE)
        assert session.devices.write_back()
    with boot(ovmf.path(CODE), description=on(store), observe=True) as session:
        names = [name for name, guid in session.variables if guid == OWN]
        assert names == ["Kept"]


def test_a_thousand_sets_with_reclaim_are_what_another_reader_and_the_next_boot_find(ovmf: Ovmf, store: Path) -> None:
    expected = {("Kept", OWN): b"from before"}
    known = {key: one.data for key, one in by_oracle(store).items() if key[0] not in UPDATED_AT_BOOT}
    with boot(ovmf.path(CODE), description=on(store), observe=True) as session:
        variables = session.variables
        variables.set("Kept", OWN, b"from before")
        room = [variables.storage().remaining_storage]
        for number in range(1000):
            name, data = f"Ours{number % 7}", number.to_bytes(2, "little") * (90 + number % 60)
            variables.set(name, OWN, data)
            expected[name, OWN] = data
            if number % 20 == 19:
                room.append(variables.storage().remaining_storage)
        assert any(later > earlier for earlier, later in pairwise(room)), "the store was reclaimed"
        assert session.devices.variables is not None
        assert session.devices.variables.unerased == 0
        assert session.devices.write_back()
    found = {key: one.data for key, one in by_oracle(store).items()}
    assert {key: found.get(key) for key in expected} == expected
    assert {key: found.get(key) for key in known} == known, "and nothing else is lost"
    with boot(ovmf.path(CODE), description=on(store), observe=True) as session:
        assert {key: session.variables.get(*key).data for key in expected} == expected


def test_a_locked_variable_stays(ovmf: Ovmf) -> None:
    with observe(ovmf, Phase.DXE) as session:
        session.variables.set("Ours", OWN, b"before")
        session.variables.lock("Ours", OWN)
        session.advance(Phase.READY_TO_BOOT)
        with pytest.raises(VariableError, match="EFI_WRITE_PROTECTED"):
            session.variables.set("Ours", OWN, b"after")
        assert session.variables.get("Ours", OWN).data == b"before"


def test_an_empty_store_becomes_usable(ovmf: Ovmf) -> None:
    with observe(ovmf, variables="OVMF_VARS_4M.fd") as session:
        session.variables.set("Ours", OWN, b"x")
        assert session.variables.get("Ours", OWN).data == b"x"
        with pytest.raises(VariableError, match="EFI_NOT_FOUND"):
            session.variables.get("PK", SECURE_BOOT["PK"])


def test_a_message_that_the_driver_drops_is_no_answer(ovmf: Ovmf) -> None:
    relax = set(Relaxation) - {Relaxation.EXTERNAL_COMM_BUFFER}
    with boot(ovmf.path(CODE), description=flash_platform(ovmf), relax=relax) as session:
        with pytest.raises(DroppedMessageError, match="left the message untouched"):
            session.variables.get("PK", SECURE_BOOT["PK"])
        with pytest.raises(DroppedMessageError):
            session.lock_box.restore(str(OWN), 16)


def test_without_a_variable_driver_it_is_said() -> None:
    with boot() as session, pytest.raises(NotServedError, match="EFI_NOT_FOUND"):
        list(session.variables)
