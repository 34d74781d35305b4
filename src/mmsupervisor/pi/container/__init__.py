"""Input files of unknown kind: what they are and what is in them.

``read_image_file(path)`` or ``read_image(reader)`` gives an :class:`Image`: ``kind`` (a :class:`ContainerKind`),
``label`` in words, top-level ``volumes``, ``gaps`` between them, ``descriptor`` of a flash dump, ``capsule``. An input
without firmware is no error: its kind says what it is. ``Image`` is the root of the tree that
:mod:`mmsupervisor.pi.volume` walks: ``files(image, FileType.MM)``, ``problems(image)``, ``raise_damage(image)``.
"""

from mmsupervisor.pi.container.input_file import InputError
from mmsupervisor.pi.container.model import (
    Capsule,
    CapsuleItem,
    ContainerKind,
    FlashDescriptor,
    FlashRegion,
    Gap,
    Image,
)
from mmsupervisor.pi.container.read_image import read_image, read_image_file

__all__ = [
    "Capsule",
    "CapsuleItem",
    "ContainerKind",
    "FlashDescriptor",
    "FlashRegion",
    "Gap",
    "Image",
    "InputError",
    "read_image",
    "read_image_file",
]
