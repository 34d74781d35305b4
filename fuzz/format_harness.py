"""Runs a fuzz target over a format: under atheris where it is installed, else by bending seeds at random.

A target takes bytes and returns; :class:`~mmsupervisor.pi.errors.MmSupervisorError` is the only error it may raise.

Usage of each target: ``python fuzz/fuzz_pe.py [--seconds N] [--seed N]``, or with atheris' own options
``python fuzz/fuzz_pe.py --atheris [OPTIONS]``. The same seed gives the same inputs in the same order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from random import Random

from mmsupervisor.pi.errors import MmSupervisorError

Target = Callable[[bytes], None]

_NUMBERS = (0, 1, 2, 7, 8, 0x0F, 0x10, 0x20, 0x40, 0x7F, 0x80, 0xFF, 0x1000, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)
_HEADERS = 1024


class FuzzFindingError(Exception):
    """A target broke its promise; the text holds the input in hexadecimal."""


def bend(data: bytes, random: Random) -> bytes:
    """Change a copy: fields of 1 to 8 bytes set to telling numbers, bytes flipped, parts cut, doubled or moved."""
    out = bytearray(data)
    for _ in range(random.randrange(1, 8)):
        if not out:
            break
        # Headers decide most, and a large file is mostly contents.
        at = random.randrange(min(len(out), _HEADERS) if random.randrange(4) else len(out))
        match random.randrange(6):
            case 0:
                out[at] ^= 1 << random.randrange(8)
            case 1 | 2:
                size = random.choice((1, 2, 4, 8))
                out[at : at + size] = random.choice(_NUMBERS).to_bytes(8, "little")[:size]
            case 3:
                del out[at : at + random.randrange(64)]
            case 4:
                out[at:at] = out[at : at + random.randrange(64)]
            case 5:
                if random.randrange(4) == 0:
                    del out[at:]
    return bytes(out)


def inputs(seeds: list[bytes], random: Random) -> Iterator[bytes]:
    """The seeds themselves, then bent ones and now and then plain noise, without end."""
    yield from seeds
    while True:
        if random.randrange(20) == 0:
            yield random.randbytes(random.randrange(256))
        else:
            yield bend(random.choice(seeds), random)


def try_one(target: Target, data: bytes) -> None:
    """Run the target once.

    Raises:
        FuzzFindingError: it raised anything but a named error.
    """
    try:
        target(data)
    except MmSupervisorError:
        return
    except Exception as error:
        raise FuzzFindingError(f"{type(error).__name__}: {error}\n{data.hex()}") from error


def run(target: Target, seeds: list[bytes], seconds: float, seed: int = 0, most: int | None = None) -> int:
    """Run the target until the time is up or ``most`` inputs were tried.

    Returns:
        Number of inputs tried.

    Raises:
        FuzzFindingError: the target broke its promise.
    """
    until = time.monotonic() + seconds
    count = 0
    for data in inputs(seeds, Random(seed)):
        if time.monotonic() >= until or count == most:
            break
        try_one(target, data)
        count += 1
    return count


def main(target: Target, seeds: list[bytes]) -> int:
    """The command line of a target."""
    if "--atheris" in sys.argv:
        return _run_atheris(target)
    parser = argparse.ArgumentParser(description="Fuzz one format of mmsupervisor.pi")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        count = run(target, seeds, options.seconds, options.seed)
    except FuzzFindingError as finding:
        print(finding, file=sys.stderr)
        return 1
    print(f"{count} inputs, no surprise")
    return 0


def _run_atheris(target: Target) -> int:
    import atheris

    atheris.instrument_all()
    atheris.Setup([argument for argument in sys.argv if argument != "--atheris"], lambda data: try_one(target, data))
    atheris.Fuzz()
    return 0
