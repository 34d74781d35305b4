"""The oracle ``uefi-firmware`` (PyPI)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from uefi_firmware import uefi
from uefi_firmware.utils import sguid

from tests.pi.oracles.records import Records, file_record, section_record, volume_record


def uefi_firmware_records(data: bytes) -> Records:
    records: Records = {}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        offset = 0
        for item in uefi.find_volumes(data):
            if isinstance(item, uefi.FirmwareVolume):
                _add_volume(records, f"v{offset:x}", item)
                offset += item.size
            else:
                offset += len(item.data)
    return records


def all_files(data: bytes) -> list[tuple[str, int, list[tuple[int, bytes]]]]:
    """Every file in all volumes, nested ones too: GUID, type, and its sections as type and data."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        volumes = [item for item in uefi.find_volumes(data) if isinstance(item, uefi.FirmwareVolume)]
        return [
            (sguid(file.guid), file.type, [(section.type, bytes(section.data)) for section in file.sections])
            for volume in volumes
            for file in _files(volume)
        ]


def _files(volume: uefi.FirmwareVolume) -> Iterator[uefi.FirmwareFile]:
    for system in volume.firmware_filesystems:
        for file in system.files:
            yield file
            yield from _files_of_sections(file.sections)


def _files_of_sections(sections: list[uefi.FirmwareFileSystemSection]) -> Iterator[uefi.FirmwareFile]:
    for section in sections:
        inner = getattr(section, "parsed_object", None)
        if isinstance(inner, uefi.FirmwareVolume):
            yield from _files(inner)
        elif isinstance(inner, uefi.GuidDefinedSection | uefi.CompressedSection):
            yield from _files_of_sections(inner.subsections)


def _add_volume(records: Records, path: str, volume: uefi.FirmwareVolume) -> None:
    records[path] = volume_record(sguid(volume.guid), volume.size)
    offset = volume.hdrlen
    for system in volume.firmware_filesystems:
        for file in system.files:
            _add_file(records, f"{path}/f{offset:x}", file)
            offset += (file.size + 7) & ~7


def _add_file(records: Records, path: str, file: uefi.FirmwareFile) -> None:
    records[path] = file_record(sguid(file.guid), file.type, file.size)
    _add_sections(records, f"{path}/", file.sections)


def _add_sections(records: Records, parent: str, sections: list[uefi.FirmwareFileSystemSection]) -> None:
    offset = 0
    for section in sections:
        path = f"{parent}s{offset:x}"
        records[path] = section_record(section.type, section.size, section.data)
        inner = section.parsed_object
        if isinstance(inner, uefi.FirmwareVolume):
            _add_volume(records, f"{path}/v0", inner)
        elif isinstance(inner, uefi.GuidDefinedSection | uefi.CompressedSection):
            _add_sections(records, f"{path}/", [s for s in inner.subsections if hasattr(s, "type")])
        offset += (section.size + 3) & ~3
