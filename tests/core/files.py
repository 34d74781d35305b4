"""Files and volumes for tests of discovery and dispatch: small real images that never run."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from mmsupervisor.pi.depex import Opcode, all_of, encode
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import build_section, build_ui_section, join_sections
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from tests.pi.pe_builder import driver as small_image

CORE = known_guid("gMmSupervisorCoreGuid")
POLICY = known_guid("gMmSupervisorPolicyFileGuid")
READY = known_guid("gMmRing3HandlerReadyProtocol")
BROKER = known_guid("MmSupervisorRing3Broker")
TRUE = bytes([Opcode.TRUE, Opcode.END])
FALSE = bytes([Opcode.FALSE, Opcode.END])
IMAGE = small_image()


def guid(number: int) -> Guid:
    """The file GUID of driver ``number``."""
    return Guid(struct.pack("<IHH8s", 0x1000 + number, 0xAAAA, 0xBBBB, b"drivers!"))


def protocol(number: int) -> Guid:
    return Guid(struct.pack("<IHH8s", 0x2000 + number, 0xCCCC, 0xDDDD, b"protocol"))


def before(number: int) -> bytes:
    return bytes([Opcode.BEFORE]) + guid(number).raw + bytes([Opcode.END])


def after(number: int) -> bytes:
    return bytes([Opcode.AFTER]) + guid(number).raw + bytes([Opcode.END])


def needs(*protocols: Guid) -> bytes:
    return encode(all_of(*protocols))


def driver_file(
    number: int,
    depex: bytes | None = TRUE,
    image: bytes | None = IMAGE,
    *,
    kind: int = FileType.MM_STANDALONE,
    name: str = "",
    image_type: int = SectionType.PE32,
    depex_type: int = SectionType.MM_DEPEX,
    file_guid: Guid | None = None,
) -> FileSpec:
    """A driver's file; its name is ``D`` and the number."""
    sections = []
    if depex is not None:
        sections.append(build_section(depex_type, depex))
    if image is not None:
        sections.append(build_section(image_type, image))
    sections.append(build_ui_section(name or f"D{number}"))
    return FileSpec(file_guid or guid(number), kind, join_sections(sections))


def core_file(name: Guid = CORE) -> FileSpec:
    return FileSpec(name, FileType.MM_CORE_STANDALONE, build_section(SectionType.PE32, IMAGE))


def policy_file(
    blob: bytes | None = None, *, kind: int = FileType.FREEFORM, section: int = SectionType.RAW
) -> FileSpec:
    data = write_blob(default_policy()) if blob is None else blob
    return FileSpec(POLICY, kind, build_section(section, data))


def volume(*files: FileSpec, name: Guid | None = None) -> bytes:
    return build_volume(VolumeSpec(files, name=name))


def core_volume(*files: FileSpec, policy: FileSpec | None = None, name: Guid | None = None) -> bytes:
    """The core, the policy and then the files."""
    return volume(core_file(), policy or policy_file(), *files, name=name)


def drivers(depexes: Iterable[bytes]) -> list[FileSpec]:
    """Drivers 0, 1, ... with these dependency expressions."""
    return [driver_file(number, depex) for number, depex in enumerate(depexes)]
