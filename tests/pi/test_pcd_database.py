"""The PCD databases of real firmware, and damage to them."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.errors import FormatError, LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.pcd_database import (
    SIGNATURE,
    DatumType,
    PcdDatabase,
    Storage,
    is_pcd_database,
    parse_pcd_database,
)
from mmsupervisor.pi.reader import Reader
from tests.pi.firmware_parts import IMAGES, RAW, X64_IMAGE, parts

MODULE_TOKEN_SPACE = Guid.parse("A1AFF049-FDEB-442A-B320-13AB4CB72BBC")
"""gEfiMdeModulePkgTokenSpaceGuid."""

PCD_PEIM = "9b3ada4f-ae56-4c24-8dea-f03b7558ae50"
PCD_DXE = "80cf7257-87ab-47f9-a3fe-d50b76d89541"


def raw_database(image: str, file_guid: str) -> bytes:
    (data,) = {
        part.data
        for part in parts(image)
        if part.file_guid == file_guid and part.section_type == RAW and is_pcd_database(part.data)
    }
    return data


def databases(image: str) -> tuple[PcdDatabase, PcdDatabase]:
    pei = parse_pcd_database(Reader(raw_database(image, PCD_PEIM), "pei"))
    dxe = parse_pcd_database(Reader(raw_database(image, PCD_DXE), "dxe"), first_token=len(pei.pcds) + 1)
    return pei, dxe


WIDTHS = {DatumType.BOOLEAN: 1, DatumType.UINT8: 1, DatumType.UINT16: 2, DatumType.UINT32: 4, DatumType.UINT64: 8}
COUNT_FIELD = 0x44


@pytest.mark.parametrize("image", IMAGES)
def test_databases_of_ovmf(ovmf, image):
    """No other reader of PCD databases is at hand: what is so in every release is asked of every release."""
    pei, dxe = databases(image)
    both = pei.pcds + dxe.pcds
    assert [pcd.token for pcd in both] == list(range(1, len(both) + 1))
    for file_guid, found in ((PCD_PEIM, pei), (PCD_DXE, dxe)):
        assert struct.unpack_from("<H", raw_database(image, file_guid), COUNT_FIELD) == (len(found.pcds),)
        assert len(found.pcds) > 20
    numbers = [pcd for pcd in both if pcd.datum in WIDTHS]
    assert len(numbers) > 40
    assert all(pcd.size == WIDTHS[pcd.datum] for pcd in numbers)
    assert all((pcd.token_space is None) == (pcd.ex_token is None) for pcd in both)
    assert all(pcd.variable is None or pcd.variable.name.isprintable() for pcd in both)
    if ovmf.known_release(image):
        assert_values_of_debian_12(pei, dxe, mmio64_size=0x8_0000_0000 if image == X64_IMAGE else 0)


def assert_values_of_debian_12(pei: PcdDatabase, dxe: PcdDatabase, mmio64_size: int) -> None:
    """Values that OVMF's platform description gives its dynamic PCDs; the order is the build's."""
    assert [len(pei.pcds), len(dxe.pcds)] == [30, 28]
    assert [(pcd.datum, pcd.number) for pcd in pei.pcds].count((DatumType.UINT64, mmio64_size)) >= 1
    screen = [pcd.number for pcd in dxe.pcds if pcd.datum is DatumType.UINT32]
    assert [number for number in screen if number] == [640, 480, 1280, 800, 1_000_000_000]
    assert (DatumType.UINT16, 0x208) in [(pcd.datum, pcd.number) for pcd in dxe.pcds], "SMBIOS 2.8"
    # PcdSetNvStoreDefaultId, PcdNvStoreDefaultValueBuffer and PcdVpdBaseAddress64 are in every PEI database.
    extended = {
        pcd.ex_token: (pcd.datum, pcd.max_size, pcd.value) for pcd in pei.pcds if pcd.token_space == MODULE_TOKEN_SPACE
    }
    assert extended == {
        0x30004: (DatumType.UINT16, 2, bytes(2)),
        0x30005: (DatumType.POINTER, 1, bytes(1)),
        0x30006: (DatumType.UINT64, 8, bytes(8)),
    }
    assert pei.by_ex_token(MODULE_TOKEN_SPACE, 0x30006) == pei.by_token(30)
    assert pei.by_ex_token(SIGNATURE, 0x30006) is None
    assert pei.by_token(31) is None
    version, revision = (pcd for pcd in dxe.pcds if pcd.variable is not None)
    assert (version.storage, revision.storage) == (Storage.HII_STRING, Storage.HII)
    assert (version.value, revision.number) == (b"1.3\0", 3)
    assert version.number is None
    assert {pcd.variable.name for pcd in (version, revision)} == {"TCG2_VERSION"}
    assert [pcd.variable.offset for pcd in (version, revision)] == [0, 8]


HEADER = struct.Struct("<16sIIQIIIIIIIIIHHH6x")


def small(tokens: list[int], body: bytes, *, zeroed: int = 0, version: int = 7, **tables: int) -> bytes:
    """A database with its token table first, then the body."""
    offsets = {"ex": 0, "guids": 0, "strings": 0, "sizes": 0, "names": 0, "ex_count": 0, "guid_count": 0} | tables
    body_at = HEADER.size + 4 * len(tokens)
    length = body_at + len(body)
    header = HEADER.pack(
        SIGNATURE.raw, version, length, 0, length, zeroed, HEADER.size, offsets["ex"], offsets["guids"],
        offsets["strings"], offsets["sizes"], 0, offsets["names"], len(tokens), offsets["ex_count"],
        offsets["guid_count"],
    )  # fmt: skip
    return header + struct.pack(f"<{len(tokens)}I", *tokens) + body


def parse(data: bytes, **options) -> PcdDatabase:
    return parse_pcd_database(Reader(data, "pcd"), **options)


def test_every_kind_of_datum_and_storage():
    body_at = HEADER.size + 4 * 5
    names = struct.pack("<10I", 0, 6, 6, 0, 0, 0, 6, 6, 0, 6)
    body = bytes.fromhex("2a 3412 01 78563412 10000000") + b"Space\0Name\0\0" + names
    tokens = [
        0x0100_0000 | body_at,
        0x0200_0000 | body_at + 1,
        0x0110_0000 | body_at + 3,
        0x4400_0000 | body_at + 8,
        0x0800_0000 | body_at + len(body),
    ]
    database = parse(small(tokens, body, zeroed=8, strings=body_at + 12, names=body_at + len(body) - len(names)))
    assert [pcd.datum.value for pcd in database.pcds] == ["UINT8", "UINT16", "BOOLEAN", "UINT32", "UINT64"]
    assert [pcd.number for pcd in database.pcds] == [0x2A, 0x1234, 1, None, 0]
    assert database.pcds[3].storage is Storage.VPD
    assert database.pcds[3].vpd_offset == 0x10
    assert database.pcds[3].size == 4
    assert [pcd.name for pcd in database.pcds] == [
        "Space.Name", "Name.Space", "Space.Space", "Name.Name", "Space.Name",
    ]  # fmt: skip


def test_byte_arrays_have_a_largest_and_a_present_size():
    body_at = HEADER.size + 4 * 3
    tokens = [body_at, 0x0100_0000 | body_at, body_at + 3]
    data = small(tokens, b"abcdefgh" + struct.pack("<4H", 8, 3, 5, 5), sizes=body_at + 8)
    assert [(pcd.max_size, pcd.value) for pcd in parse(data).pcds] == [(8, b"abc"), (1, b"a"), (5, b"defgh")]


@pytest.mark.parametrize(
    ("data", "offset", "rule"),
    [
        (b"", 0, "signature"),
        (bytes(80), 0, "signature"),
        (SIGNATURE.raw, 0, "PCD database header needs"),
        (small([], b"", version=6), 0x10, "version 6"),
        (SIGNATURE.raw + struct.pack("<II", 7, HEADER.size - 1).ljust(64, b"\0"), 0x14, "length 0x4f is smaller"),
        (small([0x0100_0000 | 0x1000], b"x"), 0x1000, "PCD value needs"),
        (small([0x0100_0000 | 0x58, 0x0300_0000 | 0x58], b"x"), 0x54, "datum type 3 is not defined"),
        (small([0x0100_0000 | 0x58, 0x2100_0000 | 0x58], b"x"), 0x54, "PCD type 0x2 is not defined"),
        (small([0x1000_0000 | 0x54], bytes(8), sizes=0x58, strings=0x7000), 0x7000, "PCD string value"),
        (small([0x1000_0000 | 0x54], bytes(8), sizes=0x5A), 0x5C, "^pcd: offset 0x5c: size needs"),
        (small([0x8100_0000 | 0x54], bytes(20)), 0x54, "GUID 0 of 0"),
        (small([], bytes(8), ex=0x50, ex_count=2), 0x50, "extended token map needs"),
        (small([], struct.pack("<IHH", 1, 1, 0), ex=0x50, ex_count=1), 0x50, "GUID 0 of 0"),
    ],
)
def test_broken_databases_are_refused(data, offset, rule):
    with pytest.raises(FormatError, match=rule) as caught:
        parse(data)
    assert caught.value.offset == offset


def test_values_beyond_the_stored_part_are_zero_only_where_announced():
    end = HEADER.size + 4
    assert parse(small([0x0400_0000 | end], b"", zeroed=4)).pcds[0].value == bytes(4)
    with pytest.raises(FormatError, match="PCD value"):
        parse(small([0x0400_0000 | end], b"", zeroed=3))


def test_tokens_and_values_are_bounded():
    data = small([0x0100_0000 | 0x50] * 5, b"")
    assert len(parse(data, allowance=Allowance(Limits(items=5))).pcds) == 5
    with pytest.raises(LimitError):
        parse(data, allowance=Allowance(Limits(items=4)))
    body_at = HEADER.size + 4 * 600
    greedy = small([body_at] * 600, struct.pack("<HH", 0xFFFF, 0xFFFF) * 600, zeroed=2**20, sizes=body_at)
    greedy = greedy.replace(struct.pack("<I", body_at), struct.pack("<I", len(greedy)))
    greedy = bytearray(greedy)
    struct.pack_into("<I", greedy, 0x38, body_at)
    with pytest.raises(LimitError, match="values of more than"):
        parse(bytes(greedy))


@given(st.data())
def test_damage_gives_one_format_error_or_a_database(draw):
    real = raw_database(X64_IMAGE, PCD_DXE)
    cut, at = (draw.draw(st.integers(0, len(real) - 1)) for _ in range(2))
    patch = draw.draw(st.binary(min_size=1, max_size=8))
    for data in (real[:cut], real[:at] + patch + real[at + len(patch) :]):
        with suppress(FormatError):
            parse(data)
