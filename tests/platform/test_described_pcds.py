"""PCD values of a platform file, in the place of those of an image's databases and beside them."""

from __future__ import annotations

from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.pcd_database import DatumType, Pcd, Storage
from mmsupervisor.platform.description import PcdValue
from mmsupervisor.platform.traditional import with_described_pcds

SPACE = Guid.parse("5E7C4F0A-3A33-4E64-9B1C-3B8E6B0B6E11")
OTHER = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")
BUILT = Pcd(1, None, None, DatumType.UINT16, Storage.DATA, 2, b"\x34\x12")
EXTENDED = Pcd(2, SPACE, 7, DatumType.UINT32, Storage.DATA, 4, bytes(4))


def described(*values: PcdValue) -> dict[tuple[Guid | None, int | None], tuple[int, bytes | None]]:
    """Token and value, by the names that a driver has for them: space and number, or the build's token."""
    found = with_described_pcds((BUILT, EXTENDED), values)
    assert len({pcd.token for pcd in found}) == len(found)
    return {(pcd.token_space, pcd.ex_token if pcd.token_space else pcd.token): (pcd.token, pcd.value) for pcd in found}


def test_a_value_takes_the_place_of_the_images() -> None:
    found = described(PcdValue(1, None, DatumType.UINT16, 0xBEEF), PcdValue(7, SPACE, DatumType.UINT32, 0x0102_0304))
    assert found == {(None, 1): (1, b"\xef\xbe"), (SPACE, 7): (2, bytes((4, 3, 2, 1)))}


def test_a_value_that_the_image_does_not_have_is_added() -> None:
    found = described(
        PcdValue(99, None, DatumType.BOOLEAN, True),
        PcdValue(7, OTHER, DatumType.POINTER, b"text"),
        PcdValue(8, OTHER, DatumType.UINT8, 5),
    )
    assert found[None, 99] == (99, b"\x01")
    assert found[OTHER, 7][1] == b"text"
    assert found[OTHER, 8][1] == b"\x05"
    assert found[None, 1] == (1, BUILT.value)
    assert found[SPACE, 7] == (2, EXTENDED.value), "the same number of another space is another PCD"
