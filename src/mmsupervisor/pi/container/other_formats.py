"""Inputs that hold no firmware volume: what they are, in words that help."""

from __future__ import annotations

from mmsupervisor.pi.container.model import ContainerKind
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume.erased import first_other

_FORMATS = (
    (b"\x7fELF", "ELF"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"MSCF", "cabinet archive"),
    (b"QFI\xfb", "QEMU disk image (qcow2)"),
    (b"!<arch>\n", "archive of objects or Debian package"),
    (b"%PDF-", "PDF"),
    (b"\x55\xaa", "option ROM"),
    (b"<?xml", "XML"),
)
_SAMPLE = 4096
_PE_POINTER_OFFSET = 0x3C
_TE_HEADER_SIZE = 40
_CONTROL_BYTES = frozenset(range(0x20)) - frozenset(b"\t\n\v\f\r\x1b")


def kind_without_volumes(reader: Reader) -> tuple[ContainerKind, str]:
    """The kind of an input in which no volume was found, and what more can be said of it."""
    data = reader.data
    if not data:
        return ContainerKind.EMPTY, ""
    head = bytes(data[:16])
    executable = _executable(reader, head)
    if executable is not None:
        return executable
    name = next((name for magic, name in _FORMATS if head.startswith(magic)), None)
    if name is not None:
        return ContainerKind.OTHER_FORMAT, name
    if head[0] in (0x00, 0xFF) and first_other(data, head[0]) is None:
        return ContainerKind.ERASED, f"all bytes {head[0]:#04x}"
    is_text = _is_text(bytes(data[:_SAMPLE]), len(data) <= _SAMPLE)
    return ContainerKind.TEXT if is_text else ContainerKind.UNKNOWN, ""


def _executable(reader: Reader, head: bytes) -> tuple[ContainerKind, str] | None:
    if head[:2] == b"MZ":
        return ContainerKind.PE_IMAGE, "" if _has_pe_signature(reader) else "DOS header without a PE signature"
    if head[:2] == b"VZ" and len(reader) >= _TE_HEADER_SIZE:
        return ContainerKind.TE_IMAGE, ""
    return None


def _has_pe_signature(reader: Reader) -> bool:
    if len(reader) < _PE_POINTER_OFFSET + 4:
        return False
    start = reader.u32(_PE_POINTER_OFFSET, "offset of the PE header")
    return bytes(reader.data[start : start + 4]) == b"PE\0\0"


def _is_text(sample: bytes, is_whole: bool) -> bool:
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decodes(sample[: len(sample) & ~1], "utf-16")
    if any(byte in _CONTROL_BYTES for byte in sample):
        return False
    # The sample may end inside a character of up to four bytes.
    cuts = (0,) if is_whole else (0, 1, 2, 3)
    return any(_decodes(sample[: len(sample) - cut], "utf-8") for cut in cuts)


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
