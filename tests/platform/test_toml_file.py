"""Platform files: every key has its effect, every fault its line, and what is written reads back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.errors import SourceError
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.hob import ResourceType
from mmsupervisor.pi.pcd_database import DatumType
from mmsupervisor.pi.supervisor_hobs import MemoryProtectionSettings
from mmsupervisor.platform.description import (
    AddressRange,
    DeviceFacts,
    MemoryAttributesEntry,
    MemoryRange,
    PcdValue,
    PlatformDescription,
    SecurityFacts,
)
from mmsupervisor.platform.schema import SECTIONS, Section
from mmsupervisor.platform.toml_file import (
    check_platform,
    load_platform,
    plain_platform,
    read_platform,
    write_platform,
)

DEFAULT = PlatformDescription()

EVERYTHING = """
[platform]
name = "Lab \\"7\\""
profile = "q35"
until = "end-of-dxe"
budget = 5_000

[processor]
vendor = "intel"
cpus = 2
address_bits = 40

[processor.msrs]
0x1B = 1
416 = 0x850089

[memory]
low = 0x9F000
top = 0x7000_0000
above_4g = 0x1_0000_0000

[mmram]
size = 0x80_0000

[[mmram.more]]
start = 0x500_0000
size = 0x10_0000

[[range]]
name = "TPM"
start = 0xFED4_0000
size = 0x5000

[[range]]
name = "boot flash"
start = 0xFF00_0000
size = 0x100_0000
type = "firmware-device"

[[protected]]
start = 0xFED9_0000
size = 0x1000

[protection]
enabled = true
null_pointer_detection = true
page_guard = true
guard_at_head = true
page_types = 0x50
pool_types = 0x40

[communication]
supervisor_pages = 8
moves = false

[image]
visible_volumes = ["0x0", "LZMA@0x90 0xe0090"]
withheld = ["gEfiMmCommunicationProtocolGuid"]

[[pcd]]
token = 7
type = "BOOLEAN"
value = true

[[pcd]]
token = 0x10
space = "27A71B1E-73EE-43D6-ACE3-521A2DC5D092"
type = "VOID*"
value = "01 fF"

[devices]
debug_port = 0
serial_port = 0x2F8
pm_base = 0x400
pm_timer_ticks = 1
ecam = 0xE000_0000
root_complex = 0
date = 2030-02-03 04:05:06.5
files = ["mine.py"]

[flash]
code = "code.fd"
variables = "sub/vars.fd"
erased = 0x2000

[security]
iommu_table = true
iommu_registers = [0xFED9_0000]
txt_heap_start = 0x700_0000
txt_heap_size = 0x1000
txt_dpr_start = 0x800_0000
txt_dpr_size = 0x30_0000
memory_attributes_table = false

[[security.memory_attributes]]
start = 0x6F00_0000
size = 0x2000
type = "runtime-code"
execute_protected = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that EVERYTHING names."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "code.fd").write_bytes(bytes(0x2000))
    (tmp_path / "sub/vars.fd").write_bytes(bytes(0x1000))
    return tmp_path


