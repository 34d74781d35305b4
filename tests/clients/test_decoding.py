"""Values in words: boot entries, device paths, signature lists; what does not fit its type stays bytes."""

from __future__ import annotations

import struct

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from virt.firmware.efi import efivar, siglist
from virt.firmware.varstore.edk2 import Edk2VarStore

from mmsupervisor.clients.decoding import decode
from mmsupervisor.clients.device_paths import path_text
from mmsupervisor.clients.signature_lists import (
    CERTIFICATE_GUID,
    SHA256_GUID,
    certificate_name,
    read_signature_lists,
)
from mmsupervisor.clients.variables import (
    AmbiguousNameError,
    Variable,
    VariableAttribute,
    VariableError,
    Variables,
)
from mmsupervisor.ipl.communicate import Answer
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader
from tests.support.observed import VARIABLES
from tests.support.ovmf import Ovmf

END = "7fff0400"
ROOT = "02010c00d041030a00000000"
OWNER = Guid.parse("7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20")


def reader(text: str) -> Reader:
    return Reader(bytes.fromhex(text), "value")


def variable(name: str, data: bytes, guid: str = "gEfiGlobalVariableGuid") -> Variable:
    return Variable(name, known_guid(guid), VariableAttribute.BOOT_SERVICE, data)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ("", ""),
        (ROOT, "PciRoot(0x0)"),
        (ROOT + "01010600021f", "PciRoot(0x0)/Pci(0x1f,0x2)"),
        ("02010c00d041010501000000", "Acpi(PNP0501,0x1)"),
        ("02010c003412050101000000", "Acpi(0x01051234,0x1)"),
        ("03120a00010002000300", "Sata(0x1,0x2,0x3)"),
        ("0317100001000000" + 8 * "aa", "NVMe(0x1,0xaaaaaaaaaaaaaaaa)"),
        ("04040a005c00410000 00", "\\A"),
        ("03180700613a62", "Uri(a:b)"),
        ("040614000102030405060708090a0b0c0d0e0f10", "FvFile(04030201-0605-0807-090A-0B0C0D0E0F10)"),
        (ROOT + "7f010400" + ROOT, "PciRoot(0x0),PciRoot(0x0)"),
        ("0509060001 02", "Path(5,9,0102)"),
        ("0101050002", "Path(1,1,02)"),
    ],
)
def test_device_paths(nodes: str, text: str) -> None:
    assert path_text(reader(nodes + END)) == text


def test_a_hard_drive_is_named_by_its_signature() -> None:
    head = struct.pack("<BBHIQQ", 4, 1, 42, 1, 0x800, 0x1000)
    assert path_text(Reader(head + OWNER.raw + b"\x02\x02" + bytes.fromhex(END), "x")) == (
        f"HD(1,GPT,{OWNER},0x800,0x1000)"
    )
    assert path_text(Reader(head + bytes(16) + b"\x01\x01" + bytes.fromhex(END), "x")).startswith("HD(1,MBR,0x0000")


@pytest.mark.parametrize("damaged", ["", "0101", "01010300", "01011000ffff", ROOT])
def test_a_damaged_path_is_an_error_with_its_place(damaged: str) -> None:
    with pytest.raises(FormatError, match="device path"):
        path_text(reader(damaged))


@pytest.mark.parametrize(
    ("name", "data", "lines"),
    [
        ("BootOrder", "0000 0100 0a00", ("0000 0001 000A",)),
        ("Timeout", "0500", ("5",)),
        ("SecureBoot", "01", ("on",)),
        ("SecureBoot", "07", ("7",)),
        ("PlatformLang", "656e00", ("en",)),
        ("OsIndications", "0100000000000000", ("0x1",)),
        ("ConOut", ROOT + END, ("PciRoot(0x0)",)),
        ("Boot00AF", "09000000 0400 5500 0000" + END + "ffff", ("U [active, hidden]", "", "2 bytes of optional data")),
        ("Key0000", "000000405 1d7979f 0100 0c00 0000".replace(" ", ""), ("boot entry 0001, key data 0x40000000",)),
        # What does not fit its type, or whose type is not known, has no words.
        ("BootOrder", "000000", None),
        ("Timeout", "05", None),
        ("SecureBoot", "", None),
        ("Boot00AF", "0900", None),
        ("Boot00AG", "0000", None),
        ("PlatformLang", "ff00", None),
        ("PK", "00" * 28, None),
    ],
)
def test_known_names(name: str, data: str, lines: tuple[str, ...] | None) -> None:
    assert decode(variable(name, bytes.fromhex(data))) == lines


def test_a_name_of_another_vendor_has_no_type() -> None:
    assert decode(variable("Timeout", b"\5\0", "gEfiImageSecurityDatabaseGuid")) is None


@pytest.mark.parametrize("name", ["PK", "KEK", "db", "dbx"])
def test_signatures_are_those_that_another_reader_finds(ovmf: Ovmf, name: str) -> None:
    found = Edk2VarStore(str(ovmf.path(VARIABLES))).get_varlist()
    item: efivar.EfiVar = found[name]
    oracle = [
        (Guid(lst.guid.bytes_le), Guid(sig["guid"].bytes_le), bytes(sig["data"]))
        for lst in siglist.EfiSigDB(item.data)
        for sig in lst
    ]
    ours = [(one.type, one.owner, one.data) for one in read_signature_lists(Reader(bytes(item.data), name))]
    assert ours == oracle
    for kind, _, data in ours:
        assert kind in (CERTIFICATE_GUID, SHA256_GUID)
        if kind == CERTIFICATE_GUID:
            subject = x509.load_der_x509_certificate(data).subject
            (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            assert certificate_name(data) == name.value


def test_signatures_of_a_type_without_words() -> None:
    kind = known_guid("gEfiCertSha1Guid")
    value = kind.raw + struct.pack("<III", 28 + 36, 0, 36) + OWNER.raw + bytes(20)
    assert decode(variable("dbx", value, "gEfiImageSecurityDatabaseGuid")) == (
        f"gEfiCertSha1Guid, 20 bytes, of {OWNER}",
    )


@pytest.mark.parametrize("certificate", [b"", b"\x30", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", bytes(40)])
def test_a_certificate_that_is_none_has_no_name(certificate: bytes) -> None:
    assert certificate_name(certificate) == ""


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"eng\0", "eng"), ("UTF".encode("utf-16-le"), "UTF"), (b"", None), (b"\1\2", None), (b"a\nb", None)],
)
def test_text_is_what_is_nothing_but_text(data: bytes, text: str | None) -> None:
    assert variable("X", data).text == text


def test_a_name_that_several_have_needs_its_guid() -> None:
    class Two(Variables):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([("Same", OWNER), ("Same", known_guid("gEfiGlobalVariableGuid")), ("One", OWNER)])

        def get(self, name: str, guid: Guid | str) -> Variable:
            return Variable(name, guid if isinstance(guid, Guid) else OWNER, VariableAttribute(0), b"")

    def nobody(_guid: Guid, _payload: bytes) -> Answer:
        raise AssertionError("no message is needed")

    variables = Two(nobody, 0)
    assert variables.find("One").guid == OWNER
    assert variables.find("Same", OWNER).guid == OWNER
    with pytest.raises(AmbiguousNameError, match="gEfiGlobalVariableGuid"):
        variables.find("Same")
    with pytest.raises(VariableError, match="EFI_NOT_FOUND"):
        variables.find("None")
