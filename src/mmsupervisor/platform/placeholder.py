"""The image that stands for our core in a firmware volume.

A Python core has no image, but the launcher wants a PE32 section in the core's file: it measures the pages
from it and the version query reads its version fields. This is a PE32+ header and nothing that could run.
"""

from __future__ import annotations

import struct

from mmsupervisor.abi.profile import Profile
from mmsupervisor.machine.memory import PAGE_SIZE

_DOS_HEADER = struct.Struct("<2s58xI")
_FILE_HEADER = struct.Struct("<4sHHIIIHH")
_OPTIONAL_HEADER = struct.Struct("<HBBIIIIIQIIHHHHHHIIIIHHQQQQII")
_SECTION_HEADER = struct.Struct("<8sIIIIIIHHI")
_MACHINE_X64 = 0x8664
_CHARACTERISTICS = 0x2022
_PE32_PLUS = 0x20B
_BOOT_SERVICE_DRIVER = 11
_DIRECTORIES = 16
_DATA_READABLE = 0x4000_0040
_HEADER_BYTES = 0x400


def placeholder_core(profile: Profile) -> bytes:
    """Build the image: one section of zeros, as large as the profile says the core is."""
    size = profile.core_image_pages * PAGE_SIZE
    version, patch = profile.core_version, profile.core_patch_level
    optional_size = _OPTIONAL_HEADER.size + 8 * _DIRECTORIES
    headers = _DOS_HEADER.pack(b"MZ", _DOS_HEADER.size)
    headers += _FILE_HEADER.pack(b"PE\0\0", _MACHINE_X64, 1, 0, 0, 0, optional_size, _CHARACTERISTICS)
    headers += _OPTIONAL_HEADER.pack(
        _PE32_PLUS, 1, 0, 0, size - PAGE_SIZE, 0, 0, PAGE_SIZE, 0, PAGE_SIZE, _HEADER_BYTES, 0, 0,
        patch >> 16, patch & 0xFFFF, version >> 16, version & 0xFFFF, 0, size, _HEADER_BYTES, 0,
        _BOOT_SERVICE_DRIVER, 0, 0, 0, 0, 0, 0, _DIRECTORIES,
    )  # fmt: skip
    headers += bytes(8 * _DIRECTORIES)
    headers += _SECTION_HEADER.pack(b".data", size - PAGE_SIZE, PAGE_SIZE, 0, 0, 0, 0, 0, 0, _DATA_READABLE)
    return headers.ljust(_HEADER_BYTES, b"\0")
