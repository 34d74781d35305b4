"""Throw bent policy blobs at everything in ``mmsupervisor.policy`` for a while.

Usage: ``python fuzz/fuzz_policy.py [--seconds N] [--seed N]``. Ends with exit code 1 at the first surprise and prints
the input in hexadecimal. The same seed gives the same inputs in the same order.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from random import Random

from mmsupervisor.pi.errors import FormatError, MmSupervisorError
from mmsupervisor.pi.status import Status
from mmsupervisor.policy.blob import assemble, read_blob, read_blob_as_runtime, write_blob
from mmsupervisor.policy.check import security_policy_check
from mmsupervisor.policy.compiled import CompiledPolicy
from mmsupervisor.policy.decide import decide_instruction, decide_io, decide_msr
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.dump import dump_policy
from mmsupervisor.policy.legacy import assemble_legacy, read_legacy_blob, write_legacy_blob
from mmsupervisor.policy.lint import lint
from mmsupervisor.policy.memory_policy import PageLeaf, fetch_policy
from mmsupervisor.policy.save_state import IoTrap, decide_save_state_read

LEAVES = [PageLeaf(0x1000 * number, 0x1000, bool(number % 3), False) for number in (1, 2, 3, 5)]


def seeds() -> list[bytes]:
    """Sound blobs to bend."""
    policy = default_policy()
    legacy_roots = [root for root in policy.roots if root.entries and root.type != 5]
    return [write_blob(policy), write_blob(assemble(())), write_legacy_blob(assemble_legacy(legacy_roots))]


def bend(blob: bytes, random: Random) -> bytes:
    """Overwrite a few fields, swap, cut or append."""
    out = bytearray(blob)
    for _ in range(random.randrange(8)):
        if len(out) < 8:
            break
        at = random.randrange(0, len(out) - 4, random.choice((1, 2, 4)))
        value = random.choice(
            (random.randrange(0x180), random.randrange(8), random.getrandbits(32), 0xFFFF_FFFF, 0xFFFF, len(out))
        )
        struct.pack_into("<I", out, at, value)
    match random.randrange(6):
        case 0:
            del out[random.randrange(len(out) + 1) :]
        case 1:
            out += random.randbytes(random.randrange(64))
        case 2:
            at = random.randrange(len(out) + 1)
            out[at:at] = out[at : at + 24]
    return bytes(out)


def answer(ask, *args):
    """A value, or the text of a named error; any other exception is a finding."""
    try:
        return ask(*args)
    except MmSupervisorError as error:
        return str(error)


def try_one(data: bytes, random: Random) -> None:
    """Every reader, and everything that can be done with a policy; raises on a surprise."""
    for read, write in ((read_blob, write_blob), (read_legacy_blob, write_legacy_blob)):
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


def main() -> int:
    """Run until the time is up."""
    parser = argparse.ArgumentParser(description="Fuzz mmsupervisor.policy")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = Random(options.seed)
    blobs = seeds()
    until = time.monotonic() + options.seconds
    count = 0
    while time.monotonic() < until:
        data = bend(random.choice(blobs), random) if random.random() < 0.95 else random.randbytes(random.randrange(200))
        try:
            try_one(data, random)
        except Exception as error:
            print(f"seed {options.seed}, input {count}: {type(error).__name__}: {error}\n{data.hex()}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} inputs, no surprise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
