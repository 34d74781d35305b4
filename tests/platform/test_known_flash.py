"""OVMF's flash, where nobody describes one: the store beside the image, else an empty one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor.dxe.phases import Phase
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.description import DeviceFacts, PlatformDescription
from mmsupervisor.platform.known_flash import LAYOUTS, companion_names, find_companion, store_in_front
from mmsupervisor.platform.variable_store import empty_store, store_size
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
        assert session.description.devices == description.devices
        assert session.devices.variables is not None
        assert session.devices.variables.size == 0x2000


def test_other_images_get_none(ovmf: Ovmf) -> None:
    """Neither the sample platform, nor an image of OVMF without its SMM drivers, nor one of another size."""
    with boot(until=_EARLY) as session:
        assert session.devices.variables is None
    for image in (ovmf.path("OVMF_CODE_4M.fd").read_bytes(), ovmf.path(CODE).read_bytes() + bytes(0x1000)):
        with boot(image, until=_EARLY) as session:
            assert session.devices.variables is None
            assert session.description.devices == DeviceFacts()


EMPTY_4M = empty_store(LAYOUT_4M)


def with_bytes(data: bytes, offset: int, changed: bytes) -> bytes:
    return data[:offset] + changed + data[offset + len(changed) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        EMPTY_4M[:0x47],
        bytes(0x84000),
        b"\xff" * 0x84000,
        EMPTY_4M[:-1],
        with_bytes(EMPTY_4M, 0x10, bytes(16)),
        with_bytes(EMPTY_4M, 0x28, b"_FVX"),
        with_bytes(EMPTY_4M, 0x48, bytes(16)),
        with_bytes(EMPTY_4M, 0x5C, b"\xff"),
        with_bytes(EMPTY_4M, 0x5D, b"\x00"),
    ],
    ids=["nothing", "cut", "zeros", "erased", "short", "other volume", "signature", "kind", "unformatted", "unhealthy"],
)
def test_what_no_driver_takes_for_a_store_is_none(data: bytes) -> None:
    assert store_size(data) == 0


def test_a_store_in_front_of_code_is_found_by_its_own_size() -> None:
    for layout in LAYOUTS.values():
        store = empty_store(layout)
        assert store_size(store) == layout.size
        assert store_in_front(store) == 0, "a store alone is no image"
        assert store_in_front(store + bytes(0x1000)) == layout.size
        assert store_in_front(store + bytes(0x1001)) == 0, "flash has whole sectors"
    assert store_in_front(EMPTY_4M + bytes(16 << 20)) == 0, "flash is not as large"


@pytest.fixture
def whole(ovmf: Ovmf, tmp_path: Path) -> Path:
    """The whole flash as one file, as a build of OVMF makes it and as a programmer reads it."""
    path = tmp_path / "OVMF.fd"
    path.write_bytes(ovmf.path(VARIABLES).read_bytes() + ovmf.path(CODE).read_bytes())
    return path


def test_an_image_of_the_whole_flash_runs_on_its_own_store(ovmf: Ovmf, whole: Path) -> None:
    before, store = whole.read_bytes(), ovmf.path(VARIABLES).read_bytes()
    with boot(whole, observe=True) as session:
        assert session.devices.store is not None
        assert session.devices.store.name == f"the front of {whole}"
        assert session.memory.read((1 << 32) - len(before), len(before))[len(store) :] == before[len(store) :]
        assert session.variables.get("SecureBootEnable", "gEfiSecureBootEnableDisableGuid").data == b"\x01"
        assert session.devices.write_back() is False, "no file was named"
    assert whole.read_bytes() == before


def test_the_whole_flash_as_a_store_gives_its_front_and_keeps_its_code(ovmf: Ovmf, whole: Path) -> None:
    before = whole.read_bytes()
    description = PlatformDescription(devices=DeviceFacts(flash_variables=whole))
    for image in (whole, ovmf.path(CODE)):
        with boot(image, description=description, observe=True) as session:
            assert session.devices.variables is not None
            session.variables.set(f"From{len(session.firmware.image)}", OWNER, b"kept")
            store = session.devices.variables.content
            assert session.devices.write_back()
        assert whole.read_bytes() == store + before[len(store) :]
    with boot(whole, observe=True) as session:
        assert len([name for name, guid in session.variables if guid == Guid.parse(OWNER)]) == 2


def test_a_file_that_is_no_store_is_refused_before_a_driver_clears_it_byte_by_byte(ovmf: Ovmf, tmp_path: Path) -> None:
    path, code = tmp_path / "vars.fd", ovmf.path(CODE)
    path.write_bytes(b"\xff" * LAYOUT_4M.size)
    description = PlatformDescription(devices=DeviceFacts(flash_variables=path))
    with pytest.raises(MmSupervisorError, match=r"vars\.fd: does not begin with a variable store"):
        boot(code, description=description)
    path.write_bytes(empty_store(LAYOUTS[0x1E_0000]))
    with pytest.raises(MmSupervisorError, match=r"131,072 bytes; the store of this image has 540,672"):
        boot(code, description=description)
    path.write_bytes(b"\xff" * LAYOUT_4M.size)
    described = replace(description, devices=replace(description.devices, flash_code=code))
    with boot(code, description=described, until=_EARLY) as session:
        assert session.devices.variables is not None
        assert session.devices.variables.content == path.read_bytes(), "who describes all of the flash gets it"