def everything(folder: Path) -> PlatformDescription:
    return PlatformDescription(
        name='Lab "7"',
        profile=replace(PROFILES["q35"], supervisor_comm_pages=8),
        vendor=Vendor.INTEL,
        cpus=2,
        address_bits=40,
        until=Phase.END_OF_DXE,
        low_memory=0x9F000,
        memory_top=0x7000_0000,
        above_4g=1 << 32,
        mmram_size=0x80_0000,
        more_mmram=(AddressRange(0x500_0000, 0x10_0000),),
        ranges=(
            MemoryRange(0xFED4_0000, 0x5000, ResourceType.MEMORY_MAPPED_IO, "TPM"),
            MemoryRange(0xFF00_0000, 0x100_0000, ResourceType.FIRMWARE_DEVICE, "boot flash"),
        ),
        msrs={0x1B: 1, 0x1A0: 0x850089},
        moves_comm_buffers=False,
        withheld=frozenset({known_guid("gEfiMmCommunicationProtocolGuid")}),
        budget=5000,
        protected=(AddressRange(0xFED9_0000, 0x1000),),
        protection=MemoryProtectionSettings(1, 5, 0x40, 0x50),
        visible_volumes=("0x0", "LZMA@0x90 0xe0090"),
        pcds=(
            PcdValue(7, None, DatumType.BOOLEAN, 1),
            PcdValue(0x10, known_guid("gEfiMmCommunicationProtocolGuid"), DatumType.POINTER, b"\x01\xff"),
        ),
        devices=DeviceFacts(
            debug_port=0,
            serial_port=0x2F8,
            pm_base=0x400,
            pm_timer_ticks=1,
            ecam=0xE000_0000,
            root_complex=0,
            date=datetime(2030, 2, 3, 4, 5, 6),  # noqa: DTZ001
            flash_code=folder / "code.fd",
            flash_variables=folder / "sub/vars.fd",
            flash_erased=0x2000,
            files=(folder / "mine.py",),
        ),
        security=SecurityFacts(
            iommu_table=True,
            iommu_registers=(0xFED9_0000,),
            txt_heap=AddressRange(0x700_0000, 0x1000),
            txt_dpr=AddressRange(0x800_0000, 0x30_0000),
            memory_attributes_table=False,
            memory_attributes=(MemoryAttributesEntry(0x6F00_0000, 0x2000, 5, True),),
        ),
    )


def read(text: str, folder: Path = Path()) -> PlatformDescription:
    return read_platform(text.encode(), "p.toml", folder)


def faults(text: str, folder: Path = Path()) -> list[str]:
    return [str(error) for error in check_platform(text.encode(), "p.toml", folder)]


# Reading


def test_an_empty_file_is_the_default() -> None:
    assert read("") == DEFAULT


def test_every_key_has_its_effect(folder: Path) -> None:
    (folder / "p.toml").write_text(EVERYTHING)
    found = load_platform(folder / "p.toml")
    wanted = everything(folder)
    wanted = replace(wanted, pcds=(wanted.pcds[0], replace(wanted.pcds[1], space=found.pcds[1].space)))
    assert found == wanted
    assert str(found.pcds[1].space) == "27A71B1E-73EE-43D6-ACE3-521A2DC5D092"


def test_the_file_above_has_every_key() -> None:
    """So that no key of the schema is left without the test before this one."""
    import tomllib

    data = tomllib.loads(EVERYTHING)
    absent = []
    for section in SECTIONS:
        values = data
        for part in section.path:
            values = values[part]
        tables = values if section.is_array else [values]
        absent += [
            f"{section.name}.{key.name}" for key in section.keys if not any(key.name in table for table in tables)
        ]
    assert absent == ["protection.pool_guard", "communication.user_pages"]


def test_the_two_keys_that_it_leaves_out() -> None:
    assert read("[communication]\nuser_pages = 3\n").profile.user_comm_pages == 3
    settings_ = read("[protection]\nenabled = true\npool_guard = true\n").protection
    assert settings_ == MemoryProtectionSettings(guards=2)


def test_comm_pages_follow_the_profile() -> None:
    assert read('[platform]\nprofile = "newest-debug"\n').profile == PROFILES["newest-debug"]


def test_arrays_and_msrs_replace_the_default() -> None:
    assert read('[[range]]\nname = "x"\nstart = 0xFED0_0000\nsize = 0x1000\n').ranges == (
        MemoryRange(0xFED0_0000, 0x1000, ResourceType.MEMORY_MAPPED_IO, "x"),
    )
    assert read("[processor.msrs]\n0x10 = 5\n").msrs == {0x10: 5}
    assert read("[processor.msrs]\n").msrs == {}
    assert read("[processor]\ncpus = 1\n").msrs == DEFAULT.msrs


# Writing


@pytest.mark.parametrize("comments", [True, False])
def test_what_is_written_reads_back(folder: Path, comments: bool) -> None:
    assert read(write_platform(DEFAULT, comments=comments)) == DEFAULT
    found = read(EVERYTHING, folder)
    assert read(write_platform(found, comments=comments)) == found


