"""The shipped broker, looked at without running it: shape, stubs, table, instructions, DEPEX."""

from __future__ import annotations

import struct

import pefile
import pytest
from iced_x86 import Decoder, EncodingKind, FlowControl, Instruction, Mnemonic

from mmsupervisor import prebuilt
from mmsupervisor.pi.guid_names import known_guid

NAME = "MmSupervisorRing3Broker"
GATE = bytes.fromhex("41 57 FF 1C 24")
REVISION = 8
FAULTING = {
    *(Mnemonic.IN, Mnemonic.OUT, Mnemonic.INSB, Mnemonic.INSW, Mnemonic.INSD),
    *(Mnemonic.OUTSB, Mnemonic.OUTSW, Mnemonic.OUTSD, Mnemonic.INT, Mnemonic.INT3, Mnemonic.RDPMC),
}
TABLE_SERVICES = {
    0x28: "InstallConfigurationTable",
    0x30: "IoNotAvailable",
    0x38: "IoNotAvailable",
    0x40: "IoNotAvailable",
    0x48: "IoNotAvailable",
    0x50: "BrokerAllocatePool",
    0x58: "BrokerFreePool",
    0x60: "BrokerAllocatePages",
    0x68: "BrokerFreePages",
    0x70: "StartupThisAp",
    0xA8: "BrokerInstallProtocol",
    0xB0: "BrokerUninstallProtocol",
    0xB8: "BrokerHandleProtocol",
    0xC0: "BrokerRegisterProtocolNotify",
    0xC8: "BrokerLocateHandle",
    0xD0: "BrokerLocateProtocol",
    0xE0: "RegisterHandler",
    0xE8: "UnregisterHandler",
}


@pytest.fixture(scope="module")
def image() -> pefile.PE:
    return pefile.PE(data=prebuilt.image(NAME))


def symbol(name: str, source: str = "") -> prebuilt.Symbol:
    (found,) = (entry for entry in prebuilt.symbols(NAME) if entry.name == name and entry.source.startswith(source))
    return found


def body(name: str) -> bytes:
    where = symbol(name)
    return prebuilt.image(NAME)[where.rva : where.rva + where.size]


def instructions() -> list[Instruction]:
    """Every instruction of every function; symbols give the starts, so that padding is not decoded."""
    found: list[Instruction] = []
    for entry in prebuilt.symbols(NAME):
        if entry.kind == "code":
            code = prebuilt.image(NAME)[entry.rva : entry.rva + entry.size]
            found += Decoder(64, code, ip=entry.rva)
    return found


def test_identity() -> None:
    driver = prebuilt.driver(NAME)
    assert driver.guid == known_guid("MmSupervisorRing3Broker")
    assert driver.depex == b"\x06\x08", "TRUE, END: it waits for nobody"
    assert driver.mm_revision == 0x00010032
    assert struct.unpack("<I", body("_gMmRevision"))[0] == driver.mm_revision


def test_sections(image: pefile.PE) -> None:
    execute, read, write, code, data = 0x20000000, 0x40000000, 0x80000000, 0x20, 0x40
    found = {section.Name.rstrip(b"\0").decode(): section.Characteristics & 0xE00000E0 for section in image.sections}
    assert found == {
        ".text": execute | read | code,
        ".rdata": read | data,
        ".data": read | write | data,
        ".reloc": read | data,
    }
    assert image.OPTIONAL_HEADER.SectionAlignment == image.OPTIONAL_HEADER.FileAlignment == 0x1000
    assert image.OPTIONAL_HEADER.Subsystem == 11
    assert image.FILE_HEADER.Characteristics & 1 == 0, "relocations are there"


def test_relocations_are_64_bit_and_outside_code(image: pefile.PE) -> None:
    entries = [entry for block in image.DIRECTORY_ENTRY_BASERELOC for entry in block.entries if entry.type != 0]
    assert {entry.type for entry in entries} == {10}
    text = image.sections[0]
    assert min(entry.rva for entry in entries) >= text.VirtualAddress + text.Misc_VirtualSize


