"""Values of variables: boot entries, device paths, signature lists, certificates."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.clients.decoding import decode
from mmsupervisor.clients.device_paths import path_text
from mmsupervisor.clients.signature_lists import CERTIFICATE_GUID, certificate_name, read_signature_lists
from mmsupervisor.clients.variables import Variable, VariableAttribute
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader

OWNER = Guid.parse("11111111-2222-3333-4444-555555555555")
PATH = bytes.fromhex("02010c00d041030a00000000 01010600021f 03120a00010002000300 7fff0400")
NAMES = ("Boot0000", "BootOrder", "Key0000", "PK", "SecureBoot", "Timeout", "ConOut", "Lang", "SignatureSupport")


def seeds() -> list[bytes]:
    """A boot entry, a path, a list with a certificate."""
    name = bytes.fromhex("30 0a 06 03 55 04 03 0c 03 6f 77 6e")
    subject = b"\x30\x0e\x31\x0c" + name
    inner = bytes.fromhex("a0 03 02 01 02 02 01 01 30 00 30 00 30 00") + subject
    certificate = b"\x30" + bytes((len(inner) + 2, 0x30, len(inner))) + inner
    size = 16 + len(certificate)
    signatures = CERTIFICATE_GUID.raw + struct.pack("<III", 28 + size, 0, size) + OWNER.raw + certificate
    option = struct.pack("<IH", 1, len(PATH)) + "Shell\0".encode("utf-16-le") + PATH + b"more"
    return [option, PATH, signatures, certificate]


def target(data: bytes) -> None:
    """Read a value as everything that it could be; what is not of its type is no surprise."""
    certificate_name(data)
    for name in NAMES:
        decode(Variable(name, known_guid("gEfiGlobalVariableGuid"), VariableAttribute.BOOT_SERVICE, data))
    for read in (path_text, lambda value: list(read_signature_lists(value))):
        try:
            read(Reader(data, "fuzz"))
        except FormatError:
            continue


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
