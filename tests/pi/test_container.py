"""What kind of input a file is, and what is in it."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.pi.container import ContainerKind, InputError, read_image_file
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.volume import NVRAM_GUID, FileType, ProblemKind, files, problems, volumes, walk
from mmsupervisor.pi.volume.build import VolumeSpec, build_volume
from tests.pi.pe_builder import driver
from tests.pi.volume_samples import DRIVER, NAME, image_of, patched, sample_volume

VOLUME = sample_volume()
FMP_GUID = Guid.parse("6DCBD5ED-E82D-4C44-BDA1-7194199AD92A")
PKCS7_GUID = Guid.parse("4AAFD29D-68DF-49EE-8AA9-347D375665A7")
DEVICE = Guid.parse("12345678-1234-4234-8234-123456789ABC")
AUTHENTICATED = Guid.parse("AAF32C78-947B-439A-A180-2E144EC37792")
PLAIN_VARIABLES = Guid.parse("DDCF3616-3275-4164-98B6-FE85707FFE7D")


def variable_volume(store: Guid) -> bytes:
    volume = build_volume(VolumeSpec(file_system=NVRAM_GUID, size=0x2000))
    return patched(volume, 0x48, store.raw + struct.pack("<IBB", 0x1000, 0x5A, 0xFE))


@pytest.mark.parametrize(
    ("data", "kind", "detail"),
    [
        (b"", ContainerKind.EMPTY, ""),
        (b"hello, this is no firmware\n", ContainerKind.TEXT, ""),
        ("Größe\n".encode() * 2000, ContainerKind.TEXT, ""),
        ("text".encode("utf-16"), ContainerKind.TEXT, ""),
        (b"_FVH", ContainerKind.TEXT, ""),
        (bytes(range(256)) * 64, ContainerKind.UNKNOWN, ""),
        (b"\xff" * 4096, ContainerKind.ERASED, "all bytes 0xff"),
        (bytes(4096), ContainerKind.ERASED, "all bytes 0x00"),
        (b"\x7fELF" + bytes(60), ContainerKind.OTHER_FORMAT, "ELF"),
        (b"QFI\xfb" + bytes(60), ContainerKind.OTHER_FORMAT, "QEMU disk image (qcow2)"),
        (b"\x1f\x8b\x08" + bytes(60), ContainerKind.OTHER_FORMAT, "gzip"),
        (driver(), ContainerKind.PE_IMAGE, ""),
        (b"MZ" + bytes(80), ContainerKind.PE_IMAGE, "DOS header without a PE signature"),
        (b"VZ" + bytes(80), ContainerKind.TE_IMAGE, ""),
        (VOLUME, ContainerKind.FIRMWARE_VOLUME, str(NAME)),
        (VOLUME + b"\xff", ContainerKind.FLASH_IMAGE, "1 volume"),
        (VOLUME + VOLUME, ContainerKind.FLASH_IMAGE, "2 volumes"),
        (b"\xff" * 16 + VOLUME, ContainerKind.FLASH_IMAGE, "1 volume"),
        (variable_volume(AUTHENTICATED), ContainerKind.VARIABLE_STORE, "authenticated variables"),
        (variable_volume(PLAIN_VARIABLES), ContainerKind.VARIABLE_STORE, "variables"),
        (variable_volume(DEVICE), ContainerKind.VARIABLE_STORE, "unknown"),
        (variable_volume(AUTHENTICATED) + VOLUME, ContainerKind.FLASH_IMAGE, "2 volumes"),
    ],
)
def test_kinds(data, kind, detail):
    image = image_of(data)
    assert (image.kind, image.detail) == (kind, detail)
    assert image.label.startswith(kind.value)
    assert image.size == len(data)
    assert list(problems(image)) == []


def test_a_cut_volume_by_itself_is_still_one():
    image = image_of(VOLUME[:-1])
    assert (image.kind, image.detail) == (ContainerKind.FIRMWARE_VOLUME, str(NAME))
    assert [problem.kind for problem in problems(image)] == [ProblemKind.VOLUME_CUT]


def test_files(tmp_path):
    path = tmp_path / "volume.fv"
    path.write_bytes(VOLUME)
    image = read_image_file(path)
    assert image.kind is ContainerKind.FIRMWARE_VOLUME
    assert image.volumes[0].part == str(path)
    with pytest.raises(LimitError, match="larger than"):
        read_image_file(path, Allowance(Limits(input_bytes=len(VOLUME) - 1)))
    with pytest.raises(InputError, match="No such file"):
        read_image_file(tmp_path / "none")
    with pytest.raises(InputError):
        read_image_file(tmp_path)


# Flash dumps


def flash_dump(regions: dict[int, tuple[int, int]], size: int = 0x8000, signature_offset: int = 0x10) -> bytearray:
    """A dump with the given regions, as first and last block."""
    data = bytearray(b"\xff" * size)
    struct.pack_into("<III", data, signature_offset, 0x0FF0A55A, 0x0004_0100, 0x08)
    for number in range(16):
        first, last = regions.get(number, (0x7FFF, 0))
        struct.pack_into("<I", data, 0x40 + 4 * number, last << 16 | first)
    return data


@pytest.mark.parametrize("signature_offset", [0x10, 0])
def test_flash_dump_is_searched_in_its_bios_regions(signature_offset):
    data = flash_dump({0: (0, 0), 1: (4, 7), 2: (1, 2), 6: (3, 3)}, signature_offset=signature_offset)
    data[0x1000:0x2000] = VOLUME  # in the management engine's region: not the host's firmware
    data[0x5008:0x6008] = VOLUME
    data[0x3000:0x4000] = VOLUME
    image = image_of(bytes(data))
    assert image.kind is ContainerKind.FLASH_DUMP
    assert image.descriptor.components == 2
    assert [(r.number, r.name, r.offset, r.size, r.is_bios) for r in image.descriptor.regions] == [
        (0, "descriptor", 0, 0x1000, False),
        (1, "BIOS", 0x4000, 0x4000, True),
        (2, "management engine", 0x1000, 0x2000, False),
        (6, "secondary BIOS", 0x3000, 0x1000, True),
    ]
    assert [volume.offset for volume in image.volumes] == [0x5008, 0x3000]
    assert [(gap.offset, gap.size) for gap in image.gaps] == [(0x4000, 0x1008), (0x6008, 0x1FF8)]
    assert list(problems(image)) == []


def test_flash_dump_problems_are_said():
    cut = image_of(bytes(flash_dump({0: (0, 0), 1: (4, 0xFF)})))
    assert [problem.kind for problem in problems(cut)] == [ProblemKind.FLASH_REGION]
    overlap = image_of(bytes(flash_dump({0: (0, 0), 1: (4, 7), 2: (3, 5)})))
    assert "overlap" in str(next(problems(overlap)))
    data = flash_dump({0: (0, 0)})
    data[0x1000:0x2000] = VOLUME
    without = image_of(bytes(data))
    assert [volume.offset for volume in without.volumes] == [0x1000]
    assert "no BIOS region" in str(next(problems(without)))
    struct.pack_into("<I", data, 0x14, 0x0008_0100)
    assert "not before its master table" in str(next(problems(image_of(bytes(data)))))
    beyond = image_of(bytes(flash_dump({0: (0, 0), 1: (4, 7), 2: (0x100, 0x1FF)})))
    assert [region.number for region in beyond.descriptor.regions] == [0, 1]
    assert [problem.kind for problem in problems(beyond)] == [ProblemKind.FLASH_REGION]
    for end in (0x14, 0x18, 0x1C, 0x41, 0x45):
        assert image_of(bytes(data[:end])).kind is ContainerKind.FLASH_DUMP


def test_a_region_of_zero_is_not_in_use_unless_it_is_the_descriptor():
    data = flash_dump({0: (0, 0), 1: (0, 0), 2: (4, 4)})
    image = image_of(bytes(data))
    assert [region.number for region in image.descriptor.regions] == [0, 2]
    assert "no BIOS region" in str(next(problems(image)))


def test_regions_without_a_name_have_their_number():
    image = image_of(bytes(flash_dump({0: (0, 0), 12: (4, 4), 13: (5, 5), 15: (6, 6)})))
    names = [region.name for region in image.descriptor.regions]
    assert names == ["descriptor", "10 gigabit Ethernet B", "region 13", "region 15"]


def test_regions_that_reach_too_far_are_pointed_to():
    image = image_of(bytes(flash_dump({0: (0, 0), 1: (4, 7), 3: (6, 0xFF), 5: (7, 0xFF)})))
    beyond = [(p.offset, p.rule.split(" region ")[0]) for p in problems(image) if "the dump at" in p.rule]
    assert beyond == [(0x4C, "gigabit Ethernet"), (0x54, "device expansion")]


# Capsules


def capsule(body: bytes, guid: Guid = FMP_GUID, header_size: int = 28) -> bytes:
    header = guid.raw + struct.pack("<III", header_size, 0x0005_0000, header_size + len(body))
    return header + bytes(header_size - len(header)) + body


def signed(image: bytes) -> bytes:
    certificate = PKCS7_GUID.raw + b"signature"
    return struct.pack("<QIHH", 1, 8 + len(certificate), 0x0200, 0x0EF1) + certificate + image


def versioned(image: bytes) -> bytes:
    return b"MSS1" + struct.pack("<III", 16, 0x0102, 0x0100) + image


def payload(image: bytes, version: int = 3, vendor_code: bytes = b"") -> bytes:
    head = struct.pack("<I16sB3xII", version, DEVICE.raw, 1, len(image), len(vendor_code))
    return head + struct.pack("<QQ", 7, 1)[: {1: 0, 2: 8, 3: 16}[version]] + image + vendor_code


def fmp(*items: bytes, drivers: int = 0) -> bytes:
    head = struct.pack("<IHH", 1, drivers, len(items) - drivers)
    offsets, position = b"", len(head) + 8 * len(items)
    for item in items:
        offsets += struct.pack("<Q", position)
        position += len(item)
    return capsule(head + offsets + b"".join(items))


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("is_versioned", [False, True])
def test_fmp_payload_is_unwrapped(version, is_signed, is_versioned):
    inner = versioned(VOLUME) if is_versioned else VOLUME
    image = image_of(fmp(payload(signed(inner) if is_signed else inner, version, b"vendor code")))
    assert image.kind is ContainerKind.CAPSULE
    assert image.capsule.is_fmp
    (item,) = image.capsule.items
    assert item.image_type == DEVICE
    assert item.hardware_instance == (None if version == 1 else 7)
    assert item.is_authenticated is is_signed
    assert item.firmware_version == (0x0102 if is_versioned else None)
    assert item.image.kind is ContainerKind.FIRMWARE_VOLUME
    assert item.image.raw == VOLUME
    (place,) = volumes(image)
    assert place.is_top_level
    assert [f.node.guid for f in files(image, FileType.MM_STANDALONE)] == [DRIVER]
    assert list(problems(image)) == []


def test_fmp_capsule_with_a_driver_and_two_payloads():
    image = image_of(fmp(driver(), payload(VOLUME), payload(b"\xff" * 64), drivers=1))
    assert [item.image.kind for item in image.capsule.items] == [
        ContainerKind.PE_IMAGE,
        ContainerKind.FIRMWARE_VOLUME,
        ContainerKind.ERASED,
    ]
    assert [item.image_type for item in image.capsule.items] == [None, DEVICE, DEVICE]


@pytest.mark.parametrize("offset", [0, 8, 15])
def test_an_fmp_item_does_not_lie_in_the_list_of_items(offset):
    image = image_of(capsule(struct.pack("<IHHQ", 1, 1, 0, offset) + driver(), FMP_GUID))
    assert image.capsule.items == ()
    assert [problem.kind for problem in problems(image)] == [ProblemKind.FMP_CAPSULE]


def test_other_capsules_are_their_body():
    for guid in (Guid.parse("3B6686BD-0D76-4030-B70E-B5519E2FC5A0"), DEVICE):
        image = image_of(capsule(VOLUME + VOLUME, guid, 0x50))
        assert image.capsule.guid == guid
        assert not image.capsule.is_fmp
        assert [volume.offset for volume in image.capsule.image.volumes] == [0x50, 0x1050]


def test_a_capsule_that_is_a_header_is_one():
    for guid in (FMP_GUID, DEVICE):
        assert image_of(capsule(b"", guid)).kind is ContainerKind.CAPSULE
        assert image_of(capsule(b"", guid)[:-1]).kind is not ContainerKind.CAPSULE


def test_a_payload_that_is_a_signature_is_signed():
    nothing = struct.pack("<QIHH", 1, 8, 0x0200, 0x0EF1)
    for content, is_signed in ((nothing, True), (nothing[:-1], False)):
        (item,) = image_of(fmp(payload(content))).capsule.items
        assert item.is_authenticated is is_signed
        assert (item.image.kind is ContainerKind.EMPTY) is is_signed


def test_capsules_in_capsules_and_their_bound():
    data = VOLUME
    for _ in range(5):
        data = fmp(payload(signed(data)))
    assert len(list(files(image_of(data), FileType.MM_STANDALONE))) == 1
    for _ in range(40):
        data = capsule(data, DEVICE)
    with pytest.raises(LimitError, match="nested deeper"):
        image_of(data)


def test_damaged_capsules_keep_what_can_be_read():
    good = fmp(payload(VOLUME), payload(VOLUME))
    beyond = image_of(patched(good, 28 + 8 + 8, struct.pack("<Q", 1 << 40)))
    assert [item.number for item in beyond.capsule.items] == []
    assert {p.kind for p in problems(beyond)} == {ProblemKind.FMP_CAPSULE}
    cut = image_of(good[:-10])
    assert ProblemKind.CAPSULE in {p.kind for p in problems(cut)}
    assert len(list(files(cut, FileType.MM_STANDALONE))) == 2
    many = image_of(patched(good, 28 + 6, b"\xff\xff"))
    assert [p.kind for p in problems(many)] == [ProblemKind.FMP_CAPSULE]
    too_large = image_of(fmp(patched(payload(VOLUME), 0x18, b"\xff\xff\xff\xff")))
    assert ProblemKind.FMP_CAPSULE in {p.kind for p in problems(too_large)}


def test_every_node_lies_in_its_parent_or_in_a_new_part():
    image = image_of(fmp(payload(signed(versioned(VOLUME + VOLUME)))))
    for place in walk(image):
        if place.ancestors and place.ancestors[-1].part == place.node.part:
            parent = place.ancestors[-1]
            start = place.node.offset - parent.offset
            assert parent.raw[start : start + len(place.node.raw)] == place.node.raw
