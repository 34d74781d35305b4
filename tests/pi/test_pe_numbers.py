"""Numbers of the PE format: by the names that pefile has for them."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import pefile
import pytest

from mmsupervisor.pi.pe.constants import (
    Directory,
    DllFlags,
    FileFlags,
    Machine,
    RelocationType,
    SectionFlags,
    Subsystem,
)

NUMBERS: list[tuple[IntEnum | IntFlag, str]] = [
    (Machine.IA32, "IMAGE_FILE_MACHINE_I386"),
    (Machine.ARM, "IMAGE_FILE_MACHINE_THUMB"),
    (Machine.IA64, "IMAGE_FILE_MACHINE_IA64"),
    (Machine.EBC, "IMAGE_FILE_MACHINE_EBC"),
    (Machine.RISCV32, "IMAGE_FILE_MACHINE_RISCV32"),
    (Machine.RISCV64, "IMAGE_FILE_MACHINE_RISCV64"),
    (Machine.RISCV128, "IMAGE_FILE_MACHINE_RISCV128"),
    (Machine.LOONGARCH32, "IMAGE_FILE_MACHINE_LOONGARCH32"),
    (Machine.LOONGARCH64, "IMAGE_FILE_MACHINE_LOONGARCH64"),
    (Machine.X64, "IMAGE_FILE_MACHINE_AMD64"),
    (Machine.AARCH64, "IMAGE_FILE_MACHINE_ARM64"),
    (Subsystem.NATIVE, "IMAGE_SUBSYSTEM_NATIVE"),
    (Subsystem.WINDOWS_GUI, "IMAGE_SUBSYSTEM_WINDOWS_GUI"),
    (Subsystem.WINDOWS_CONSOLE, "IMAGE_SUBSYSTEM_WINDOWS_CUI"),
    (Subsystem.EFI_APPLICATION, "IMAGE_SUBSYSTEM_EFI_APPLICATION"),
    (Subsystem.EFI_BOOT_SERVICE_DRIVER, "IMAGE_SUBSYSTEM_EFI_BOOT_SERVICE_DRIVER"),
    (Subsystem.EFI_RUNTIME_DRIVER, "IMAGE_SUBSYSTEM_EFI_RUNTIME_DRIVER"),
    (Subsystem.EFI_ROM, "IMAGE_SUBSYSTEM_EFI_ROM"),
    (FileFlags.RELOCS_STRIPPED, "IMAGE_FILE_RELOCS_STRIPPED"),
    (FileFlags.EXECUTABLE_IMAGE, "IMAGE_FILE_EXECUTABLE_IMAGE"),
    (FileFlags.DLL, "IMAGE_FILE_DLL"),
    (DllFlags.DYNAMIC_BASE, "IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE"),
    (DllFlags.NX_COMPAT, "IMAGE_DLLCHARACTERISTICS_NX_COMPAT"),
    (Directory.EXPORT, "IMAGE_DIRECTORY_ENTRY_EXPORT"),
    (Directory.IMPORT, "IMAGE_DIRECTORY_ENTRY_IMPORT"),
    (Directory.RESOURCE, "IMAGE_DIRECTORY_ENTRY_RESOURCE"),
    (Directory.EXCEPTION, "IMAGE_DIRECTORY_ENTRY_EXCEPTION"),
    (Directory.SECURITY, "IMAGE_DIRECTORY_ENTRY_SECURITY"),
    (Directory.BASE_RELOCATION, "IMAGE_DIRECTORY_ENTRY_BASERELOC"),
    (Directory.DEBUG, "IMAGE_DIRECTORY_ENTRY_DEBUG"),
    (Directory.ARCHITECTURE, "IMAGE_DIRECTORY_ENTRY_COPYRIGHT"),
    (Directory.GLOBAL_POINTER, "IMAGE_DIRECTORY_ENTRY_GLOBALPTR"),
    (Directory.TLS, "IMAGE_DIRECTORY_ENTRY_TLS"),
    (Directory.LOAD_CONFIG, "IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG"),
    (Directory.BOUND_IMPORT, "IMAGE_DIRECTORY_ENTRY_BOUND_IMPORT"),
    (Directory.IMPORT_ADDRESS, "IMAGE_DIRECTORY_ENTRY_IAT"),
    (Directory.DELAY_IMPORT, "IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT"),
    (Directory.CLR, "IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR"),
    (Directory.RESERVED, "IMAGE_DIRECTORY_ENTRY_RESERVED"),
    *((flag, f"IMAGE_SCN_{flag.name}") for flag in SectionFlags),
    *((kind, f"IMAGE_REL_BASED_{kind.name}") for kind in RelocationType),
]
TABLES = {
    Machine: pefile.MACHINE_TYPE,
    Subsystem: pefile.SUBSYSTEM_TYPE,
    FileFlags: pefile.IMAGE_CHARACTERISTICS,
    DllFlags: pefile.DLL_CHARACTERISTICS,
    SectionFlags: pefile.SECTION_CHARACTERISTICS,
    Directory: pefile.DIRECTORY_ENTRY,
    RelocationType: pefile.RELOCATION_TYPE,
}


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_numbers_are_those_of_pefile(kind):
    named = {member: name for member, name in NUMBERS if isinstance(member, kind)}
    assert named.keys() == set(kind)
    assert {name: int(member) for member, name in named.items()} == {
        name: TABLES[kind][name] for name in named.values()
    }
