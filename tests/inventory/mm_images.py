"""Small images with an MM Supervisor in them, for tests: our own drivers in volumes built by our own builder."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mmsupervisor import prebuilt
from mmsupervisor.inventory.modules import BROKER, SUPERVISOR_CORE
from mmsupervisor.inventory.policies import POLICY_FILE
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import (
    build_lzma_section,
    build_section,
    build_ui_section,
    build_volume_image_section,
    join_sections,
)
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy

OTHER_CORE = Guid.parse("0C0C0C0C-0000-4000-8000-000000000001")
HOLDER = Guid.parse("0C0C0C0C-0000-4000-8000-000000000002")
VOLUME_NAME = Guid.parse("0C0C0C0C-0000-4000-8000-000000000003")
TRUE = b"\x06\x08"


def driver(
    name: str,
    *,
    depex: bytes | None = None,
    image: bytes | None = None,
    guid: Guid | None = None,
    type_: FileType = FileType.MM_STANDALONE,
    without: Sequence[SectionType] = (),
) -> FileSpec:
    """One of our own drivers as a file; what is not given is as it is shipped."""
    shipped = prebuilt.driver(name)
    sections = {
        SectionType.MM_DEPEX: build_section(SectionType.MM_DEPEX, shipped.depex if depex is None else depex),
        SectionType.PE32: build_section(SectionType.PE32, prebuilt.image(name) if image is None else image),
        SectionType.USER_INTERFACE: build_ui_section(name),
    }
    return FileSpec(guid or shipped.guid, type_, join_sections(s for t, s in sections.items() if t not in without))


def core(guid: Guid = SUPERVISOR_CORE, *, without: Sequence[SectionType] = ()) -> FileSpec:
    """A core: nothing here runs it, so any image will do."""
    without = (*without, SectionType.MM_DEPEX)
    return driver("Echo", guid=guid, type_=FileType.MM_CORE_STANDALONE, without=without)


def broker(**changes: object) -> FileSpec:
    return driver("MmSupervisorRing3Broker", guid=BROKER, **changes)  # type: ignore[arg-type]


def policy(blob: bytes | None = None, type_: SectionType = SectionType.RAW) -> FileSpec:
    data = write_blob(default_policy()) if blob is None else blob
    return FileSpec(POLICY_FILE, FileType.FREEFORM, build_section(type_, data))


def volume(*files: FileSpec) -> bytes:
    return build_volume(VolumeSpec(files, name=VOLUME_NAME))


def nested(inner: bytes, type_: FileType = FileType.FIRMWARE_VOLUME_IMAGE, *, packed: bool = True) -> FileSpec:
    """A file that holds a volume, compressed or not."""
    section = build_volume_image_section(inner)
    return FileSpec(HOLDER, type_, build_lzma_section(section) if packed else section)


def whole() -> tuple[FileSpec, ...]:
    """Everything that a supervised image needs, with one driver."""
    return core(), broker(), policy(), driver("Echo")


def capsule(body: bytes) -> bytes:
    """A capsule of the kind that has nothing but a body."""
    guid = known_guid("gEfiCapsuleGuid")
    return guid.raw + struct.pack("<III", 28, 0, 28 + len(body)) + body


def fmp_capsule(image: bytes, device: Guid) -> bytes:
    """A firmware management capsule with one payload for a device."""
    item = struct.pack("<I16sB3xIIQQ", 3, device.raw, 1, len(image), 0, 0, 0) + image
    body = struct.pack("<IHHQ", 1, 0, 1, 16) + item
    return known_guid("gEfiFmpCapsuleGuid").raw + struct.pack("<III", 28, 0, 28 + len(body)) + body


def flash_dump(bios: bytes) -> bytes:
    """A dump with an Intel flash descriptor and a BIOS region at 0x1000."""
    blocks = -(-len(bios) // 0x1000)
    data = bytearray(b"\xff" * 0x1000 * (1 + blocks))
    struct.pack_into("<III", data, 0x10, 0x0FF0A55A, 0x0004_0000, 0x08)
    for number in range(16):
        first, last = {0: (0, 0), 1: (1, blocks)}.get(number, (0x7FFF, 0))
        struct.pack_into("<I", data, 0x40 + 4 * number, last << 16 | first)
    data[0x1000 : 0x1000 + len(bios)] = bios
    return bytes(data)
