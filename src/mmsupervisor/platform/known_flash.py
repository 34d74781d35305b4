"""The flash of images that are known, for boots where nothing else describes one.

An image of a whole flash has its variable store at the front: the store's own headers say so, and how large it is.

Of others OVMF is known. Its SMM drivers look for their variable store right below the code. Where there is none,
VariableSmm takes what it finds for one and clears it byte by byte, up to 4 GiB. So an image of OVMF's code gets a
store: the file beside it that belongs to it, else an empty one that is kept nowhere.

Layout of the store, as OVMF's build lays it out (sizes in bytes):

=========  =========  =========  =========  =========  =========
code       store      variables  event log  work area  spare
=========  =========  =========  =========  =========  =========
0x37C000   0x84000    0x40000    0x1000     0x1000     0x42000
0x1E0000   0x20000    0xE000     0x1000     0x1000     0x10000
=========  =========  =========  =========  =========  =========
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from mmsupervisor.devices.flash import SECTOR
from mmsupervisor.devices.flash_store import LARGEST
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.description import MIB, PlatformDescription, StoreContent
from mmsupervisor.platform.firmware import Firmware
from mmsupervisor.platform.variable_store import StoreLayout, empty_store, store_size

FLASH_DRIVER = Guid.parse("2E7DB7A7-608E-4041-B45F-00359E0766C6")
"""File GUID of FvbServicesSmm, OVMF's flash driver."""

LARGEST_IMAGE = 16 * MIB
"""An image with a store at its front is flash if it is no larger: most computers decode no more below 4 GiB."""

_MOST_NAME_PARTS = 8


class KnownFlashError(MmSupervisorError):
    """What is to be a variable store is none, or does not belong to the image."""


LAYOUTS = {0x37_C000: StoreLayout(0x8_4000, 0x4_0000), 0x1E_0000: StoreLayout(0x2_0000, 0xE000)}
"""The store of each size of code."""


def with_known_flash(description: PlatformDescription, firmware: Firmware, path: Path | None) -> PlatformDescription:
    """Describe the flash of an image that is known; a description of its code, or another image, stays as it is.

    Args:
        description: The platform.
        firmware: What is booted.
        path: The image's file, beside which its store may lie; None if that is not known.

    Raises:
        KnownFlashError: what is described as the store is none, or of another size than the image's drivers look for.
        InputError: it cannot be read.
        LimitError: it is larger than any flash.
    """
    facts = description.devices
    front = store_in_front(firmware.image)
    layout = _known_layout(firmware)
    size = front or (layout.size if layout else 0)
    if not size or facts.flash_code is not None:
        return description
    changed = replace(facts, flash_code_start=front)
    if facts.flash_variables is not None:
        _require_store(facts.flash_variables, size)
        changed = replace(changed, flash_variables_size=size)
    elif facts.flash_erased or facts.flash_content:
        pass
    elif front:
        own = StoreContent(f"the front of {firmware.name}", firmware.image[:front])
        changed = replace(changed, flash_content=own)
    elif layout is not None:
        beside = None if path is None else find_companion(path, layout)
        empty = None if beside else StoreContent("an empty variable store of OVMF's", empty_store(layout))
        changed = replace(changed, flash_variables=beside, flash_content=empty)
    return replace(description, devices=changed)


def _known_layout(firmware: Firmware) -> StoreLayout | None:
    is_ovmf = any(item.guid == FLASH_DRIVER for item in firmware.traditional)
    return LAYOUTS.get(len(firmware.image)) if is_ovmf else None


def store_in_front(image: bytes) -> int:
    """Return the bytes of the variable store that an image begins with, 0 if it does not or has nothing else."""
    size = store_size(image) if len(image) <= LARGEST_IMAGE and not len(image) % SECTOR else 0
    return size if size < len(image) else 0


def _require_store(path: Path, size: int) -> None:
    """Require that a file is a store of a size, or begins with one, as an image of the whole flash does."""
    data = read_input_file(path, LARGEST)
    found = store_size(data)
    if len(data) != size and not (len(data) > size and found == size):
        raise KnownFlashError(f"{path}: {len(data):,} bytes; the store of this image has {size:,}")
    if found != size:
        hint = "to boot on it nevertheless, name the flash's code, too, in a platform file"
        raise KnownFlashError(f"{path}: does not begin with a variable store that drivers would take ({hint})")


def find_companion(path: Path, layout: StoreLayout) -> Path | None:
    """Return the store that belongs to an image, or None: a file with a name like the image's and a store in it."""
    return next((one for one in map(path.with_name, companion_names(path.name)) if _is_store(one, layout)), None)


def companion_names(name: str) -> Iterator[str]:
    """Yield the names that a store may have, the likeliest first.

    Distributions call it as the code, ``VARS`` for ``CODE``, and leave out what does not matter to a store:
    ``OVMF_CODE_4M.secboot.fd`` goes with ``OVMF_VARS_4M.fd``.
    """
    if "CODE" not in name:
        return
    first, *rest = name.replace("CODE", "VARS").split(".")[:_MOST_NAME_PARTS]
    if not rest:
        yield first
        return
    *words, ending = rest
    for count in range(len(words), -1, -1):
        for kept in combinations(words, count):
            yield ".".join((first, *kept, ending))


def _is_store(path: Path, layout: StoreLayout) -> bool:
    try:
        return path.stat().st_size == layout.size == store_size(path.read_bytes())
    except OSError:
        return False
