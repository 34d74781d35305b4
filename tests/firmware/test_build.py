"""firmware/build.py: what it makes is what is shipped, in any directory, and its checks find faults."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pefile
import pytest

from mmsupervisor import prebuilt
from mmsupervisor.pi.guid_names import known_guid
from tests.firmware.broker_host import FIRMWARE

BROKER = "MmSupervisorRing3Broker"
SHIPPED = FIRMWARE.parent / "src" / "mmsupervisor" / "prebuilt"
READY = uuid.UUID("D5920E08-1CAB-4AAD-B47C-8F83290B31CB").bytes_le
OTHER = "ED32D533-99E6-4209-9CC0-2D72CDD998A7"

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, which this machine lacks")


def load(path: Path) -> ModuleType:
    """Import a copy of build.py under a name of its own."""
    name = f"firmware_build_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build() -> Any:
    return load(FIRMWARE / "build.py")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Any:
    """The same build in another directory, with the broker alone: free to be broken."""
    copy = tmp_path / "a rather long path with spaces" / "firmware"
    copy.mkdir(parents=True)
    for part in ("include", "lib", "broker"):
        shutil.copytree(FIRMWARE / part, copy / part)
    for part in ("build.py", "driver.ld"):
        shutil.copy(FIRMWARE / part, copy)
    return load(copy / "build.py")


@needs_gcc
def test_what_is_shipped_is_what_the_sources_give(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte where the recorded compiler and linker are at hand; elsewhere the build must go through."""
    assert build.main(["--check"]) == 0, capsys.readouterr().err


