"""The shipped sample drivers, looked at without running them: shape, stubs, symbols, DEPEX, catalogue."""

from __future__ import annotations

import re
import tomllib
import uuid
from pathlib import Path

import pefile
import pytest

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from mmsupervisor.pi.guid_names import known_guid

SAMPLES = catalogue.samples()
BY_NAME = {sample.name: sample for sample in SAMPLES}
TWINS = {sample.twin: sample for sample in SAMPLES if sample.twin}
DRIVERS = sorted({*BY_NAME, *TWINS})

READY = known_guid("gMmRing3HandlerReadyProtocol").raw
PRODUCER_FILE = prebuilt.driver("Producer").guid.raw
PRODUCER_PROTOCOL = catalogue.guids()["gSampleProducerProtocolGuid"].bytes_le
DEPEX_OF_ITS_OWN = {
    "FirstBeforeBroker": b"\x06\x08",
    "Consumer": b"\x02" + PRODUCER_PROTOCOL + b"\x02" + READY + b"\x03\x08",
    "RunsBefore": b"\x00" + PRODUCER_FILE + b"\x08",
    "RunsAfter": b"\x01" + PRODUCER_FILE + b"\x08",
    "NeedsSor": b"\x09\x06\x02" + READY + b"\x03\x08",
    "NeedsDxeProtocol": b"\x02" + known_guid("gEfiSmmBase2ProtocolGuid").raw + b"\x02" + READY + b"\x03\x08",
}

STUB = re.compile(rb"\x48\x83\xec\x28\xe8....\x48\x83\xc4\x28(?P<way_back>.*)", re.DOTALL)
GATE = bytes.fromhex("4157 ff1c24")  # push r15; call far [rsp]
SYSTEM_CALL = bytes.fromhex("4153 4889c8 0f05 415b c3")  # push r11; mov rax, rcx; syscall; pop r11; ret


# Places that are no symbols of the driver itself.
ELSEWHERE = {
    *("0", "0x50", "below the stacks", "the slot's contents", "ImageHandle", "in the broker"),
    "the message's Address",
}


def shared_sources(sample: catalogue.Sample) -> list[Path]:
    """C sources that a driver takes from another one's folder."""
    described = tomllib.loads((sample.folder / "driver.toml").read_text("utf-8"))
    return [sample.folder / name for name in described["sources"] if name.startswith("../") and name.endswith(".c")]


def symbol(driver: str, name: str) -> prebuilt.Symbol:
    """The only symbol of that name."""
    found = [each for each in prebuilt.symbols(driver) if each.name == name]
    assert len(found) == 1, f"{driver}: {name}: {found}"
    return found[0]


def at(driver: str, name: str, count: int) -> bytes:
    """Bytes of the image at a symbol."""
    rva = symbol(driver, name).rva
    return prebuilt.image(driver)[rva : rva + count]


def test_every_folder_is_a_described_and_shipped_driver() -> None:
    described = {path.parent for path in catalogue.SAMPLES.rglob("driver.toml")}
    assert {path.relative_to(catalogue.SAMPLES).as_posix() for path in described} == {
        *(sample.folder.name for sample in SAMPLES),
        *(f"{sample.folder.name}/twin" for sample in SAMPLES if sample.twin and sample.twin not in BY_NAME),
    }
    assert all(sample.folder.name == sample.name for sample in SAMPLES)
    assert set(DRIVERS) <= set(prebuilt.names())


@pytest.mark.parametrize("driver", DRIVERS)
def test_image_shape(driver: str) -> None:
    image = pefile.PE(data=prebuilt.image(driver))
    assert image.FILE_HEADER.Machine == 0x8664
    assert image.FILE_HEADER.TimeDateStamp == 0
    assert image.FILE_HEADER.Characteristics & 1 == 0, "relocations stripped"
    assert image.OPTIONAL_HEADER.Subsystem == 11
    assert image.OPTIONAL_HEADER.SectionAlignment == 0x1000
    names = [section.Name.rstrip(b"\0").decode() for section in image.sections]
    assert names[:3] == [".text", ".rdata", ".data"]
    assert [section.Name.rstrip(b"\0") for section in image.sections if section.Characteristics & 0x20] == [b".text"]
    writable = [section.Name.rstrip(b"\0") for section in image.sections if section.Characteristics & 0x80000000]
    assert writable == [b".data"]
    assert all(section.VirtualAddress == section.PointerToRawData for section in image.sections)
    assert [warning for warning in image.get_warnings() if not warning.startswith("Byte 0x00 makes up")] == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_relocations_are_the_kind_that_the_loader_knows(driver: str) -> None:
    image = pefile.PE(data=prebuilt.image(driver))
    blocks = getattr(image, "DIRECTORY_ENTRY_BASERELOC", [])
    assert {entry.type for block in blocks for entry in block.entries} <= {0, 10}


