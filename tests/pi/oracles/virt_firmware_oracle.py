"""The oracle ``virt-firmware`` (PyPI)."""

from __future__ import annotations

import contextlib
import io

from virt.firmware import dump

from tests.pi.oracles.records import Records, file_record, section_record, volume_record


def virt_firmware_records(data: bytes) -> Records:
    records: Records = {}
    with contextlib.redirect_stdout(io.StringIO()):
        image = dump.Edk2Image("image", data)
    for volume in image:
        if isinstance(volume, dump.Edk2Volume):
            _add_volume(records, f"v{volume.offset:x}", volume)
    return records


def _add_volume(records: Records, path: str, volume: dump.Edk2Volume) -> None:
    records[path] = volume_record(str(volume.guid), volume.tlen)
    offset = volume.hlen
    for file in volume:
        if isinstance(file, dump.Edk2FfsFile):
            records[f"{path}/f{offset:x}"] = file_record(str(file.guid), file.typeid, file.tlen)
            _add_sections(records, f"{path}/f{offset:x}/", file)
            offset += (file.tlen + 7) & ~7


def _add_sections(records: Records, parent: str, holder: dump.Edk2CommonBase) -> None:
    offset = 0
    for section in holder:
        if isinstance(section, dump.Edk2Volume):
            _add_volume(records, f"{parent}v0", section)
        if not isinstance(section, dump.Edk2FileSection):
            continue
        path = f"{parent}s{offset:x}"
        # For encapsulating sections it keeps no bytes; otherwise it keeps everything up to its container's end.
        blob = section.blob[: section.tlen - section.hlen] if section.blob is not None else b""
        records[path] = section_record(section.typeid, section.tlen, blob)
        _add_sections(records, f"{path}/", section)
        offset += (section.tlen + 3) & ~3
