"""Runs a fuzz target over a format: under atheris where that is installed, else by bending seeds at random.

A target takes bytes and returns; :class:`~mmsupervisor.pi.errors.MmSupervisorError` is the only error it may raise,
and it may not take longer than :data:`MOST_SECONDS`. A module ``fuzz_NAME.py`` has ``target``, ``seeds()``, which are
sound inputs, and ends with ``sys.exit(main(target, seeds()))``; see ``fuzz/README.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from mmsupervisor.pi.errors import MmSupervisorError

Target = Callable[[bytes], None]

MOST_SECONDS = 20.0
"""Processor time that one input may take; all take milliseconds."""

_NUMBERS = (0, 1, 2, 7, 8, 0x0F, 0x10, 0x20, 0x40, 0x7F, 0x80, 0xFF, 0x1000, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF)
_ALL_ONES = (1 << 64) - 1
_HEADERS = 1024
_RECORDS = (8, 16, 20, 24, 40, 72, 512)


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
                size = random.choice((1, 2, 3, 4, 8))
                number = random.choice((*_NUMBERS, _ALL_ONES, len(out), random.getrandbits(8 * size)))
                out[at : at + size] = number.to_bytes(8, "little")[:size]
            case 3:
                del out[at : at + random.randrange(64)]
            case 4:
                out[at:at] = out[at : at + random.choice((random.randrange(64), *_RECORDS))]
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
        FuzzFindingError: it raised anything but a named error, or took too long.
    """
    started = time.process_time()
    try:
        target(data)
    except MmSupervisorError:
        pass
    except Exception as error:
        raise FuzzFindingError(f"{type(error).__name__}: {error}\n{data.hex()}") from error
    spent = time.process_time() - started
    if spent > MOST_SECONDS:
        raise FuzzFindingError(f"took {spent:.0f} seconds\n{data.hex()}")


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
        return _run_atheris(target, seeds)
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs (default: 0)")
    parser.add_argument("--atheris", action="store_true", help="let atheris find inputs; its options follow")
    parser.add_argument("--input", metavar="HEX", type=_hexadecimal, help="try this one input, as a finding prints it")
    options = parser.parse_args()
    try:
        if options.input is not None:
            try_one(target, options.input)
            count = 1
        else:
            count = run(target, seeds, options.seconds, options.seed)
    except FuzzFindingError as finding:
        print(finding, file=sys.stderr)
        return 1
    print(f"{count} inputs, no surprise")
    return 0


def _hexadecimal(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("not an even number of hexadecimal digits") from error


def _run_atheris(target: Target, seeds: list[bytes]) -> int:
    import atheris

    atheris.instrument_all()
    arguments = [argument for argument in sys.argv if argument != "--atheris"]
    with tempfile.TemporaryDirectory(prefix="seeds-") as folder:
        for number, seed in enumerate(seeds):
            Path(folder, str(number)).write_bytes(seed)
        # libFuzzer writes what it finds to the first folder; with none given, that is this one, which goes again.
        atheris.Setup([*arguments, folder], lambda data: try_one(target, data))
        atheris.Fuzz()
    return 0
