"""Policies from everywhere: what an input is taken for, and images with none, one or several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmsupervisor.pi.container import InputError
from mmsupervisor.pi.errors import MmSupervisorError, SourceError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import build_lzma_section, build_section, build_volume_image_section
from mmsupervisor.pi.volume.layout import VALID_STATE_BITS, FileState
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.load import NoPolicyError, PolicyForm, guess_form, load_policy, parse_policy
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_writer import write_toml
from mmsupervisor.policy.xml_writer import write_xml
from tests.policy import xml_samples as xml
from tests.policy.policy_vectors import EMPTY, EXAMPLE, UNIT_V1_0, UNIT_V2

POLICY_FILE = known_guid("gMmSupervisorPolicyFileGuid")
HOLDER = Guid.parse("9E21FD93-9C72-4C15-8C4B-E77F1DB2D792")


def policy_file(blob: bytes) -> FileSpec:
    return FileSpec(POLICY_FILE, FileType.FREEFORM, build_section(SectionType.RAW, blob))


def image(*files: FileSpec) -> bytes:
    return build_volume(VolumeSpec(files))


def nested(*files: FileSpec) -> bytes:
    inner = build_lzma_section(build_volume_image_section(image(*files)))
    return image(FileSpec(HOLDER, FileType.FIRMWARE_VOLUME_IMAGE, inner))


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (EXAMPLE, PolicyForm.BLOB),
        (EMPTY + b"tail", PolicyForm.BLOB),
        (UNIT_V1_0, PolicyForm.BLOB),
        (b"\1" + EXAMPLE[1:], PolicyForm.BLOB),  # version 1.1, which the supervisor takes as it takes 1.0
        (UNIT_V2, PolicyForm.LEGACY_BLOB),
        (b"\xef\xbb\xbf \n<P/>", PolicyForm.XML),
        ("<P/>".encode("utf-16"), PolicyForm.XML),
        (b"policy-form = 1", PolicyForm.TOML),
        (b"", PolicyForm.TOML),
        (image(policy_file(EXAMPLE)), PolicyForm.IMAGE),
        (bytes(100), PolicyForm.IMAGE),
    ],
)
def test_forms(data: bytes, form: PolicyForm) -> None:
    assert guess_form(data) is form


@pytest.mark.parametrize(
    "data",
    [
        EXAMPLE,
        write_xml(default_policy()).encode(),
        write_toml(PolicySource(default_policy())).encode(),
        image(policy_file(EXAMPLE)),
        nested(policy_file(EXAMPLE)),
    ],
)
def test_the_same_policy_from_every_form(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    loaded = load_policy(str(path))
    assert loaded.policy == default_policy()
    assert len(loaded.sha256) == 64


def test_built_in_policies() -> None:
    assert [load_policy(name).form for name in ("default", "amd", "intel")] == [PolicyForm.BUILT_IN] * 3
    assert load_policy("intel").source.vendor == "intel"


def test_legacy_blobs_become_lists() -> None:
    assert [len(root.entries) for root in parse_policy(UNIT_V2, "x").policy.roots] == [2, 3, 2, 0]


def test_images_with_several_policies(tmp_path: Path) -> None:
    path = tmp_path / "two.fd"
    path.write_bytes(image(policy_file(EXAMPLE), policy_file(EMPTY)))
    with pytest.raises(NoPolicyError, match=r"two\.fd: 2 policies; choose one, for example .*two\.fd#0"):
        load_policy(str(path))
    assert write_blob(load_policy(f"{path}#1").policy) == EMPTY
    assert load_policy(f"{path}#0").policy.file == f"{path}#0"
    with pytest.raises(NoPolicyError, match="no policy #2; the last one is #1"):
        load_policy(f"{path}#2")


def test_a_deleted_file_holds_no_policy() -> None:
    deleted = replace(policy_file(EMPTY), state_bits=VALID_STATE_BITS | FileState.DELETED)
    assert write_blob(parse_policy(image(deleted, policy_file(EXAMPLE)), "x").policy) == EXAMPLE


def test_inputs_without_a_policy(tmp_path: Path) -> None:
    for data in (bytes(100), image(FileSpec(HOLDER, FileType.RAW, b"x"))):
        with pytest.raises(NoPolicyError, match="neither a policy nor a firmware image with one"):
            parse_policy(data, "x")
    with pytest.raises(NoPolicyError, match="holds one policy"):
        parse_policy(EXAMPLE, "x", number=0)
    for name in (str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(InputError):
            load_policy(name)


def test_xml_is_read_strictly_unless_told() -> None:
    data = xml.policy(xml.category("IO", access="allow"))
    with pytest.raises(SourceError, match="`allow` is neither"):
        parse_policy(data, "x")
    assert parse_policy(data, "x", as_reference=True).policy.roots[0].access_attr == 1
    with pytest.raises(MmSupervisorError, match="the reference's tool ends with"):
        parse_policy(b"<a>", "x", as_reference=True)
