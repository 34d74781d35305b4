"""The communicate call of the DXE launch, both sides of it, row by row (dxe-launch.md §5; surprises 6, 7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from firmware.samples import catalogue
from mmsupervisor.core.events import MmiBegan, MmiEnded
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.ipl.services import SupervisorInterface
from mmsupervisor.ipl.slot_communicate import SlotCommunicate
from mmsupervisor.machine.memory import PAGE_SIZE
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.message import MessageV3
from mmsupervisor.pi.status import Status
from tests.ipl.launches import DXE, REQUEST_GUID, SOMEBODY, Boot, booting

GUIDS = {name: Guid(value.bytes_le) for name, value in catalogue.guids().items()}
ECHO, SIZES = GUIDS["gSampleEchoHandlerGuid"], GUIDS["gSampleSizesHandlerGuid"]
ECHO_MESSAGE, SIZES_MESSAGE = struct.Struct("<QIIQ"), struct.Struct("<QQQ")
CAPACITY = 16 * PAGE_SIZE
MAX = (1 << 64) - 1


def message(guid: Guid, payload: bytes, length: int | None = None) -> bytes:
    return guid.raw + (len(payload) if length is None else length).to_bytes(8, "little") + payload


@pytest.fixture
def boot() -> Iterator[Boot]:
    """A DXE launch with two sample drivers."""
    with booting(DXE, "Echo", "Sizes", until=Phase.READY_TO_BOOT) as running:
        yield running


def ended(boot: Boot) -> MmiEnded:
    event = boot.of(MmiEnded)[-1]
    assert isinstance(event, MmiEnded)
    return event


# The launcher's rows


def test_row_1_the_supervisor_s_own_pointer(boot: Boot) -> None:
    supervisor = boot.launcher.supervisor
    good = supervisor.interface
    wrong: list[SupervisorInterface | None] = [None, replace(good, signature=0), replace(good, version=2)]
    before = len(boot.mmis)
    for this in wrong:
        assert supervisor.communicate(this, message(SOMEBODY, b"x")).status == Status.INVALID_PARAMETER
    assert len(boot.mmis) == before
    assert supervisor.communicate(good, message(SOMEBODY, b"x")).status == Status.NOT_FOUND
    assert (good.region.type, good.region.number_of_pages, good.region.attribute) == (6, 16, 0)


def test_row_2_no_buffer(boot: Boot) -> None:
    user = boot.launcher.user
    assert user.communicate(None).status == Status.INVALID_PARAMETER
    assert user.communicate2(message(SOMEBODY, b"x"), None).status == Status.INVALID_PARAMETER
    assert user.communicate2(None, message(SOMEBODY, b"x")).status == Status.NOT_FOUND  # the physical one is ignored


def test_row_3_no_size_and_a_length_that_overflows(boot: Boot) -> None:
    user = boot.launcher.user
    assert user.communicate(message(SOMEBODY, b"", MAX - 0x17)).status == Status.INVALID_PARAMETER
    assert user.communicate(message(SOMEBODY, b"", MAX - 0x18)).status == Status.BAD_BUFFER_SIZE


def test_row_4_the_size_is_used_as_it_is(boot: Boot) -> None:
    user = boot.launcher.user
    assert user.communicate(message(SOMEBODY, b"x"), 0x17).status == Status.INVALID_PARAMETER
    assert user.communicate(message(SOMEBODY, b"x", MAX), 0x19).status == Status.NOT_FOUND
    event = boot.of(MmiBegan)[-1]
    assert isinstance(event, MmiBegan)
    assert event.size == 1


def test_row_5_too_large_tells_the_capacity(boot: Boot) -> None:
    user = boot.launcher.user
    for size in (None, CAPACITY + 1):
        answer = user.communicate(message(SOMEBODY, bytes(CAPACITY)), size)
        assert (answer.status, answer.size) == (Status.BAD_BUFFER_SIZE, CAPACITY)
    assert user.communicate(message(SOMEBODY, bytes(CAPACITY - 0x18)), CAPACITY).status == Status.NOT_FOUND


def test_row_6_nothing_is_copied_where_the_buffer_is_the_channel_s(boot: Boot) -> None:
    user, memory = boot.launcher.user, boot.platform.machine.memory
    payload = ECHO_MESSAGE.pack(0, 3, 0, 0) + b"in place"
    memory.write(user.channel.address, message(ECHO, payload))
    answer = user.communicate(b"never looked at".ljust(0x18), 0x18 + len(payload), in_place=True)
    assert answer.status == Status.SUCCESS
    assert answer.data.endswith(b"IN PLACE")


def test_row_7_the_buffer_is_overwritten_before_in_mm_is_seen(boot: Boot) -> None:
    user, mailbox = boot.launcher.user, boot.launcher.mailbox
    mailbox.update(in_mm=1)
    assert boot.launcher.mm_base.in_mm()
    before = len(boot.mmis)
    sent = message(SOMEBODY, b"overwritten")
    assert user.communicate(sent).status == Status.INVALID_PARAMETER
    assert len(boot.mmis) == before
    assert boot.platform.machine.memory.read(user.channel.address, len(sent)) == sent


def test_row_8_a_request_that_no_mmi_took_waits_for_the_next(boot: Boot) -> None:
    launcher = boot.launcher
    worker = SlotCommunicate(
        boot.platform.machine.memory,
        boot.dxe._runtime_map,
        launcher.mailbox,
        lambda _: Status.DEVICE_ERROR,
        lambda *_: None,
    )
    answer = worker.send(launcher.user.channel, message(SOMEBODY, b"x"), size=None, source="test")
    assert answer.status == Status.UNSUPPORTED
    assert launcher.mailbox.read().buffer_size == 0x19
    boot.platform.trigger("some other MMI")
    assert boot.mmis[-1] == ("user", SOMEBODY.label)
    assert launcher.mailbox.read().communication_buffer == 0


@pytest.mark.parametrize(("size", "returned"), [(24, 24), (1024, 1024), (8, 8), (0, 0)])
def test_row_9_as_many_bytes_as_the_handler_says(boot: Boot, size: int, returned: int) -> None:
    answer = boot.launcher.user.communicate(message(SIZES, SIZES_MESSAGE.pack(0, 0, size)))
    assert (answer.status, answer.size) == (Status.SUCCESS, 0x18 + returned)
    assert len(answer.data) == answer.size
    assert ("dxe-launch.md §8.7" in boot.bugs) is (returned > 24)  # more than the caller has room for


def test_row_9_a_size_beyond_the_buffer_is_reported_but_not_copied(boot: Boot) -> None:
    answer = boot.launcher.user.communicate(message(SIZES, SIZES_MESSAGE.pack(0, 0, 2 * CAPACITY)))
    assert answer.size == 0x18 + 2 * CAPACITY
    assert len(answer.data) == CAPACITY
    assert {"dxe-launch.md §8.7", "communicate.md §13.3"} <= set(boot.bugs)


# MM's rows


def post(boot: Boot, address: int, size: int) -> Status:
    """Post what lies at an address, raise an MMI and return its status."""
    boot.launcher.mailbox.update(communication_buffer=address, buffer_size=size)
    boot.platform.trigger("test")
    mailbox = boot.launcher.mailbox.read()
    assert mailbox.communication_buffer == 0
    return Status(mailbox.return_status)


def count_roots(boot: Boot) -> list[int]:
    """How often root handlers were called, in a list that grows."""
    calls: list[int] = []
    handlers = boot.supervisor.handlers
    real = handlers.manage

    def manage(guid: Guid | None, **how: object) -> int:
        if guid is None:
            calls.append(1)
        return real(guid, **how)  # type: ignore[arg-type]

    handlers.manage = manage  # type: ignore[method-assign, assignment]
    return calls


def test_mm_takes_the_user_s_message_then_root_handlers(boot: Boot) -> None:
    user, memory = boot.supervisor.user, boot.platform.machine.memory
    memory.fill(user.external, user.size, 0xEE)
    assert post(boot, user.external, user.size) == Status.NOT_FOUND
    assert boot.supervisor.memory.read(user.internal + user.size - 1, 1) == b"\xee"
    roots = count_roots(boot)
    payload = ECHO_MESSAGE.pack(0, 0, 0, 0) + b"abcd"
    memory.write(user.external, message(ECHO, payload, MAX))  # MessageLength is not looked at
    assert post(boot, user.external, 0x18 + len(payload)) == Status.SUCCESS
    assert len(roots) == 1
    rest = 0x18 + len(payload)
    assert set(boot.supervisor.memory.read(user.internal + rest, user.size - rest)) == {0}
    assert memory.read(user.external + 0x18 + len(payload), 1) == b"\xee"  # nor is more copied out
    assert ended(boot).size == 0x18 + len(payload)


def test_mm_skips_root_handlers_for_the_supervisor(boot: Boot) -> None:
    roots = count_roots(boot)
    channel, memory = boot.supervisor.supervisor, boot.platform.machine.memory
    memory.write(channel.external, message(REQUEST_GUID, b"x"))
    assert post(boot, channel.external, 0x19) == Status.NOT_FOUND  # too short for a request
    assert boot.mmis[-1] == ("supervisor", REQUEST_GUID.label)
    assert roots == []


@pytest.mark.parametrize("channel", ["user", "supervisor"])
def test_mm_refuses_less_than_a_header(boot: Boot, channel: str) -> None:
    roots = count_roots(boot)
    place = getattr(boot.supervisor, channel).external
    assert post(boot, place, 0x17) == Status.ACCESS_DENIED
    assert roots == []
    assert boot.mmis[-1][0] == "malformed"


def test_mm_refuses_other_addresses_and_runs_root_handlers(boot: Boot) -> None:
    roots = count_roots(boot)
    user = boot.supervisor.user
    for address, size in ((user.external + PAGE_SIZE, 0x19), (user.external, CAPACITY + 1), (0x1000, 0x19)):
        assert post(boot, address, size) == Status.ACCESS_DENIED
    assert len(roots) == 3


def test_mm_without_a_message_runs_root_handlers(boot: Boot) -> None:
    roots = count_roots(boot)
    boot.launcher.mailbox.update(return_status=7)
    boot.platform.trigger("test")
    assert (boot.mmis[-1], len(roots)) == (("none", ""), 1)
    assert boot.launcher.mailbox.read().return_status == 7


def test_mm_knows_no_version_3_header(boot: Boot) -> None:
    raw = MessageV3(ECHO, ECHO_MESSAGE.pack(0, 0, 0, 0)).pack()
    assert boot.launcher.user.communicate(raw, len(raw)).status == Status.NOT_FOUND
    assert boot.mmis[-1] == ("user", known_guid("gEfiMmCommunicateHeaderV3Guid").label)


def test_mm_answers_an_overflowing_size(boot: Boot) -> None:
    answer = boot.launcher.user.communicate(message(SIZES, SIZES_MESSAGE.pack(0, 0, MAX)))
    assert answer.status == Status.BAD_BUFFER_SIZE


def test_mm_leaves_a_message_of_length_0_unserved(boot: Boot) -> None:
    depth = boot.supervisor.handlers.depth
    assert boot.launcher.user.communicate(message(ECHO, b"")).status == Status.NOT_FOUND
    assert boot.supervisor.handlers.depth == depth + 1


@pytest.mark.parametrize("field", ["entry_point", "mmst", "ranges", "image_base", "boot_volume"])
def test_mm_takes_over_what_normal_memory_says_of_it(boot: Boot, field: str) -> None:
    told = [source for source in boot.bugs if source == "dxe-launch.md §8.6"]
    assert len(told) == 1  # the copy-out at its entry
    boot.launcher.mailbox.update(**{field: 0xDEAD_BEEF})
    boot.platform.trigger("test")
    assert boot.bugs[-1] == "dxe-launch.md §8.6"
    assert boot.supervisor.slot is not None
    assert getattr(boot.supervisor.slot.private, field) == 0xDEAD_BEEF
    assert boot.ask_version() == (Status.SUCCESS, DXE.core_version)  # and nothing goes by it
    assert len([source for source in boot.bugs if source == "dxe-launch.md §8.6"]) == 2  # told once


def test_request_4_is_not_known_to_that_generation(boot: Boot) -> None:
    client = boot.platform.world.supervisor_requests
    assert client is not None
    assert client.request(4, bytes(224), "test")[0] == Status.UNSUPPORTED


def test_in_mm_is_set_while_handlers_run_and_never_seen_outside(boot: Boot) -> None:
    seen = []

    def look(_: object) -> None:
        assert boot.supervisor.slot is not None
        seen.append((boot.supervisor.slot.private.in_mm, boot.launcher.mailbox.read().in_mm))

    boot.on(MmiBegan, look)
    boot.platform.world.send(SOMEBODY, b"x")
    assert seen == [(1, 0)]
    assert boot.supervisor.slot is not None
    assert boot.supervisor.slot.private.in_mm == 0
