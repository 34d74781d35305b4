"""The lock box through OVMF's own driver in ring 3: each status that it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mmsupervisor.clients.errors import NotServedError
from mmsupervisor.clients.lock_box import LockBox, LockBoxAttribute, LockBoxError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.memory_types import MemoryType
from mmsupervisor.pi.status import Status
from mmsupervisor.session import Session, boot
from tests.support.observed import observe
from tests.support.ovmf import Ovmf

BOX = "5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11"
OTHER = "7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20"
DATA = bytes(range(256))
UNTOUCHED = (1 << 64) - 1


@pytest.fixture
def session(ovmf: Ovmf) -> Iterator[Session]:
    """Before the lock, while boxes may still be made."""
    with observe(ovmf, Phase.DXE) as booted:
        yield booted


def refused(action: Callable[[], object]) -> int:
    with pytest.raises(LockBoxError) as caught:
        action()
    return caught.value.status


def test_what_is_saved_comes_back(session: Session) -> None:
    box = session.lock_box
    box.save(BOX, DATA)
    assert box.restore(BOX, len(DATA)) == DATA
    box.update(BOX, 16, b"changed")
    assert box.restore(BOX, len(DATA)) == DATA[:16] + b"changed" + DATA[23:]


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (lambda box, _mmram: box.save(BOX, DATA), Status.ALREADY_STARTED),
        (lambda box, _mmram: box.restore(OTHER, 256), Status.NOT_FOUND),
        (lambda box, _mmram: box.restore(BOX, 100), Status.BUFFER_TOO_SMALL),
        (lambda box, _mmram: box.save(OTHER, b""), Status.INVALID_PARAMETER),
        (lambda box, mmram: box.restore_to(BOX, mmram, 256), Status.ACCESS_DENIED),
        (lambda box, mmram: box.save_from(OTHER, mmram, 256), Status.ACCESS_DENIED),
        (lambda box, _mmram: box.update(OTHER, 0, b"x"), Status.NOT_FOUND),
        (lambda box, _mmram: box.set_attributes(OTHER, LockBoxAttribute.RESTORE_IN_PLACE), Status.NOT_FOUND),
    ],
)
def test_refusals(session: Session, action: Callable[[LockBox, int], object], status: Status) -> None:
    session.lock_box.save(BOX, DATA)
    mmram = session.description.mmram_base + 0x10_0000
    assert refused(lambda: action(session.lock_box, mmram)) == status
    assert session.lock_box.restore(BOX, len(DATA)) == DATA


def test_an_unknown_command_is_left_untouched(session: Session) -> None:
    assert session.lock_box.command(9, bytes(32)) == UNTOUCHED


def test_a_message_for_nobody_is_not_found_in_the_mailbox(session: Session) -> None:
    assert session.communicate(OTHER, bytes(0x30)).status == Status.NOT_FOUND


def test_a_box_is_restored_to_where_it_came_from(session: Session) -> None:
    address = session.allocate(1)
    session.memory.write(address, DATA)
    box = session.lock_box
    box.save_from(BOX, address, len(DATA))
    box.set_attributes(BOX, LockBoxAttribute.RESTORE_IN_PLACE)
    session.memory.fill(address, len(DATA))
    box.restore_all_in_place()
    assert session.memory.read(address, len(DATA)) == DATA


def test_after_the_lock_boxes_are_read_but_not_made(session: Session) -> None:
    box = session.lock_box
    box.save(BOX, DATA)
    plain = session.allocate(1, memory_type=MemoryType.BOOT_SERVICES_DATA)
    session.advance(Phase.READY_TO_LOCK)
    assert box.restore(BOX, len(DATA)) == DATA
    assert refused(lambda: box.save(OTHER, DATA)) == Status.ACCESS_DENIED
    assert refused(lambda: box.update(BOX, 0, b"x")) == Status.ACCESS_DENIED
    assert refused(lambda: box.set_attributes(BOX, LockBoxAttribute.RESTORE_IN_PLACE)) == Status.ACCESS_DENIED
    assert refused(lambda: box.restore_to(BOX, plain, len(DATA))) == Status.ACCESS_DENIED, "not runtime data"


def test_without_its_driver_it_is_said() -> None:
    with boot() as session, pytest.raises(NotServedError, match="EFI_NOT_FOUND"):
        session.lock_box.restore(BOX, 16)
