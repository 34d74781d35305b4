"""Values of variables in words, where the variable's name says what its value is (UEFI 2.10 §3.3, §32.3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

from mmsupervisor.clients.device_paths import path_text
from mmsupervisor.clients.signature_lists import CERTIFICATE_GUID, SHA256_GUID, certificate_name, read_signature_lists
from mmsupervisor.clients.variables import Variable
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader

_GLOBAL = known_guid("gEfiGlobalVariableGuid")
_SECURITY = known_guid("gEfiImageSecurityDatabaseGuid")
_SECURE_BOOT_ENABLE = known_guid("gEfiSecureBootEnableDisableGuid")
_CUSTOM_MODE = known_guid("gEfiCustomModeEnableGuid")
_VENDOR_KEYS = known_guid("gEfiVendorKeysNvGuid")

_ACTIVE, _FORCE_RECONNECT, _HIDDEN, _CATEGORY_APP = 0x1, 0x2, 0x8, 0x100
_FLAGS = {_ACTIVE: "active", _FORCE_RECONNECT: "force reconnect", _HIDDEN: "hidden", _CATEGORY_APP: "application"}
_ON_OFF = {0: "off", 1: "on"}

Lines = Iterator[str]


def decode(variable: Variable) -> tuple[str, ...] | None:
    """Return a value in words, a line each; None where its type is not known or the value is not of that type."""
    for guid, pattern, read in _TYPES:
        if variable.guid == guid and re.fullmatch(pattern, variable.name):
            try:
                return tuple(read(Reader(variable.data, f"variable {variable.name}")))
            except FormatError:
                return None
    return None


def _load_option(value: Reader) -> Lines:
    """EFI_LOAD_OPTION: attributes u32, size of the path u16, description, path, optional data."""
    attributes, path_size = value.u32(0, "attributes"), value.u16(4, "size of the path")
    end = 6
    while value.u16(end, "description"):
        end += 2
    description = value.copy(6, end - 6, "description").decode("utf-16-le", "replace")
    path = value.window(end + 2, path_size, "path")
    rest = len(value) - end - 2 - path_size
    flags = [name for bit, name in _FLAGS.items() if attributes & bit]
    yield f"{description} [{', '.join(flags) or 'not active'}]"
    yield path_text(path)
    if rest:
        yield f"{rest} bytes of optional data"


def _signatures(value: Reader) -> Lines:
    for signature in read_signature_lists(value):
        if signature.type == CERTIFICATE_GUID:
            name = certificate_name(signature.data) or "no name"
            digest = hashlib.sha256(signature.data).hexdigest()
            yield f"certificate {name}, {len(signature.data)} bytes, SHA-256 {digest}, of {signature.owner}"
        elif signature.type == SHA256_GUID:
            yield f"SHA-256 {signature.data.hex()}, of {signature.owner}"
        else:
            yield f"{signature.type.label}, {len(signature.data)} bytes, of {signature.owner}"


def _number(width: int) -> Callable[[Reader], Lines]:
    def read(value: Reader) -> Lines:
        _require(value, len(value) == width, f"{width} bytes")
        yield str(int.from_bytes(value.data, "little"))

    return read


def _bits(value: Reader) -> Lines:
    yield f"{value.u64(0, 'bits'):#x}"


def _switch(value: Reader) -> Lines:
    _require(value, len(value) == 1, "one byte")
    number = value.u8(0, "switch")
    yield _ON_OFF.get(number, str(number))


def _order(value: Reader) -> Lines:
    _require(value, not len(value) % 2, "whole numbers of 16 bits")
    yield " ".join(f"{value.u16(offset, 'order'):04X}" for offset in range(0, len(value), 2))


def _text(value: Reader) -> Lines:
    text = bytes(value.data).rstrip(b"\0").decode("ascii", "replace")
    _require(value, text.isprintable() and "\ufffd" not in text, "ASCII")
    yield text


def _guids(value: Reader) -> Lines:
    _require(value, not len(value) % GUID_SIZE, "whole GUIDs")
    for offset in range(0, len(value), GUID_SIZE):
        yield value.guid(offset, "GUID").label


def _path(value: Reader) -> Lines:
    yield path_text(value)


def _key(value: Reader) -> Lines:
    """EFI_KEY_OPTION: key data u32, checksum u32, number of the boot entry u16, keys."""
    yield f"boot entry {value.u16(8, 'boot entry'):04X}, key data {value.u32(0, 'key data'):#x}"


def _require(value: Reader, held: bool, what: str) -> None:
    if not held:
        raise value.error(0, f"is not {what}")


_TYPES: tuple[tuple[Guid, str, Callable[[Reader], Lines]], ...] = (
    (_GLOBAL, r"(Boot|Driver|SysPrep|PlatformRecovery|OsRecovery)[0-9A-F]{4}", _load_option),
    (_GLOBAL, r"(Boot|Driver|SysPrep|OsRecovery)Order", _order),
    (_GLOBAL, r"Boot(Next|Current)", _order),
    (_GLOBAL, r"Key[0-9A-F]{4}", _key),
    (_GLOBAL, r"(PK|KEK|db|dbx|dbt|dbr)(Default)?", _signatures),
    (_SECURITY, r"db[xtr]?", _signatures),
    (_GLOBAL, r"SecureBoot|SetupMode|AuditMode|DeployedMode|VendorKeys|devAuthBoot", _switch),
    (_SECURE_BOOT_ENABLE, r"SecureBootEnable", _switch),
    (_CUSTOM_MODE, r"CustomMode", _switch),
    (_VENDOR_KEYS, r"VendorKeysNv", _switch),
    (_GLOBAL, r"Timeout", _number(2)),
    (_GLOBAL, r"(Con(In|Out)|ErrOut)(Dev)?", _path),
    (_GLOBAL, r"(Platform)?Lang(Codes)?", _text),
    (_GLOBAL, r"SignatureSupport", _guids),
    (_GLOBAL, r"OsIndications(Supported)?", _bits),
    (_GLOBAL, r"BootOptionSupport", _number(4)),
)
"""Vendor GUID and names of variables, and how their value is read; the first that matches counts."""