def test_entry_stub_returns_through_the_call_gate(image: pefile.PE) -> None:
    stub = symbol("_ModuleEntryPoint")
    assert image.OPTIONAL_HEADER.AddressOfEntryPoint == stub.rva
    code = body("_ModuleEntryPoint")
    assert code[:4] == bytes.fromhex("48 83 EC 28"), "sub rsp, 0x28"
    call = next(iter(Decoder(64, code[4:], ip=stub.rva + 4)))
    assert call.flow_control == FlowControl.CALL
    assert call.near_branch_target == symbol("MmDriverStart").rva
    assert code[9:13] == bytes.fromhex("48 83 C4 28"), "add rsp, 0x28"
    assert code[13:] == GATE + bytes.fromhex("0F 0B")


def test_jump_stubs() -> None:
    around_call = "48 83 EC 28 FF D0 48 83 C4 28"
    assert body("CentralRing3JumpPointer").hex(" ").upper() == (
        f"48 8B 44 24 28 {around_call} {GATE.hex(' ').upper()} 0F 0B"
    ), "the fifth argument, at [RSP+0x28], is called with RCX to R9 as they came"
    assert body("ApRing3JumpPointer").hex(" ").upper() == (
        f"48 89 C8 48 89 D1 {around_call} {GATE.hex(' ').upper()} 0F 0B"
    )


def test_system_call_stub() -> None:
    assert body("SysCall") == bytes.fromhex("41 53 48 89 C8 0F 05 41 5B C3")


def forbidden(instruction: Instruction) -> bool:
    """Whether ring 3 would fault on it: docs/reference/syscall-abi.md section 9."""
    return (
        instruction.is_invalid
        or instruction.is_privileged
        or instruction.mnemonic in FAULTING
        or instruction.encoding != EncodingKind.LEGACY
    )


def test_only_instructions_that_ring_3_may_use() -> None:
    decoded = instructions()
    assert len(decoded) > 500
    assert not [str(instruction) for instruction in decoded if forbidden(instruction)]
    assert sum(instruction.mnemonic == Mnemonic.SYSCALL for instruction in decoded) == 1
    assert sum(instruction.is_call_far_indirect for instruction in decoded) == 3


@pytest.mark.parametrize("code", ["FA", "EC", "EE", "6C", "0F 32", "0F 30", "0F 20 C0", "C5 F0 58 C1", "06", "CC"])
def test_the_check_finds_planted_instructions(code: str) -> None:
    assert forbidden(next(iter(Decoder(64, bytes.fromhex(code)))))


def test_table_in_the_image() -> None:
    """Service pointers are RVAs before relocation: each must be the function that the layout wants there."""
    table = body("gBrokerMmst")
    assert len(table) == 0xF0
    assert struct.unpack_from("<QIIII", table) == (0x54534D53, 0x00010050, 0x18, 0, 0)
    pointers = {at: struct.unpack_from("<Q", table, at)[0] for at in range(0x28, 0xF0, 8)}
    for offset, rva in pointers.items():
        wanted = TABLE_SERVICES.get(offset)
        assert rva == (symbol(wanted, "" if wanted.startswith("Broker") else "broker/table").rva if wanted else 0), (
            f"table offset {offset:#x}"
        )


def test_all_symbols_lie_in_sections_of_their_kind(image: pefile.PE) -> None:
    text = image.sections[0]
    for entry in prebuilt.symbols(NAME):
        inside = text.VirtualAddress <= entry.rva < text.VirtualAddress + text.Misc_VirtualSize
        assert inside == (entry.kind == "code"), entry


def test_settings_can_be_patched() -> None:
    profiled = prebuilt.patched_image(NAME, {"gHandlerProfilePropertyMask": b"\x01"})
    changed = [at for at, (old, new) in enumerate(zip(prebuilt.image(NAME), profiled, strict=True)) if old != new]
    assert changed == [symbol("gHandlerProfilePropertyMask").rva]
    older = struct.pack("<QI", 0x54534D53, 0x0001003C)
    table = symbol("gBrokerMmst").rva
    patched = prebuilt.patched_image(NAME, {"gBrokerMmst": older})
    assert struct.unpack_from("<I", patched, table + REVISION)[0] == 0x0001003C


def test_patching_refuses_what_it_cannot_place() -> None:
    for name, value in (("nothing", b"\0"), ("gHandlerProfilePropertyMask", b"\0\0"), ("SysCall", b"\0")):
        with pytest.raises(prebuilt.PrebuiltError, match=name):
            prebuilt.patched_image(NAME, {name: value})


def test_no_path_or_tool_name_in_the_image() -> None:
    content = prebuilt.image(NAME)
    assert not [text for text in (b"/", b".c\0", b"GCC", b"GNU") if text in content[0x3000:]]