@pytest.mark.parametrize("driver", DRIVERS)
def test_entry_stub_leaves_through_the_call_gate(driver: str) -> None:
    image = pefile.PE(data=prebuilt.image(driver))
    assert image.OPTIONAL_HEADER.AddressOfEntryPoint == symbol(driver, "_ModuleEntryPoint").rva
    stub = STUB.match(at(driver, "_ModuleEntryPoint", 20))
    assert stub
    if driver == "ReturnsByRet":
        assert at(driver, "AtReturn", 1) == b"\xc3"
        assert not stub["way_back"].startswith(GATE)
    else:
        assert stub["way_back"].startswith(GATE)


@pytest.mark.parametrize("driver", DRIVERS)
def test_system_call_stub(driver: str) -> None:
    if "SysCall" in {each.name for each in prebuilt.symbols(driver)}:
        assert at(driver, "SysCall", len(SYSTEM_CALL)) == SYSTEM_CALL
    else:
        assert b"\x0f\x05" not in prebuilt.image(driver)[0x1000:0x2000]


@pytest.mark.parametrize("driver", DRIVERS)
def test_depex_waits_for_the_broker(driver: str) -> None:
    assert prebuilt.driver(driver).depex == DEPEX_OF_ITS_OWN.get(driver, b"\x02" + READY + b"\x08")


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_path_of_the_building_machine(driver: str) -> None:
    image = prebuilt.image(driver)
    root = str(Path(catalogue.SAMPLES).parents[1]).encode()
    assert root not in image
    assert b"GCC:" not in image


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_places_named_in_the_catalogue_exist(sample: catalogue.Sample) -> None:
    symbols = {each.name for each in prebuilt.symbols(sample.name)}
    places = [place for case in sample.cases for place in (case.at, case.address) if place and place not in ELSEWHERE]
    named = {re.sub(r"^\*| - 8$", "", place) for place in places}
    assert named <= symbols


@pytest.mark.parametrize("sample", [each for each in SAMPLES if each.message], ids=lambda sample: sample.name)
def test_message_layout_is_the_one_of_the_source(sample: catalogue.Sample) -> None:
    assert sample.message
    sources = [*catalogue.SAMPLES.glob("*.h"), *sample.folder.glob("*.[ch]"), *shared_sources(sample)]
    source = "\n".join(path.read_text("utf-8") for path in sources)
    sizes = dict(re.findall(r"MM_STATIC_ASSERT\(sizeof\((\w+)\) == (\d+)\);", source))
    assert int(sizes[sample.message.type]) == sample.message.size
    members = re.search(rf"typedef struct \{{([^}}]*)\}} {sample.message.type};", source)
    assert members
    declared = re.findall(r"^\s*\w+\s+(\w+)(?:\[\w*\])?;", members[1], re.MULTILINE)
    assert tuple(declared[: len(sample.message.fields)]) == sample.message.fields
    assert declared[len(sample.message.fields) :] in ([], ["Data"])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_guids_are_in_the_image(sample: catalogue.Sample) -> None:
    for name in (sample.handler, sample.protocol):
        if name is not None:
            assert catalogue.guids()[name].bytes_le in prebuilt.image(sample.name)


def test_no_guid_is_used_twice() -> None:
    files = [uuid.UUID(str(prebuilt.driver(name).guid)) for name in prebuilt.names()]
    everything = [*files, *catalogue.guids().values()]
    assert len(set(everything)) == len(everything)


def test_readme_is_current() -> None:
    text = (catalogue.SAMPLES / "README.md").read_text("utf-8")
    assert catalogue.readme_text(text) == text
    for sample in SAMPLES:
        assert all(f" {case.name} | {case.shows}" in text for case in sample.cases)


def test_readme_check_can_fail() -> None:
    text = (catalogue.SAMPLES / "README.md").read_text("utf-8")
    changed = text.replace("vector 13", "vector 12", 1)
    assert changed != text
    assert catalogue.readme_text(changed) != changed


@pytest.mark.parametrize(
    ("line", "word"),
    [("colour = 1", "colour"), ('[[groups]]\nrule = "r"\ncases = [{ name = "N", shows = "s", stop = "nap" }]', "nap")],
)
def test_catalogue_refuses_what_it_does_not_know(line: str, word: str, tmp_path: Path) -> None:
    folder = tmp_path / "Planted"
    folder.mkdir()
    (folder / "driver.toml").write_text('name = "Planted"\n', "utf-8")
    (folder / "sample.toml").write_text(f'shows = "nothing"\n{line}\n', "utf-8")
    with pytest.raises(catalogue.SampleError, match=word):
        catalogue.read_sample(folder / "sample.toml")
