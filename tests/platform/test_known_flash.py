"""OVMF's flash, where nobody describes one: the store beside the image, else an empty one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor.dxe.phases import Phase
from mmsupervisor.platform.description import DeviceFacts, PlatformDescription
from mmsupervisor.platform.known_flash import LAYOUTS, companion_names, empty_store, find_companion
from mmsupervisor.session import boot
from tests.support.observed import CODE, VARIABLES
from tests.support.ovmf import Ovmf

OWNER = "7B7B1C53-0B4B-46B4-8A3F-2C3E4A3F1D20"
_EARLY = Phase.LAUNCHED
LAYOUT_4M = LAYOUTS[0x37_C000]


def test_our_empty_store_is_ovmfs_to_the_byte(ovmf: Ovmf) -> None:
    """Debian 12 has both sizes; whatever another release ships as its empty store has the same layout."""
    sizes = {layout.size: layout for layout in LAYOUTS.values()}
    shipped = [path for path in ovmf.files() if path.name in ("OVMF_VARS_4M.fd", "OVMF_VARS.fd")]
    assert shipped
    for path in shipped:
        assert empty_store(sizes[path.stat().st_size]) == path.read_bytes(), path.name
    assert len(shipped) == 2 or not ovmf.known_release(CODE)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("OVMF_CODE.fd", ["OVMF_VARS.fd"]),
        ("OVMF_CODE_4M.secboot.fd", ["OVMF_VARS_4M.secboot.fd", "OVMF_VARS_4M.fd"]),
        ("a/OVMF_CODE", ["a/OVMF_VARS"]),
        ("x_CODE.b.4m.fd", ["x_VARS.b.4m.fd", "x_VARS.b.fd", "x_VARS.4m.fd", "x_VARS.fd"]),
        ("bios.bin", []),
    ],
)
def test_names_that_a_store_may_have(name: str, names: list[str]) -> None:
    assert list(companion_names(name)) == names


def test_only_a_store_of_the_right_size_is_a_companion(tmp_path: Path) -> None:
    image, near, far = (tmp_path / name for name in ("X_CODE.a.fd", "X_VARS.a.fd", "X_VARS.fd"))
    assert find_companion(image, LAYOUT_4M) is None
    far.write_bytes(empty_store(LAYOUT_4M))
    assert find_companion(image, LAYOUT_4M) == far
    for wrong in (empty_store(LAYOUTS[0x1E_0000]), bytes(LAYOUT_4M.size)):
        near.write_bytes(wrong)
        assert find_companion(image, LAYOUT_4M) == far
    near.write_bytes(empty_store(LAYOUT_4M))
    assert find_companion(image, LAYOUT_4M) == near


def test_ovmf_alone_runs_on_an_empty_store(ovmf: Ovmf, tmp_path: Path) -> None:
    """Without one VariableSmm would clear all that lies behind the code's place, a million and a half bytes."""
    image = tmp_path / "bios.fd"
    image.write_bytes(ovmf.path(CODE).read_bytes())
    with boot(image, observe=True) as session:
        assert {driver.name: driver.state for driver in session.drivers}["VariableSmm"] == "started"
        assert session.devices.store is not None
        assert session.devices.store.name == "an empty variable store of OVMF's"
        session.variables.set("Ours", OWNER, b"x")
        assert session.variables.get("Ours", OWNER).data == b"x"
        assert session.devices.write_back() is False, "it is kept nowhere"
    assert [path.name for path in tmp_path.iterdir()] == ["bios.fd"]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_store_beside_the_image_is_taken(ovmf: Ovmf, tmp_path: Path, *, as_bytes: bool) -> None:
    image, store = tmp_path / "X_CODE.fd", tmp_path / "X_VARS.fd"
    image.symlink_to(ovmf.path(CODE))
    store.write_bytes(ovmf.path(VARIABLES).read_bytes())
    given = image.read_bytes() if as_bytes else image
    with boot(given, path=image, until=_EARLY) as session:
        assert session.devices.store is not None
        assert session.devices.store.name == str(store)
        assert session.devices.variables is not None
        assert session.devices.variables.content == store.read_bytes()


def test_a_flash_that_is_described_stays(ovmf: Ovmf) -> None:
    description = PlatformDescription(devices=DeviceFacts(flash_erased=0x2000))
    with boot(ovmf.path(CODE), description=description, until=_EARLY) as session:
        assert session.description == description
        assert session.devices.variables is not None
        assert session.devices.variables.size == 0x2000


def test_other_images_get_none(ovmf: Ovmf) -> None:
    """Neither the sample platform, nor an image of OVMF without its SMM drivers, nor one of another size."""
    with boot(until=_EARLY) as session:
        assert session.devices.variables is None
    for image in (ovmf.path("OVMF_CODE_4M.fd").read_bytes(), ovmf.path(CODE).read_bytes() + bytes(0x1000)):
        with boot(image, until=_EARLY) as session:
            assert session.devices.variables is None
            assert replace(session.description, devices=DeviceFacts()) == PlatformDescription()