def test_the_commented_file_names_and_explains_every_key() -> None:
    text = write_platform(DEFAULT, comments=True)
    lines = text.splitlines()
    for section in SECTIONS:
        header = f"[[{section.name}]]" if section.is_array else f"[{section.name}]"
        assert header in text
        assert section.meaning[:40] in text
        for key in section.keys:
            assert any(line.lstrip("# ").startswith(f"{key.name} = ") for line in lines), key.name
            assert key.meaning[:40] in text
    assert max(map(len, lines)) <= 110


def test_plain_values_are_json_with_addresses_as_text(folder: Path) -> None:
    plain = plain_platform(read(EVERYTHING, folder))
    assert json.loads(json.dumps(plain)) == plain
    assert plain["mmram"] == {"size": "0x800000", "more": [{"start": "0x5000000", "size": "0x100000"}]}
    assert plain["processor"]["msrs"] == {"0x1B": "0x1", "0x1A0": "0x850089"}
    assert plain["platform"]["budget"] == 5000
    assert plain["pcd"][1]["value"] == "01ff"


RANGES = st.lists(st.integers(1, 200), min_size=0, max_size=6, unique=True)


@settings(max_examples=60)
@given(
    st.integers(1, 64),
    st.integers(1, 64),
    RANGES,
    st.dictionaries(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1), max_size=4),
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8),
)
def test_any_sound_description_survives_the_file(
    cpus: int, megabytes: int, slots: list[int], msrs: dict[int, int], name: str
) -> None:
    ranges = tuple(
        MemoryRange(0xC000_0000 + slot * 0x10_0000, 0x1000 * slot, ResourceType.MEMORY_MAPPED_IO, f"{name}{slot}")
        for slot in slots
    )
    description = replace(DEFAULT, cpus=cpus, mmram_size=megabytes << 20, ranges=ranges, msrs=msrs, name=name)
    assert read(write_platform(description, comments=False)) == description


# Faults: of keys

KEY_FAULTS = [
    ("x = 1", "p.toml:1: `x`: unknown key; known here: communication, devices, "),
    ("\n[memory]\ntpo = 1", "p.toml:3: `memory.tpo`: unknown key; known here: above_4g, low, top"),
    ("[processor]\nmsr = {}", "p.toml:2: `processor.msr`: unknown key; known here: address_bits, cpus, msrs, vendor"),
    ("[memory]\ntop = 'high'", "p.toml:2: `memory.top`: must be a whole number"),
    ("[processor]\ncpus = true", "p.toml:2: `processor.cpus`: must be a whole number"),
    ("[processor]\ncpus = 65", "p.toml:2: `processor.cpus`: must be from 1 to 64"),
    ("[memory]\ntop = 0x7000_0800", "p.toml:2: `memory.top`: must be a multiple of 0x1000"),
    ("[memory]\ntop = -1", "p.toml:2: `memory.top`: must be from 0x800_0000 to 0x1_0000_0000"),
    ("[communication]\nmoves = 1", "p.toml:2: `communication.moves`: must be true or false"),
    ("[platform]\nname = ''", "p.toml:2: `platform.name`: must be text of one line, not empty"),
    ('[platform]\nname = "\\u0007"', "p.toml:2: `platform.name`: must be text of one line"),
    ("[processor]\nvendor = 'via'", 'p.toml:2: `processor.vendor`: must be one of "amd", "intel"'),
    ("[platform]\nprofile = 3", 'p.toml:2: `platform.profile`: must be one of "newest-release"'),
    ("[image]\nwithheld = 'x'", "p.toml:2: `image.withheld`: must be a list"),
    ("[image]\nwithheld = [\n 'x' ]", "p.toml:2: `image.withheld`: value 1 of the list must be a GUID"),
    ("[devices]\ndate = 2026-01-01", "p.toml:2: `devices.date`: must be a date and time without a zone"),
    ("[devices]\ndate = 2026-01-01T00:00:00Z", "p.toml:2: `devices.date`: must be a date and time without a zone"),
    ("[flash]\ncode = 1", "p.toml:2: `flash.code`: must be text of one line, not empty"),
    ("memory = 1", "p.toml:1: `memory`: must be a table"),
    ("range = 1", "p.toml:1: `range`: must be an array of tables, written [[range]]"),
    ("[range]\nname = 'x'", "p.toml:1: `range`: must be an array of tables, written [[range]]"),
    ("[[range]]\nname = 'x'\nstart = 0", "p.toml:1: `range[1]`: `size` is missing (bytes, at least 0x1000"),
    ("[processor.msrs]\nx = 1", "p.toml:2: `processor.msrs.x`: must be a number"),
    ("[processor.msrs]\n0x1_0000_0000 = 1", "p.toml:2: `processor.msrs.0x1_0000_0000`: must be from 0x0 to"),
    ("[processor.msrs]\n0x10 = 1\n16 = 2", "p.toml:3: `processor.msrs.16`: is 0x10 again"),
    ("[processor.msrs]\n0x10 = 'a'", "p.toml:2: `processor.msrs.0x10`: must be a whole number"),
    ("[[pcd]]\ntoken = 1\ntype = 'UINT8'\nvalue = 'zz'", "p.toml:4: `pcd[1].value`: must be a number, true, false"),
    ("a = ", "p.toml"),
]

