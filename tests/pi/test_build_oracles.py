"""Whatever sections our builder writes, other readers see the same ones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmsupervisor.pi.volume import FileType
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import (
    build_compression_section,
    build_lzma_section,
    build_section,
    build_subtype_section,
    build_ui_section,
    build_version_section,
    build_volume_image_section,
    join_sections,
)
from tests.pi.oracles.records import Records, our_records
from tests.pi.oracles.uefi_firmware_oracle import uefi_firmware_records
from tests.pi.oracles.virt_firmware_oracle import virt_firmware_records
from tests.pi.volume_samples import DRIVER, NAME, OTHER, image_of

# virt-firmware looks for a section only where more than eight bytes are left.
SMALLEST = 9 - 4
words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=SMALLEST, max_size=12)
leaves = st.one_of(
    st.builds(
        build_section,
        st.sampled_from([0x10, 0x12, 0x13, 0x16, 0x19, 0x1B, 0x1C]),
        st.binary(min_size=SMALLEST, max_size=60),
        large=st.booleans(),
    ),
    words.map(build_ui_section),
    st.builds(build_version_section, words, st.integers(0, 0xFFFF)),
    st.builds(build_subtype_section, st.sampled_from([DRIVER, OTHER, NAME]), st.binary(max_size=20)),
)


def in_lzma(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(inner, min_size=1, max_size=3).map(join_sections).map(build_lzma_section)


def in_a_volume(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(inner, min_size=1, max_size=3).map(lambda found: build_volume_image_section(volume(found)))


def volume(found: list[bytes]) -> bytes:
    # A file for itself, so that an image of a volume may stand in it.
    return build_volume(VolumeSpec((FileSpec(OTHER, FileType.DRIVER, join_sections(found)),)))


streams = st.lists(st.recursive(leaves, lambda s: in_lzma(s) | in_a_volume(s), max_leaves=6), min_size=1, max_size=4)


def leaf_records(records: Records) -> dict[str, tuple[object, ...]]:
    """Volumes, files and sections that hold no others: of those that do, virt-firmware keeps no bytes."""
    inner = {path.rsplit("/", 1)[0] for path in records if "/" in path}
    return {path: record for path, record in records.items() if record[0] != "section" or path not in inner}


@settings(max_examples=120, deadline=None)
@given(streams)
def test_sections_are_read_back_by_both(found):
    data = volume(found)
    ours = our_records(image_of(data))
    assert uefi_firmware_records(data) == ours
    theirs = virt_firmware_records(data)
    assert theirs.keys() == ours.keys()
    assert leaf_records(theirs) == leaf_records(ours)


@settings(max_examples=60, deadline=None)
@given(st.lists(leaves, min_size=1, max_size=3))
def test_compression_sections_are_read_back_by_the_one_that_opens_them(found):
    data = volume([build_compression_section(join_sections(found))])
    assert uefi_firmware_records(data) == our_records(image_of(data))
