"""Ring-3 drivers built from the C sources under ``firmware/``, shipped as data.

``firmware/build.py`` writes what lies here: ``NAME.efi``, ``NAME.map`` and ``record.json``.
"""

from mmsupervisor.prebuilt.catalogue import (
    PrebuiltDriver,
    PrebuiltError,
    Symbol,
    driver,
    image,
    names,
    patched_image,
    symbols,
)

__all__ = [
    "PrebuiltDriver",
    "PrebuiltError",
    "Symbol",
    "driver",
    "image",
    "names",
    "patched_image",
    "symbols",
]
