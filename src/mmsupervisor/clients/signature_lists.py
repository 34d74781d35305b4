"""Lists of signatures: what PK, KEK, db, dbx and dbt hold (UEFI 2.10 §32.4.1).

A value is any number of lists, one after the other; each has signatures of one type and size:

======  ====  ==================================================
offset  size  field
======  ====  ==================================================
0x00    16    GUID of the type
0x10    4     size of the list, with this header
0x14    4     size of the type's own header, which follows
0x18    4     size of a signature
0x1C    n     type's header, then signatures: owner GUID 16, data
======  ====  ==================================================

Of a certificate (X.509 in DER) only the subject's common name is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader

CERTIFICATE_GUID = known_guid("gEfiCertX509Guid")
"""Type of X.509 certificates (EFI_CERT_X509_GUID)."""

SHA256_GUID = known_guid("gEfiCertSha256Guid")
"""Type of SHA-256 hashes (EFI_CERT_SHA256_GUID)."""

_HEADER = struct.Struct("<16sIII")
_SOURCE = "UEFI 2.10 §32.4.1"
_SEQUENCE, _SET, _OBJECT, _VERSION = 0x30, 0x31, 0x06, 0xA0
_COMMON_NAME = bytes.fromhex("550403")
_STRINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_FIELDS_BEFORE_SUBJECT = 4
"""Serial number, signature algorithm, issuer, validity."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature.

    Attributes:
        type: What kind of signature.
        owner: Whose it is.
        data: A certificate, a hash, or what else the type says.
    """

    type: Guid
    owner: Guid
    data: bytes


def read_signature_lists(value: Reader) -> Iterator[Signature]:
    """Yield the signatures of a value, in order.

    Raises:
        FormatError: a list does not fit into the value, or its sizes do not fit together.
    """
    offset = 0
    while offset < len(value):
        raw, size, header, each = value.unpack(_HEADER, offset, "signature list")
        entries = size - _HEADER.size - header
        if entries < 0 or each <= GUID_SIZE or entries % each:
            raise value.error(offset, f"a list of {size} bytes does not hold signatures of {each}", _SOURCE)
        body = value.window(offset + _HEADER.size + header, entries, "signatures")
        for start in range(0, entries, each):
            owner = body.guid(start, "owner of a signature")
            yield Signature(Guid(raw), owner, body.copy(start + GUID_SIZE, each - GUID_SIZE, "signature"))
        offset += size


def certificate_name(certificate: bytes) -> str:
    """Return the common name of a certificate's subject, or an empty string where there is none to be read."""
    try:
        return _subject_name(Reader(certificate, "certificate"))
    except FormatError:
        return ""


def _subject_name(der: Reader) -> str:
    (_, outer), *_ = _elements(der)
    (_, inner), *_ = _elements(outer)
    fields = [body for tag, body in _elements(inner) if tag != _VERSION]
    if len(fields) <= _FIELDS_BEFORE_SUBJECT:
        return ""
    for _, names in _elements(fields[_FIELDS_BEFORE_SUBJECT]):
        for _, name in _elements(names):
            (tag, kind), (text_tag, text), *_ = [*_elements(name), (0, der), (0, der)]
            if tag == _OBJECT and bytes(kind.data) == _COMMON_NAME and text_tag in _STRINGS:
                return bytes(text.data).decode(_STRINGS[text_tag], "replace")
    return ""


def _elements(der: Reader) -> Iterator[tuple[int, Reader]]:
    """Yield tag and contents of the elements of a DER sequence or set."""
    offset = 0
    while offset < len(der):
        tag, length = der.u8(offset, "DER tag"), der.u8(offset + 1, "DER length")
        offset += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der.view(offset, count, "DER length"), "big")
            offset += count
        yield tag, der.window(offset, length, "DER element")
        offset += length
    if not len(der):
        raise der.error(0, "an element of DER is empty")
