"""Damaged, cut and foreign input: a report or one line, within bounds, never anything else."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest

from mmsupervisor.inventory.document import document
from mmsupervisor.inventory.model import ImageReport
from mmsupervisor.inventory.survey import survey
from mmsupervisor.pi.container import InputError, read_image
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.limits import Limits
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import FileType, walk
from mmsupervisor.pi.volume.build import FileSpec
from tests.inventory import mm_images as mm
from tests.pi.pe_builder import TEXT, BuiltSection, PeBuilder
from tests.support.ovmf import Ovmf

NOTHING = "no firmware: there is nothing in it for management mode"
NOT_KNOWN = "no firmware volume was found: what this is, and what is in it for management mode, cannot be told"
SMALL = Limits(expanded_bytes=1 << 24, items=20_000)
MOST_SECONDS = 10.0
"""Processor time for one input; the real figure is far below one."""


def reported(data: bytes) -> ImageReport:
    """The report, made within bounds; whatever is raised fails the test."""
    start = time.process_time()
    report = survey(data, SMALL)
    document([report])
    assert time.process_time() - start < MOST_SECONDS
    return report


def boundaries(data: bytes) -> list[int]:
    """Offsets in an input at which something begins or ends."""
    image = read_image(Reader(data, "input"))
    found = {0, len(data)}
    for place in walk(image):
        if place.node.part == image.part:
            found |= {place.node.offset, place.node.offset + len(place.node.raw)}
    return sorted(found)


@pytest.fixture(scope="module")
def supervised() -> bytes:
    traditional = mm.driver("IoMsr", type_=FileType.MM)
    return mm.volume(*mm.whole(), traditional) + mm.volume(mm.nested(mm.volume(mm.driver("Echo"))))


def test_cuts_at_every_boundary(supervised: bytes) -> None:
    cuts = {at + by for at in boundaries(supervised) for by in (-1, 0, 1)}
    assert len(cuts) > 50
    for cut in sorted(cuts):
        if 0 <= cut < len(supervised):
            reported(supervised[:cut])


def test_cuts_of_a_real_image_at_its_boundaries(ovmf: Ovmf) -> None:
    data = ovmf.path("OVMF_CODE_4M.secboot.fd").read_bytes()
    for at in boundaries(data):
        for by in (-1, 0, 1):
            if 0 <= at + by < len(data):
                reported(data[: at + by])


def test_cuts_at_2000_offsets(supervised: bytes) -> None:
    rng = random.Random(20261)
    damaged = 0
    for _ in range(2000):
        report = reported(supervised[: rng.randrange(len(supervised))])
        damaged += report.is_damaged or not report.is_firmware
    assert damaged > 1900


def test_flipped_bytes(supervised: bytes) -> None:
    rng = random.Random(20262)
    for _ in range(600):
        data = bytearray(supervised)
        for _ in range(rng.choice([1, 1, 4, 64])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        reported(bytes(data))


def test_random_bytes() -> None:
    rng = random.Random(20263)
    for size in (1, 2, 15, 16, 55, 56, 4096, 1 << 16):
        report = reported(rng.randbytes(size))
        assert not report.is_firmware
        assert report.summary == (NOT_KNOWN if report.kind == "no firmware known here" else NOTHING,)


@pytest.mark.parametrize(
    ("data", "kind", "sentence"),
    [
        (b"", "empty file", NOTHING),
        (b"[Defines]\n  INF_VERSION = 0x00010005\n", "text", NOTHING),
        (b"\xff" * 4096, "erased flash", NOTHING),
        (
            b"PK\3\4" + bytes(60),
            "file of another format",
            "no firmware image, but ZIP archive: what is in it is not looked at",
        ),
        (bytes(range(256)), "no firmware known here", NOT_KNOWN),
    ],
)
def test_what_is_no_firmware_is_said_to_be_that(data: bytes, kind: str, sentence: str) -> None:
    report = survey(data)
    assert report.kind == kind
    assert not report.is_firmware
    assert report.summary == (sentence,)


def test_a_lone_image_is_described() -> None:
    image = PeBuilder([BuiltSection(".text", b"\xc3" * 16, TEXT)]).build()
    report = survey(image)
    assert report.kind == "PE image"
    assert report.is_firmware
    assert report.executable is not None
    assert (report.executable.format, report.executable.machine) == ("PE32+", "X64")
    assert survey(b"MZ" + bytes(200)).executable is not None


@pytest.mark.parametrize("what", ["missing", "folder", "unreadable"])
def test_what_cannot_be_read_raises_one_line(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervised: bytes
) -> None:
    path = tmp_path / "image.fd"
    if what == "folder":
        path.mkdir()
    if what == "unreadable":
        path.write_bytes(supervised)

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        # Root may read everything, so the refusal is played.
        monkeypatch.setattr("mmsupervisor.pi.container.input_file.os.open", refuse)
    with pytest.raises(InputError, match=r"image\.fd: \w+"):
        survey(path)


def test_images_that_claim_to_be_huge_do_not_add_up() -> None:
    """Each driver claims 48 MiB in memory: mapping all of them would be the attack."""
    image = PeBuilder([BuiltSection(".text", b"\xc3", TEXT)], overrides={"size_of_image": 48 << 20}).build()
    files = [FileSpec(mm.HOLDER, FileType.MM_STANDALONE, mm.driver("Echo", image=image).data) for _ in range(40)]
    start = time.process_time()
    report = survey(mm.volume(*files), Limits(expanded_bytes=100 << 20))
    assert time.process_time() - start < MOST_SECONDS
    troubles = [module.executable.trouble for module in report.modules if module.executable]
    assert len(troubles) == 40
    assert sum("expands to more than" in trouble for trouble in troubles) == 38


def relocated(count: int) -> bytes:
    """An image with so many relocations, all of the same place."""
    block = struct.pack("<II", 0x1000, 8 + 2 * count) + struct.pack("<H", 0xA000) * count
    return PeBuilder([BuiltSection(".text", b"\xc3" * 16, TEXT)], relocations=block).build()


@pytest.mark.parametrize(
    ("driver", "word"),
    [
        (mm.driver("Echo", depex=b"\x06" * 900 + b"\x08"), "dependency"),
        (mm.driver("Echo", image=relocated(900)), "executable"),
    ],
    ids=["instructions", "relocations"],
)
def test_modules_share_one_bound(driver: FileSpec, word: str) -> None:
    """Each alone is within the bound: together they would be the attack, and compressed they take no room."""
    most = 5000
    report = survey(mm.volume(*[driver] * 20), Limits(items=most))
    troubles = ["holds more than" in getattr(module, word).trouble for module in report.modules]
    assert troubles[:4] == [False] * 4
    assert troubles[5:] == [True] * 15
    limits = [(problem.text, problem.is_damage) for problem in report.problems if problem.kind == "limit"]
    assert limits == [
        ("modules and policies ask for more than the bounds allow: not all of them are described in full", True)
    ]
    few = survey(mm.volume(*[driver] * 4), Limits(items=most))
    assert few.problems == ()


def test_limits_are_held(supervised: bytes, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="more than 3 items"):
        survey(supervised, Limits(items=3))
    path = tmp_path / "large.fd"
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(LimitError, match="larger than 1 MiB"):
        survey(path, Limits(input_bytes=1 << 20))
