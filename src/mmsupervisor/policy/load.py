"""Policies from wherever they are: XML, TOML, blobs, blobs in firmware images, and those of this package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from mmsupervisor.pi.container import read_image
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.limits import DEFAULT_LIMITS, Allowance
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.volume import FileType, SectionType, files
from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import FIRST_V1_0_VERSION, assemble, read_blob_as_runtime
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.legacy import read_legacy_blob
from mmsupervisor.policy.model import POLICY_HEADER_SIZE, Policy
from mmsupervisor.policy.reference_tool import read_xml_as_reference
from mmsupervisor.policy.sequential import is_sequential, read_sequential_blob
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_source import read_toml_policy
from mmsupervisor.policy.xml_source import read_xml

DEFAULT = "default"
"""Names the built-in default policy, as the vendors' names name the shipped ones."""

_POLICY_FILE = known_guid("gMmSupervisorPolicyFileGuid")


class PolicyForm(Enum):
    """What a policy was read from."""

    BUILT_IN = "built-in"
    XML = "XML"
    TOML = "TOML"
    BLOB = "blob"
    LEGACY_BLOB = "legacy blob"
    SEQUENTIAL_BLOB = "sequential blob"
    IMAGE = "firmware image"


class NoPolicyError(MmSupervisorError):
    """An input that holds no policy, or not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with its origin.

    Attributes:
        name: The input as it was named.
        form: What it was read from.
        source: The policy and its notes.
        sha256: Of the input; empty for a built-in one.
        blob: The input's bytes where it is a blob of the present form; else empty.
    """

    name: str
    form: PolicyForm
    source: PolicySource
    sha256: str = ""
    blob: bytes = field(default=b"", repr=False)

    @property
    def policy(self) -> Policy:
        """The policy itself."""
        return self.source.policy


def load_policy(name: str, *, as_reference: bool = False, allowance: Allowance | None = None) -> LoadedPolicy:
    """Load a policy.

    Args:
        name: A path; ``default``, ``amd`` or ``intel`` for a built-in one; or ``PATH#N`` for the N-th policy of a
            firmware image, counted from 0.
        as_reference: Whether XML and legacy blobs are read as the reference's tool reads them.
        allowance: Bounds for hostile input.

    Raises:
        InputError: the file cannot be read.
        NoPolicyError: the file is nothing that holds a policy, or holds several and none was chosen.
        MmSupervisorError: the file breaks the rules of its form.
    """
    if name == DEFAULT:
        return LoadedPolicy(name, PolicyForm.BUILT_IN, PolicySource(default_policy()))
    if name in shipped.NAMES:
        return LoadedPolicy(name, PolicyForm.BUILT_IN, shipped.policy(name))
    path, number = _split(name)
    return parse_policy(
        read_input(path), name, path_name=path, number=number, as_reference=as_reference, allowance=allowance
    )


def _split(name: str) -> tuple[str, int | None]:
    path, mark, number = name.rpartition("#")
    return (path, int(number)) if mark and number.isdecimal() and not Path(name).exists() else (name, None)


def read_input(path: str) -> bytes:
    """Read a file, within the bounds for inputs.

    Raises:
        InputError: it cannot be read.
        LimitError: it is too large.
    """
    return read_input_file(Path(path), DEFAULT_LIMITS.input_bytes)


def parse_policy(
    data: bytes,
    name: str,
    *,
    path_name: str = "",
    number: int | None = None,
    as_reference: bool = False,
    allowance: Allowance | None = None,
) -> LoadedPolicy:
    """Tell by its first bytes what an input is, and read the policy in it.

    Args:
        data: The input.
        name: How it was named.
        path_name: Its file's name in messages; ``name`` if empty.
        number: Which policy of an image; the only one if None.
        as_reference: Whether XML and legacy blobs are read as the reference's tool reads them.
        allowance: Bounds for hostile input.

    Raises:
        NoPolicyError: as :func:`load_policy`.
        MmSupervisorError: the input breaks the rules of its form.
    """
    file = path_name or name
    form = guess_form(data)
    match form:
        case PolicyForm.XML if as_reference:
            source = PolicySource(assemble(read_xml_as_reference(data, file, (), allowance), file=file))
        case PolicyForm.XML:
            source = PolicySource(read_xml(data, file, allowance))
        case PolicyForm.TOML:
            source = read_toml_policy(data, file, allowance)
        case PolicyForm.BLOB:
            source = PolicySource(read_blob_as_runtime(data, file, allowance))
        case PolicyForm.LEGACY_BLOB:
            legacy = read_legacy_blob(data, file, allowance)
            source = PolicySource(assemble(legacy.roots() if as_reference else legacy.meant_roots(), file=file))
        case PolicyForm.SEQUENTIAL_BLOB:
            source = PolicySource(assemble(read_sequential_blob(data, file, allowance).meant_roots(), file=file))
        case _:
            source = PolicySource(_from_image(data, file, number, allowance))
    if number is not None and form is not PolicyForm.IMAGE:
        raise NoPolicyError(f"{file}: a {form.value} holds one policy; #{number} is for firmware images")
    blob = data if form is PolicyForm.BLOB else b""
    return LoadedPolicy(name, form, source, hashlib.sha256(data).hexdigest(), blob)


def guess_form(data: bytes) -> PolicyForm:
    """What an input is, by its first bytes."""
    first = int.from_bytes(data[:4], "little")
    size = int.from_bytes(data[4:8], "little")
    if first == FIRST_V1_0_VERSION or (
        0x1_0000 < first < 0x10_0000 and POLICY_HEADER_SIZE <= size <= len(data) and data[0x20:0x24] == b"\x28\0\0\0"
    ):
        return PolicyForm.BLOB
    if is_sequential(data):
        return PolicyForm.SEQUENTIAL_BLOB
    if first in (1, 2) and POLICY_HEADER_SIZE <= size <= len(data):
        return PolicyForm.LEGACY_BLOB
    if b"\0" not in data[:0x1000] or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = data[:0x1000].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")
        return PolicyForm.XML if start.startswith(b"<") else PolicyForm.TOML
    return PolicyForm.IMAGE


def image_policies(data: bytes, file: str, allowance: Allowance | None = None) -> Iterator[Policy]:
    """The policies in a firmware image, in its order, as the supervisor would read each.

    Args:
        data: The image.
        file: Its name in messages.
        allowance: Bounds for hostile input.

    Raises:
        FormatError: a policy's header does not fit its section.
        LimitError: the image holds more than the bounds allow.
    """
    allowance = allowance or Allowance()
    image = read_image(Reader(data, file), allowance)
    number = 0
    for place in files(image, FileType.FREEFORM):
        section = place.node.first_section(SectionType.RAW, open_encapsulations=False)
        if place.node.guid == _POLICY_FILE and section is not None:
            yield read_blob_as_runtime(bytes(section.data), f"{file}#{number}", allowance)
            number += 1


def _from_image(data: bytes, file: str, number: int | None, allowance: Allowance | None) -> Policy:
    found = list(image_policies(data, file, allowance))
    if not found:
        raise NoPolicyError(f"{file}: neither a policy nor a firmware image with one")
    if number is None and len(found) > 1:
        raise NoPolicyError(f"{file}: {len(found)} policies; choose one, for example {file}#0")
    if number is not None and number >= len(found):
        raise NoPolicyError(f"{file}: there is no policy #{number}; the last one is #{len(found) - 1}")
    return found[number or 0]
