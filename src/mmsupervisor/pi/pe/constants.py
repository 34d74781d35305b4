"""Numbers of the PE/COFF format: machines, subsystems, section flags, directories, relocation types.

Sources: Microsoft PE and COFF specification; UEFI 2.10 §2.1.1 (machines and subsystems of EFI images).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

SECTION_HEADER_SIZE = 40
"""Size of one entry of the section table, in bytes."""

MAX_DIRECTORIES = 16
"""Largest number of data directories that EFI loaders accept."""


class Machine(IntEnum):
    """Machine types that EFI images are built for."""

    IA32 = 0x014C
    ARM = 0x01C2
    IA64 = 0x0200
    EBC = 0x0EBC
    RISCV32 = 0x5032
    RISCV64 = 0x5064
    RISCV128 = 0x5128
    LOONGARCH32 = 0x6232
    LOONGARCH64 = 0x6264
    X64 = 0x8664
    AARCH64 = 0xAA64


class Subsystem(IntEnum):
    """Subsystems; 10 to 13 are EFI's."""

    NATIVE = 1
    WINDOWS_GUI = 2
    WINDOWS_CONSOLE = 3
    EFI_APPLICATION = 10
    EFI_BOOT_SERVICE_DRIVER = 11
    EFI_RUNTIME_DRIVER = 12
    EFI_ROM = 13


class FileFlags(IntFlag):
    """Characteristics of the file header that matter here."""

    RELOCS_STRIPPED = 0x0001
    EXECUTABLE_IMAGE = 0x0002
    DLL = 0x2000


class DllFlags(IntFlag):
    """DllCharacteristics that matter here."""

    DYNAMIC_BASE = 0x0040
    NX_COMPAT = 0x0100


class SectionFlags(IntFlag):
    """Characteristics of a section that matter here."""

    CNT_CODE = 0x0000_0020
    CNT_INITIALIZED_DATA = 0x0000_0040
    CNT_UNINITIALIZED_DATA = 0x0000_0080
    MEM_DISCARDABLE = 0x0200_0000
    MEM_SHARED = 0x1000_0000
    MEM_EXECUTE = 0x2000_0000
    MEM_READ = 0x4000_0000
    MEM_WRITE = 0x8000_0000


class Directory(IntEnum):
    """Indexes of the data directories."""

    EXPORT = 0
    IMPORT = 1
    RESOURCE = 2
    EXCEPTION = 3
    SECURITY = 4
    BASE_RELOCATION = 5
    DEBUG = 6
    ARCHITECTURE = 7
    GLOBAL_POINTER = 8
    TLS = 9
    LOAD_CONFIG = 10
    BOUND_IMPORT = 11
    IMPORT_ADDRESS = 12
    DELAY_IMPORT = 13
    CLR = 14
    RESERVED = 15


class RelocationType(IntEnum):
    """Types of base relocations that the loader of the reference knows; all others are refused."""

    ABSOLUTE = 0
    HIGH = 1
    LOW = 2
    HIGHLOW = 3
    DIR64 = 10


def machine_name(machine: int) -> str:
    """Name of a machine type; an unknown one is given in hexadecimal."""
    try:
        return Machine(machine).name
    except ValueError:
        return f"machine {machine:#06x}"


def subsystem_name(subsystem: int) -> str:
    """Name of a subsystem in words; an unknown one is given as a number."""
    try:
        name = Subsystem(subsystem).name
    except ValueError:
        return f"subsystem {subsystem}"
    return name.replace("_", " ").lower().replace("efi", "EFI").replace("EFI rom", "EFI ROM")


def is_efi_subsystem(subsystem: int) -> bool:
    """Whether a subsystem is one of EFI's four."""
    return Subsystem.EFI_APPLICATION <= subsystem <= Subsystem.EFI_ROM
