"""Policy blobs of all versions: read, write, check, print, decide; two ways to decide must agree."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.errors import FormatError, MmSupervisorError
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble, read_blob, read_blob_as_runtime, write_blob
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_instruction, decide_io, decide_msr
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.dump import dump_policy
from mmsupervisor.policy.legacy import LegacyPolicy, assemble_legacy, read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.lint import lint
from mmsupervisor.policy.memory_policy import PageLeaf, fetch_policy
from mmsupervisor.policy.save_state import IoTrap, decide_save_state_read
from mmsupervisor.policy.sequential import read_sequential_blob, write_sequential_blob
from mmsupervisor.policy.tool_decode import tool_refusal

LEAVES = [PageLeaf(0x1000 * number, 0x1000, bool(number % 3), False) for number in (1, 2, 3, 5)]


def seeds() -> list[bytes]:
    """Sound blobs to bend."""
    policy = default_policy()
    legacy_roots = [root for root in policy.roots if root.entries and root.type != 5]
    return [
        write_blob(policy),
        write_blob(assemble(())),
        write_legacy_blob(assemble_legacy(legacy_roots)),
        write_sequential_blob(legacy_roots),
    ]


def write_as_sequential(policy: LegacyPolicy) -> bytes:
    """Write what was read as a version 1 blob."""
    return write_sequential_blob(policy.meant_roots())


def answer(ask, *args):
    """A value, or the text of a named error; any other exception is a finding."""
    try:
        return ask(*args)
    except MmSupervisorError as error:
        return str(error)


def target(data: bytes) -> None:
    """Every reader, and everything that can be done with a policy."""
    # What is asked of a policy is chosen at random, but by the input: a finding must come again.
    random = Random(zlib.crc32(data))
    answer(tool_refusal, data)
    for read, write in (
        (read_blob, write_blob),
        (read_legacy_blob, write_legacy_blob),
        (read_sequential_blob, write_as_sequential),
    ):
        try:
            policy = read(data)
        except FormatError:
            continue
        assert write(policy) == data, "the round trip lost something"
    try:
        policy = read_blob_as_runtime(data)
    except FormatError:
        return
    assert write_blob(policy) == data, "the round trip lost something"
    lint(policy)
    answer(security_policy_check, policy)
    answer(lambda: list(dump_policy(policy)))
    answer(fetch_policy, data, data, random.randrange(0x1000), LEAVES, lambda _address, _length: False)
    compiled = CompiledPolicy(policy)
    for _ in range(20):
        port, width, mask = (
            random.choice((random.randrange(0x10002), 0xCF8 + random.randrange(8))),
            random.randrange(4),
            random.randrange(8),
        )
        assert answer(compiled.io, port, width, mask) == answer(decide_io, policy, port, width, mask)
        msr = random.choice((random.getrandbits(32), 0xC000_0080 + random.randrange(8)))
        assert answer(compiled.msr, msr, mask) == answer(decide_msr, policy, msr, mask)
        assert answer(compiled.instruction, width) == answer(decide_instruction, policy, width)
        io = random.choice((IoTrap(random.randrange(9), width), Status.NOT_FOUND))
        request = (random.choice((38, 39, 512, 514)), random.randrange(30), io)
        assert answer(compiled.save_state, *request) == answer(decide_save_state_read, policy, *request)


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
