"""What the tests of ``run``, ``boot`` and ``send`` share: drivers as files, messages, runs in this process."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from mmsupervisor.cli.main import main
from mmsupervisor.platform.sample import mm_volume, shipped

GUIDS = {name: str(guid) for name, guid in catalogue.guids().items()}
OFFENDER = GUIDS["gSampleOffenderHandlerGuid"]
ECHO = GUIDS["gSampleEchoHandlerGuid"]
STATUS = GUIDS["gSampleStatusHandlerGuid"]
ECHO_ME = struct.pack("<QIIQ", 0xFFFF_FFFF_FFFF_FFFF, 2, 0, 0) + b"drawer"


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        code: Its exit code.
        out: Standard output.
        err: Standard error.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as a JSON document."""
        return dict(json.loads(self.out))


def run(*words: str | Path) -> Done:
    """Run the command line in this process, with its output in pipes."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    return Done(result.exit_code, result.stdout, result.stderr)


def write_driver(folder: Path, name: str, file: str = "") -> Path:
    """Write a shipped driver to a file."""
    path = folder / (file or f"{name}.efi")
    path.write_bytes(prebuilt.image(name))
    return path


def write_image(folder: Path, *names: str) -> Path:
    """Write a firmware volume with shipped drivers."""
    path = folder / "image.fv"
    path.write_bytes(mm_volume([shipped(name) for name in names]))
    return path


def offence(case: str, *arguments: int, benign: bool = False) -> str:
    """The Offender's message for a case, as hexadecimal digits."""
    sample = catalogue.read_sample(catalogue.SAMPLES / "Offender" / "sample.toml")
    values = [*arguments, *[0] * (8 - len(arguments))]
    number = sample.case(case).number
    return struct.pack("<QIIQ8Q", 0xFFFF_FFFF_FFFF_FFFF, number, benign, 0, *values).hex()
