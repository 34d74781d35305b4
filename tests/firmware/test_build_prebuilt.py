"""The catalogue of shipped drivers: mmsupervisor.prebuilt."""

from __future__ import annotations

import json

import pefile
import pytest

from mmsupervisor import prebuilt
from mmsupervisor.prebuilt import catalogue

BROKER = "MmSupervisorRing3Broker"


@pytest.mark.parametrize("name", prebuilt.names())
def test_every_driver_is_whole(name: str) -> None:
    """Image as recorded, symbols in ascending order, each within a section, entry point among them."""
    image = pefile.PE(data=prebuilt.image(name), fast_load=True)
    symbols = prebuilt.symbols(name)
    assert list(symbols) == sorted(symbols)
    for symbol in symbols:
        section = image.get_section_by_rva(symbol.rva)
        assert section is not None
        assert symbol.rva + symbol.size <= section.VirtualAddress + section.Misc_VirtualSize
        assert section.VirtualAddress == section.PointerToRawData, "an RVA is a file offset"
    entries = [symbol.rva for symbol in symbols if symbol.name == "_ModuleEntryPoint"]
    assert entries == [image.OPTIONAL_HEADER.AddressOfEntryPoint]
    assert prebuilt.driver(name).depex[-1:] == b"\x08"
    assert prebuilt.driver(name).purpose


def test_names_are_sorted_and_hold_the_broker() -> None:
    assert list(prebuilt.names()) == sorted(prebuilt.names())
    assert BROKER in prebuilt.names()


@pytest.fixture
def fresh_catalogue() -> object:
    """Caches emptied before and after: what a test plants stays in the test."""

    def clear() -> None:
        catalogue._drivers.cache_clear()
        catalogue.image.cache_clear()
        catalogue.symbols.cache_clear()

    clear()
    yield catalogue
    clear()


@pytest.mark.usefixtures("fresh_catalogue")
def test_a_damaged_image_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    read = catalogue._read
    monkeypatch.setattr(catalogue, "_read", lambda name: read(name) + (b"!" if name.endswith(".efi") else b""))
    with pytest.raises(prebuilt.PrebuiltError, match=r"MmSupervisorRing3Broker\.efi: not the image"):
        prebuilt.image(BROKER)


@pytest.mark.usefixtures("fresh_catalogue")
def test_a_record_of_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_read", lambda _name: json.dumps({"format": 2, "drivers": {}}).encode())
    with pytest.raises(prebuilt.PrebuiltError, match="format 2"):
        prebuilt.names()
