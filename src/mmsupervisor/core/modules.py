"""The images in MMRAM: whose code an address belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsupervisor.core.findings import Place
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid

BROKER_GUID = known_guid("MmSupervisorRing3Broker")
"""FILE_GUID of the broker, whoever built it."""


@dataclass(slots=True)
class Module:
    """An image that the dispatcher loaded.

    Attributes:
        name: Its user-interface name, else the name or text of its file GUID.
        guid: Its file GUID.
        base: Where its first byte lies.
        size: Bytes of the mapped image.
        entry: Address of its entry point.
        handle: The ImageHandle that ring 3 is given.
        symbols: Names in it.
        traditional: Whether it is a traditional driver, which a relaxation lets in.
    """

    name: str
    guid: Guid
    base: int
    size: int
    entry: int
    handle: int = 0
    symbols: Symbols = field(default_factory=Symbols)
    traditional: bool = False
    _places: dict[int, Place] = field(default_factory=dict, repr=False)

    def holds(self, address: int) -> bool:
        """Whether an address lies in this image."""
        return self.base <= address < self.base + self.size

    def place(self, address: int) -> Place:
        """Describe an address in this image. Descriptions are kept: a driver makes its calls from few places."""
        known = self._places.get(address)
        if known is None:
            offset = address - self.base
            known = self._places[address] = Place(self.name, address, offset, self.symbols.name_of(offset))
        return known


class ModuleList:
    """All loaded images.

    Attributes:
        modules: In order of loading.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.modules: list[Module] = []
        self._last: Module | None = None

    def add(self, module: Module) -> None:
        """Record a loaded image."""
        self.modules.append(module)

    def remove(self, module: Module) -> None:
        """Forget an image whose pages were freed."""
        self.modules.remove(module)
        self._last = None

    def find(self, address: int) -> Module | None:
        """Return the image that holds an address."""
        last = self._last
        if last is not None and last.base <= address < last.base + last.size:
            return last  # where ring 3 was the last time, as a rule
        for module in self.modules:
            if module.base <= address < module.base + module.size:
                self._last = module
                return module
        return None

    def by_name(self, name: str) -> Module | None:
        """Return the image with a name."""
        return next((module for module in self.modules if module.name == name), None)

    def place(self, address: int) -> Place:
        """Describe any address."""
        module = self.find(address)
        return module.place(address) if module else Place("", address)
