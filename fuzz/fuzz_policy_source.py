"""Policies of any form: whatever is read is written again and compared, checked, measured and explained."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.errors import LimitError, MmSupervisorError, SourceError
from mmsupervisor.policy import shipped
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.compare import compare
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.explain import explain
from mmsupervisor.policy.layers import put_on
from mmsupervisor.policy.levels import Vendor, judge
from mmsupervisor.policy.lint import lint
from mmsupervisor.policy.load import load_policy, parse_policy
from mmsupervisor.policy.reference_tool import reference_build
from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_source import read_toml_policy
from mmsupervisor.policy.toml_writer import write_toml
from mmsupervisor.policy.xml_source import read_xml
from mmsupervisor.policy.xml_writer import write_xml

BASE = load_policy("amd").source


def seeds() -> list[bytes]:
    """A policy in each form."""
    policy = default_policy()
    toml = write_toml(PolicySource(policy)).encode()
    return [write_xml(policy).encode(), toml, shipped.text("intel").encode(), write_blob(policy)]


def target(data: bytes) -> None:
    """Read by every reader; do everything with what was read."""
    try:
        strict = read_xml(data)
    except (SourceError, LimitError):
        strict = None
    try:
        built = reference_build(data)
    except MmSupervisorError:
        built = None
    if strict is not None:
        assert write_blob(strict) == built, "the strict reader reads otherwise than the reference"
    try:
        source = parse_policy(data, "x").source
    except MmSupervisorError:
        return
    policy = source.policy
    back = read_toml_policy(write_toml(source).encode())
    assert back.policy == policy, "TOML lost something"
    lint(policy)
    random = Random(zlib.crc32(data))
    vendor = random.choice(list(Vendor))
    judge(policy, vendor)
    compare(policy, BASE.policy)
    for question in ("write 1 byte to port 0xCFC", "read msr 0xC0000080", "cli"):
        try:
            explain(policy, question)
        except MmSupervisorError:
            continue
    put_on(BASE, [source], [vendor])


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
