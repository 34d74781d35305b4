"""Firmware volumes, files and sections: reading and building.

Reading an image of unknown kind starts at :func:`mmsupervisor.pi.container.read_image`. Reading is tolerant: damage
is data in the tree (``node.problems``); :func:`raise_damage` is the strict mode.

Tree: ``Image`` (pi.container) -> :class:`Volume` -> :class:`File` -> :class:`Section` -> ``Section`` or ``Volume``.
Every node has ``part`` (path, plus ``!LZMA@0x..`` for each decompressed part), ``offset`` in that part, ``raw``
(its bytes, a view), ``problems`` and ``children``.

============================================  =================================================================
call                                          gives
============================================  =================================================================
``find_volumes(reader, allowance)``           all volumes at any offset, and problems that belong to none
``read_volume(reader, allowance)``            the volume at the reader's start
``walk(root)``                                every node as ``Place(node, ancestors)``
``volumes(root)``                             places of volumes; ``place.is_top_level``, ``place.encapsulations``
``files(root, *types, deleted=False)``        places of files; ``place.volume``
``sections(root, *types)``                    places of sections; ``place.file``
``unopened(root)``                            places of sections that were not opened; ``node.unopened.text``
``problems(root)``                            every finding
``raise_damage(root)``                        FormatError for the first damage
``volume.build.build_volume(spec)``           bytes of a volume from ``VolumeSpec`` and ``FileSpec``
``volume.build_section.build_*_section(..)``  bytes of a section; ``join_sections``
``volume.rebuild.rebuild_volume(volume)``     bytes of a volume that was read, perhaps changed
============================================  =================================================================

Of a file: ``guid``, ``label``, ``ui_name``, ``version``, ``type``/``type_name``, ``state``, ``is_live``, ``sections``,
``first_section(SectionType.PE32, open_encapsulations=...)``, ``data``. Of a section: ``data`` (after all headers:
hand it to the readers of images and dependency expressions, with ``part`` and ``data_offset`` for messages),
``header`` of GUID-defined, compression and freeform sections, ``text`` of user interface and version sections,
``unopened``.
"""

from mmsupervisor.pi.volume.layout import (
    FFS2_GUID,
    FFS3_GUID,
    NVRAM_GUID,
    CompressionType,
    FileAttribute,
    FileState,
    FileType,
    GuidedAttribute,
    SectionType,
    VolumeAttribute,
    file_type_name,
    section_type_name,
)
from mmsupervisor.pi.volume.model import (
    Block,
    Closed,
    CompressionHeader,
    ExtendedEntry,
    ExtendedHeader,
    File,
    GuidedHeader,
    Node,
    Section,
    SubtypeHeader,
    Unopened,
    VariableStore,
    Volume,
)
from mmsupervisor.pi.volume.problem import Problem, ProblemKind, Severity
from mmsupervisor.pi.volume.read_section import read_sections
from mmsupervisor.pi.volume.read_volume import find_volumes, read_volume
from mmsupervisor.pi.volume.walk import (
    Place,
    files,
    problems,
    raise_damage,
    sections,
    unopened,
    volumes,
    walk,
)

__all__ = [
    "FFS2_GUID",
    "FFS3_GUID",
    "NVRAM_GUID",
    "Block",
    "Closed",
    "CompressionHeader",
    "CompressionType",
    "ExtendedEntry",
    "ExtendedHeader",
    "File",
    "FileAttribute",
    "FileState",
    "FileType",
    "GuidedAttribute",
    "GuidedHeader",
    "Node",
    "Place",
    "Problem",
    "ProblemKind",
    "Section",
    "SectionType",
    "Severity",
    "SubtypeHeader",
    "Unopened",
    "VariableStore",
    "Volume",
    "VolumeAttribute",
    "file_type_name",
    "files",
    "find_volumes",
    "problems",
    "raise_damage",
    "read_sections",
    "read_volume",
    "section_type_name",
    "sections",
    "unopened",
    "volumes",
    "walk",
]