@needs_gcc
def test_another_directory_gives_the_same_bytes(build: Any, elsewhere: Any, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert build.main(["--output", str(here), BROKER]) == 0
    assert elsewhere.main(["--output", str(there), BROKER]) == 0
    for name in (f"{BROKER}.efi", f"{BROKER}.map", "record.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def copy_shipped(folder: Path) -> Path:
    target = folder / "prebuilt"
    shutil.copytree(SHIPPED, target)
    return target


def change_record(folder: Path, *keys: str, value: Any) -> None:
    path = folder / "record.json"
    record = json.loads(path.read_text())
    entry = record["drivers"][BROKER]
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = value
    path.write_text(json.dumps(record))


@needs_gcc
def test_check_finds_a_changed_image(build: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = copy_shipped(tmp_path)
    image = bytearray((shipped / f"{BROKER}.efi").read_bytes())
    image[-1] ^= 1
    (shipped / f"{BROKER}.efi").write_bytes(image)
    assert build.main(["--check", "--output", str(shipped), BROKER]) == 1
    assert "shipped files are not the recorded ones" in capsys.readouterr().err


@needs_gcc
@pytest.mark.parametrize(("changed", "key"), [("broker/cpu.c", "sources"), ("include/mm/cpu.h", "library")])
def test_check_finds_a_changed_source(
    elsewhere: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str, key: str
) -> None:
    source = elsewhere.FIRMWARE / changed
    source.write_text(source.read_text() + "/* later */\n")
    shipped = copy_shipped(tmp_path)
    assert elsewhere.main(["--check", "--output", str(shipped), BROKER]) == 1
    assert f"{key} differs" in capsys.readouterr().err


@needs_gcc
def test_bytes_count_only_with_the_recorded_tools(
    build: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = copy_shipped(tmp_path)
    (shipped / f"{BROKER}.efi").write_bytes(b"made by another compiler")
    change_record(shipped, "image", value={"sha256": build.digest(b"made by another compiler"), "size": 24})
    versions = build.tool_versions()
    change_record(shipped, "tools", value=versions)
    assert build.main(["--check", "--output", str(shipped), BROKER]) == 1
    assert "image differs" in capsys.readouterr().err
    change_record(shipped, "tools", value={"gcc": "another", "ld": "another"})
    assert build.main(["--check", "--output", str(shipped), BROKER]) == 0


@needs_gcc
def test_check_misses_no_driver(build: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.json").write_text('{"format": 1, "drivers": {}}')
    assert build.main(["--check", "--output", str(tmp_path), BROKER]) == 1
    assert "not in record.json" in capsys.readouterr().err


@needs_gcc
def test_a_source_that_does_not_compile_or_link(elsewhere: Any, tmp_path: Path) -> None:
    source = elsewhere.FIRMWARE / "broker" / "cpu.c"
    text = source.read_text()
    source.write_text(text + "int broken(;\n")
    assert elsewhere.main(["--output", str(tmp_path), BROKER]) == 1
    source.write_text(text.replace("SysCall(SMM_SC_SVST_READ,", "Nowhere(SMM_SC_SVST_READ,"))
    assert elsewhere.main(["--output", str(tmp_path), BROKER]) == 1
    assert not list(tmp_path.glob("*.efi"))


@needs_gcc
def test_elf_has_the_code_of_the_image(build: Any, tmp_path: Path) -> None:
    """A debugger's line numbers fit only if both are laid out alike and -g changes nothing."""
    assert build.main(["--output", str(tmp_path), "--elf", str(tmp_path), BROKER]) == 0
    image = (tmp_path / f"{BROKER}.efi").read_bytes()
    text = pefile.PE(data=image).sections[0]
    elf, raw = tmp_path / f"{BROKER}.elf", tmp_path / "text.bin"
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(elf), str(raw)], check=True)
    assert raw.read_bytes() == image[0x1000 : 0x1000 + text.Misc_VirtualSize]
    assert (
        ".debug_line" in subprocess.run(["objdump", "-h", str(elf)], capture_output=True, text=True, check=True).stdout
    )


@needs_gcc
def test_sizes_and_places_of_symbols_are_those_of_the_elf(build: Any, tmp_path: Path) -> None:
    """The symbol file is put together from a map and objects; an ELF's own table is the oracle."""
    assert build.main(["--output", str(tmp_path), "--elf", str(tmp_path), BROKER]) == 0
    listing = subprocess.run(
        ["nm", "-S", "--defined-only", str(tmp_path / f"{BROKER}.elf")], capture_output=True, text=True, check=True
    ).stdout
    wanted = sorted(
        (int(words[0], 16), int(words[1], 16), words[3])
        for words in map(str.split, listing.splitlines())
        if len(words) == 4
    )
    lines = [line.split() for line in (tmp_path / f"{BROKER}.map").read_text().splitlines()[1:]]
    assert wanted == sorted((int(rva, 16), int(size, 16), name) for rva, size, _, _, name in lines)


def test_header_guids_are_the_known_ones(build: Any) -> None:
    guids = build.header_guids()
    assert len(guids) > 40
    assert {name: value.bytes_le for name, value in guids.items()} == {name: known_guid(name).raw for name in guids}


def test_depex_composition(build: Any) -> None:
    """docs/reference/guids.md section 2: how files built against the services-table library look."""
    other = uuid.UUID(OTHER).bytes_le

    def compose(words: list[str], after_broker: bool = True) -> bytes:
        made: bytes = build.compose_depex(words, after_broker, build.header_guids(), "here")
        return made

    assert compose(["TRUE"], after_broker=False) == b"\x06\x08"
    assert compose(["TRUE"]) == b"\x02" + READY + b"\x08"
    assert compose([OTHER]) == b"\x02" + other + b"\x02" + READY + b"\x03\x08"
    assert compose(["gEfiSmmVariableProtocolGuid", "NOT"], after_broker=False) == b"\x02" + other + b"\x05\x08"
    assert compose(["AFTER", OTHER], after_broker=False) == b"\x01" + other + b"\x08"
    two = compose([OTHER, OTHER, "AND"], after_broker=True)
    assert two == (b"\x02" + other) * 2 + b"\x03" + b"\x02" + READY + b"\x03\x08"
    with pytest.raises(build.BuildError, match="gNobody"):
        compose(["gNobody"])


def test_a_description_is_taken_at_its_word(elsewhere: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = elsewhere.FIRMWARE / "broker" / "driver.toml"
    text = path.read_text()
    path.write_text(text + "afterbroker = true\n")
    assert elsewhere.main([BROKER]) == 1
    assert "afterbroker" in capsys.readouterr().err
    path.write_text(text.replace("purpose", "porpoise"))
    assert elsewhere.main([BROKER]) == 1
    path.write_text(text)
    twin = elsewhere.FIRMWARE / "twin"
    shutil.copytree(path.parent, twin)
    assert elsewhere.main([BROKER]) == 1
    assert "share a name or a GUID" in capsys.readouterr().err


def test_names_are_checked(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["NoSuchDriver"]) == 1
    assert "NoSuchDriver" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("offset", "value", "lacks"),
    [
        (4, struct.pack("<H", 0x14C), "machine X64"),
        (8, struct.pack("<I", 1), "no time stamp"),
        (22, struct.pack("<H", 0x22F), "relocations kept"),
        (24 + 32, struct.pack("<I", 0x20), "page-aligned sections"),
        (24 + 68, struct.pack("<H", 12), "subsystem 11"),
        (24 + 240 + 36, struct.pack("<I", 0x40000040), "one code section"),
        (24 + 240 + 40 + 36, struct.pack("<I", 0x60000020), "one code section"),
        (24 + 240 + 40 + 36, struct.pack("<I", 0xC0000040), "only data writable"),
    ],
)
def test_an_image_that_the_supervisor_would_refuse_is_not_shipped(
    build: Any, offset: int, value: bytes, lacks: str
) -> None:
    driver = build.selected([BROKER])[0]
    image = bytearray(prebuilt.image(BROKER))
    build.verify_image(driver, bytes(image))
    at = struct.unpack_from("<I", image, 0x3C)[0] + offset
    image[at : at + len(value)] = value
    with pytest.raises(build.BuildError, match=lacks):
        build.verify_image(driver, bytes(image))


def test_every_description_is_shipped_as_it_says(build: Any) -> None:
    described = {driver.name: driver for driver in build.all_drivers()}
    assert set(prebuilt.names()) == set(described)
    for name, driver in described.items():
        shipped = prebuilt.driver(name)
        assert shipped.guid.raw == driver.guid.bytes_le
        assert shipped.depex == driver.depex
        assert shipped.image_size == len(prebuilt.image(name))


def test_asking_for_a_driver_that_is_not_there() -> None:
    with pytest.raises(prebuilt.PrebuiltError, match="NoSuchDriver"):
        prebuilt.image("NoSuchDriver")