# Faults: between keys

RULE_FAULTS = [
    ("[mmram]\nsize = 0x7E00_0000", "p.toml:2: `mmram.size`: MMRAM would begin at 0x2000000; memory below 0x4000000"),
    (
        "[processor]\ncpus = 64\n[mmram]\nsize = 0x8_6000",
        "p.toml:4: `mmram.size`: 64 CPUs take 0x86000 bytes of it, and nothing is left",
    ),
    (
        "[[mmram.more]]\nstart = 0x100_0000\nsize = 0x1000",
        "p.toml:1: `mmram.more[1]`: must lie within memory from 0x4000000 to 0x80000000",
    ),
    (
        "[[mmram.more]]\nstart = 0x8000_0000\nsize = 0x1000",
        "p.toml:1: `mmram.more[1]`: must lie within memory from 0x4000000 to 0x80000000",
    ),
    (
        "[[mmram.more]]\nstart = 0x7DFF_F000\nsize = 0x2000",
        "p.toml:1: `mmram.more[1]`: the range overlaps MMRAM at the top of memory (0x7e000000 to 0x7fffffff)",
    ),
    ("[processor]\naddress_bits = 32\n[memory]\nabove_4g = 0x1000", "p.toml:4: `memory.above_4g`: goes beyond"),
    (
        "[[range]]\nname = 'x'\nstart = 0x10_0000_0000\nsize = 0x1000",
        'p.toml:1: `range[1]`: "x" goes beyond the address width of 36 bits',
    ),
    (
        "[[range]]\nname = 'x'\nstart = 0x7FFF_F000\nsize = 0x2000",
        'p.toml:1: `range[1]`: "x" overlaps memory below 4 GiB (0x100000 to 0x7fffffff)',
    ),
    (
        """[[range]]
name = 'a'
start = 0xFED0_0000
size = 0x2000
[[range]]
name = 'b'
start = 0xFED0_1000
size = 0x1000
""",
        'p.toml:5: `range[2]`: "b" overlaps "a" (0xfed00000 to 0xfed01fff)',
    ),
    ("[memory]\nlow = 0x10_0000", 'p.toml:1: `range[1]`: "VGA and option ROMs" overlaps low memory (0x0 to 0xfffff)'),
    (
        "[[protected]]\nstart = 0x7F00_0000\nsize = 0x1000",
        "p.toml:1: `protected[1]`: the protected region overlaps memory below 4 GiB",
    ),
    ("[devices]\ndebug_port = 0x3FA", "p.toml:1: `devices.serial_port`: the serial port overlaps the debug port"),
    ("[devices]\nserial_port = 0x6C", "p.toml:2: `devices.serial_port`: the serial port overlaps CMOS (0x70 to 0x73)"),
    ("[devices]\necam = 0x7000_0000", "p.toml:2: `devices.ecam`: ECAM overlaps memory below 4 GiB"),
    (
        "[[pcd]]\ntoken = 1\ntype = 'UINT8'\nvalue = 256",
        "p.toml:4: `pcd[1].value`: does not fit into UINT8",
    ),
    ("[[pcd]]\ntoken = 1\ntype = 'VOID*'\nvalue = 2", "p.toml:4: `pcd[1].value`: does not fit into VOID*"),
    ("[[pcd]]\ntoken = 1\ntype = 'BOOLEAN'\nvalue = '01'", "p.toml:4: `pcd[1].value`: does not fit into BOOLEAN"),
    (
        "[[pcd]]\ntoken = 1\ntype = 'UINT8'\nvalue = 1\n[[pcd]]\ntoken = 1\ntype = 'UINT8'\nvalue = 1",
        "p.toml:6: `pcd[2].token`: token 0x1 has a value already",
    ),
    ("[devices]\nfiles = [\n'gone.py']", "p.toml:3: `devices.files[1]`: there is no file gone.py"),
    (
        """[memory]
top = 0x1_0000_0000
[[range]]
name = 'x'
start = 0x1_0000_0000
size = 0x1000
[devices]
ecam = 0
[flash]
erased = 0x1000
""",
        "p.toml:10: `flash.erased`: the flash overlaps memory below 4 GiB",
    ),
    ("[flash]\ncode = 'gone.fd'", "p.toml:2: `flash.code`: there is no file gone.fd"),
]


