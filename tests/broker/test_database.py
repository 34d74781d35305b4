"""Reading the broker's database: as it is, and as a hostile driver may leave it."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from mmsupervisor.broker import database as module
from mmsupervisor.broker.database import Ring3Database, read_database
from mmsupervisor.core.pages import Owner, PageRecord, PageType
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.mmst import MMST
from mmsupervisor.pi.service_table import FieldKind
from mmsupervisor.session import Session
from tests.samples.support import GUIDS, boot_samples

READY = known_guid("gMmRing3HandlerReadyProtocol")
PAGE = 0x1000


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with boot_samples("Producer", "Consumer", "Lifecycle") as session:
        yield session


def ranges(session: Session) -> list[tuple[int, int]]:
    assert session.core is not None
    data = PageRecord(PageType.RUNTIME_SERVICES_DATA, Owner.USER)
    return [(piece.start, piece.size) for piece in session.core.supervisor.pages.records if piece.value == data]


def test_the_real_database_is_read_whole(session: Session) -> None:
    database = session.protocol_database()
    assert database.broken_lists == 0
    ready = database.protocol(READY)
    assert ready is not None
    assert [pointer for _, pointer in ready.instances] == [0]
    producer = database.protocol(GUIDS["gSampleProducerProtocolGuid"])
    assert producer is not None
    assert [session.owner_of(pointer) for _, pointer in producer.instances] == ["Producer"]
    late = database.protocol(GUIDS["gSampleLateProtocolGuid"])
    assert late is not None
    assert (late.instances, [session.owner_of(function) for function in late.notifications]) == ((), ["Consumer"])
    assert database.protocol(GUIDS["gSampleAbsentProtocolGuid"]) is None


def copy_of(session: Session) -> tuple[PhysicalMemory, list[tuple[int, int]]]:
    assert session.core is not None
    memory = PhysicalMemory(36)
    broker = session.core.supervisor.modules.by_name("MmSupervisorRing3Broker")
    assert broker is not None
    for start, size in [*ranges(session), (broker.base, broker.size)]:
        memory.add_ram(start, size, "copy")
        memory.write(start, session.memory.read(start, size))
    return memory, ranges(session)


def test_a_forged_entry_that_leads_past_the_end_of_memory_is_none() -> None:
    """A driver may write what looks like an entry into its data; its lists may lead anywhere."""
    memory = PhysicalMemory(36)
    memory.add_ram(0x10000, PAGE, "data")
    entry, record = 0x10100, 0x10000 + PAGE - 4
    link = record + module._INTERFACE_BY_PROTOCOL
    forged = bytearray(module._ENTRY_SIZE)
    forged[:4] = module._ENTRY_SIGNATURE
    struct.pack_into("<QQ", forged, 8, entry + 8, entry + 8)
    struct.pack_into("<Q", forged, module._ENTRY_INTERFACES, link)
    memory.write(entry, bytes(forged))
    memory.write(record, module._INTERFACE_SIGNATURE)
    assert read_database(memory, [(0x10000, PAGE)]).protocols == ()


def test_a_broken_link_cuts_one_list_and_is_counted(session: Session) -> None:
    memory, where = copy_of(session)
    whole = read_database(memory, where)
    assert whole == session.protocol_database()
    for start, size in where:
        data = memory.read(start, size)
        position = data.find(b"pifc")
        if position >= 0:
            memory.write(start + position, b"xxxx")
            break
    broken = read_database(memory, where)
    assert broken.broken_lists == 1
    assert len(broken.protocols) == len(whole.protocols)


def test_links_in_a_circle_end(session: Session) -> None:
    memory, where = copy_of(session)
    for start, size in where:
        data = memory.read(start, size)
        position = data.find(b"pifc")
        if position >= 0:
            link = start + position + 0x20
            memory.write(link, struct.pack("<Q", link))
            break
    assert read_database(memory, where).broken_lists >= 1


def test_random_damage_never_raises(session: Session) -> None:
    rng = random.Random(7)
    for _ in range(200):
        memory, where = copy_of(session)
        for _ in range(40):
            start, size = rng.choice(where)
            memory.write_u64(start + 8 * rng.randrange(size // 8), rng.choice([rng.getrandbits(64), start, 0]))
        assert isinstance(read_database(memory, where), Ring3Database)
        memory.close()


def test_bytes_that_look_like_an_entry_are_none(session: Session) -> None:
    memory = PhysicalMemory(36)
    memory.add_ram(0x10000, PAGE, "data")
    memory.write(0x10000, b"prte" + bytes(100))
    memory.write(0x10000 + PAGE - 8, b"prte")
    assert read_database(memory, [(0x10000, PAGE)]) == Ring3Database((), 0)


def test_the_system_table_belongs_to_the_broker_and_manage_is_null(session: Session) -> None:
    assert session.core is not None
    table = session.core.supervisor.jumps.user_table
    fields = {item.name: session.memory.read_u64(table + MMST.offset_of(item.name)) for item in MMST.fields}
    assert (fields["Hdr.Revision"] & 0xFFFF_FFFF, fields["CurrentlyExecutingCpu"], fields["NumberOfCpus"]) == (
        0x0001_0050,
        0,
        4,
    )
    functions = {item.name: fields[item.name] for item in MMST.fields if item.kind is FieldKind.FUNCTION}
    services = {name: address for name, address in functions.items() if not name.startswith("MmIo.")}
    assert len(services) == 15
    assert {name for name, address in services.items() if not address} == {"MmiManage"}
    assert {session.owner_of(address) for address in services.values() if address} == {"MmSupervisorRing3Broker"}
