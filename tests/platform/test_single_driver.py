"""A driver that comes as a file: identity, dependencies, what is refused."""

from __future__ import annotations

import pytest

from mmsupervisor import prebuilt
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.pi.depex import DepexSyntaxError
from mmsupervisor.pi.guid import Guid, GuidSyntaxError
from mmsupervisor.platform.sample import ready_depex
from mmsupervisor.platform.single_driver import NoDriverError, describe_driver, encode_depex
from tests.debuginfo.builds import pe_with_dwarf

ECHO = prebuilt.image("Echo")
MINE = ECHO[:0x40] + bytes([ECHO[0x40] ^ 1]) + ECHO[0x41:]
SOME = Guid.parse("12345678-90AB-CDEF-1234-567890ABCDEF")


def test_names_in_the_image_itself_are_taken() -> None:
    known = describe_driver(pe_with_dwarf("Echo", 0), "e", "e")
    assert known.symbols.offset_of("EchoHandler") is not None
    assert known.symbols.lines.offsets


def test_a_shipped_driver_is_recognised_by_its_bytes() -> None:
    known = describe_driver(prebuilt.image("Consumer"), "x/other.efi", "other")
    recorded = prebuilt.driver("Consumer")
    assert (known.name, known.guid, known.depex) == ("Consumer", recorded.guid, recorded.depex)
    assert known.shipped_as == "Consumer"
    assert known.symbols.offset_of("MmDriverEntryPoint") is not None


def test_another_one_is_named_after_its_file() -> None:
    known = describe_driver(MINE, "x/mine.efi", "mine")
    assert (known.name, known.depex, known.shipped_as) == ("mine", ready_depex(), None)
    assert known.symbols == Symbols()
    assert known.guid == describe_driver(MINE, "elsewhere.efi", "mine").guid
    assert known.guid != describe_driver(MINE, "mine.efi", "yours").guid
    assert str(known.guid) == "E9E5FBDD-0D3D-5148-86BA-4026AEFFD99C"


def test_a_traditional_one_waits_for_nothing() -> None:
    assert describe_driver(MINE, "mine.efi", "mine", traditional=True).depex == b"\x06\x08"
    assert describe_driver(MINE, "mine.efi", "mine", traditional=True, depex="FALSE").depex == b"\x07\x08"


def test_what_is_said_counts() -> None:
    symbols = Symbols((0,), ("start",))
    known = describe_driver(ECHO, "e", "e", name="Mine", guid=SOME, depex="TRUE", symbols=symbols)
    assert (known.name, known.guid, known.depex, known.symbols) == ("Mine", SOME, b"\x06\x08", symbols)
    assert known.shipped_as == "Echo"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("TRUE", b"\x06\x08"),
        (f"before {SOME}", b"\x00" + SOME.raw + b"\x08"),
        (f"AFTER  {SOME}", b"\x01" + SOME.raw + b"\x08"),
        (f"{SOME} AND NOT FALSE", b"\x02" + SOME.raw + b"\x07\x05\x03\x08"),
    ],
)
def test_dependencies_as_text(text: str, encoded: bytes) -> None:
    assert encode_depex(text) == encoded


@pytest.mark.parametrize("text", ["", "AND", "TRUE TRUE", "(TRUE", "BEFORE", "gNobody"])
def test_dependencies_that_cannot_be_read(text: str) -> None:
    with pytest.raises((DepexSyntaxError, GuidSyntaxError)):
        describe_driver(ECHO, "e", "e", depex=text)


def with_machine(machine: int) -> bytes:
    coff = int.from_bytes(ECHO[0x3C:0x40], "little") + 4
    return ECHO[:coff] + machine.to_bytes(2, "little") + ECHO[coff + 2 :]


def test_a_machine_that_the_loader_takes_although_it_lies() -> None:
    assert describe_driver(with_machine(0x014C), "e", "e").name == "e"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"", "e: empty: a driver is"),
        (b"VZ" + bytes(60), "TE"),
        (with_machine(0xAA64), "AARCH64"),
        (with_machine(0x01C2), "ARM"),
        (ECHO[:0x90], "damaged PE"),
    ],
)
def test_what_is_refused(image: bytes, says: str) -> None:
    with pytest.raises(NoDriverError, match=says):
        describe_driver(image, "e", "e")
