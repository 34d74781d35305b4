"""PE32 and PE32+ images: parse, map, relocate, judge by the loader's rules, plan the page protection.

Sources: Microsoft PE and COFF specification; UEFI 2.10 §2.1.1; docs/reference/boot-flow.md §6.4, memory.md §5.

====================================  ==========================================================================
``parse_pe(reader)``                  :class:`PeImage`: headers, sections, directories, ``label``
``map_image(image)``                  bytearray of SizeOfImage bytes, not relocated
``relocate(image, mapped, base)``     apply relocations in place, number applied
``load_image(image, base)``           both
``image_relocations(image, mapped)``  walk the relocations
``pdb_path``, ``module_name``         the name the linker left in the image
``load_problems(image, allocation)``  every rule of the MM core that the image breaks, with status
``plan_protection(image)``            the attributes of its pages, with the reference's quirks
====================================  ==========================================================================

Whether a blob is a PE image at all: :mod:`mmsupervisor.pi.image_kind`.
"""

from mmsupervisor.pi.pe.constants import (
    Directory,
    DllFlags,
    FileFlags,
    Machine,
    RelocationType,
    SectionFlags,
    Subsystem,
    is_efi_subsystem,
    machine_name,
    subsystem_name,
)
from mmsupervisor.pi.pe.debug import DebugEntry, debug_entries, module_name, pdb_path
from mmsupervisor.pi.pe.headers import DataDirectory, FileHeader, OptionalHeader, PeImage, Section, parse_pe
from mmsupervisor.pi.pe.load_rules import (
    LOAD_RULES,
    LoadProblem,
    LoadRule,
    image_address,
    image_pages,
    load_problems,
)
from mmsupervisor.pi.pe.mapping import MAX_IMAGE_SIZE, image_relocations, load_image, map_image, relocate
from mmsupervisor.pi.pe.protection import (
    PageSpan,
    ProtectionPlan,
    ProtectionQuirk,
    QuirkKind,
    plan_protection,
)
from mmsupervisor.pi.pe.relocations import Relocation, RelocationError, RelocationFault

__all__ = [
    "LOAD_RULES",
    "MAX_IMAGE_SIZE",
    "DataDirectory",
    "DebugEntry",
    "Directory",
    "DllFlags",
    "FileFlags",
    "FileHeader",
    "LoadProblem",
    "LoadRule",
    "Machine",
    "OptionalHeader",
    "PageSpan",
    "PeImage",
    "ProtectionPlan",
    "ProtectionQuirk",
    "QuirkKind",
    "Relocation",
    "RelocationError",
    "RelocationFault",
    "RelocationType",
    "Section",
    "SectionFlags",
    "Subsystem",
    "debug_entries",
    "image_address",
    "image_pages",
    "image_relocations",
    "is_efi_subsystem",
    "load_image",
    "load_problems",
    "machine_name",
    "map_image",
    "module_name",
    "parse_pe",
    "pdb_path",
    "plan_protection",
    "relocate",
    "subsystem_name",
]