@pytest.mark.parametrize(("text", "message"), KEY_FAULTS + RULE_FAULTS)
def test_a_fault_is_named_with_line_and_rule(text: str, message: str) -> None:
    found = faults(text)
    assert found
    assert found[0].startswith(message)
    with pytest.raises(SourceError) as caught:
        read(text)
    assert str(caught.value) == found[0]


def test_flash_files_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "odd.fd").write_bytes(bytes(100))
    (message,) = faults("[flash]\nvariables = 'odd.fd'", tmp_path)
    assert message.endswith("has 100 bytes, not whole sectors of 4096")
    big = tmp_path / "big.fd"
    with big.open("wb") as stream:
        stream.truncate(0x5000_0000)
    (message,) = faults("[flash]\ncode = 'big.fd'", tmp_path)
    assert message.startswith("p.toml:2: `flash.code`: the flash overlaps ECAM (0xb0000000")


def test_all_faults_are_told_by_line() -> None:
    text = "[processor]\ncpus = 0\nvendor = 1\n[platform]\nx = 1\n[[range]]\n[memory]\ntop = 1\n"
    assert [int(line.split(":")[1]) for line in faults(text)] == [2, 3, 5, 6, 6, 6, 8]


def every_key() -> Iterator[tuple[Section, str]]:
    for section in SECTIONS:
        for key in section.keys:
            yield section, key.name


@pytest.mark.parametrize(("section", "name"), list(every_key()), ids=lambda part: getattr(part, "name", part))
def test_no_key_takes_a_value_of_another_type(section: Section, name: str) -> None:
    header = f"[[{section.name}]]" if section.is_array else f"[{section.name}]"
    found = faults(f"\n{header}\n{name} = {{ odd = 1.5 }}\n")
    prefix = f"p.toml:3: `{section.name}{'[1]' if section.is_array else ''}.{name}`: must be "
    assert any(line.startswith(prefix) for line in found), found


ODD_TEXT = st.text(st.sampled_from("[]={}\"'\n .#-0123456789abcdefmryosx_"), max_size=60)


@settings(max_examples=200)
@given(ODD_TEXT)
def test_any_text_is_a_platform_or_has_faults(text: str) -> None:
    for error in check_platform(f"[memory]\n{text}".encode(), "p.toml", Path()):
        assert error.file == "p.toml"
        assert "\n" not in str(error)
