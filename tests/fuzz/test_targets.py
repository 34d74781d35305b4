"""The fuzz targets: they take their seeds, a short run finds nothing, a planted fault is found, no parser lacks one."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from fuzz import fuzz_depex, fuzz_hob
from fuzz.format_harness import FuzzFindingError, run, try_one

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = CHECKOUT / "src" / "mmsupervisor"
# Those that execute code have tests of their own, beside the processor's.
OF_PROCESSORS = {"fuzz_decoder"}
TARGETS = sorted({path.stem for path in (CHECKOUT / "fuzz").glob("fuzz_*.py")} - OF_PROCESSORS)
INPUTS = 150

PARSER_WORDS = ("classify", "decode", "decompress", "find", "parse", "read", "tool")
NO_PARSERS = {
    "pi/container/input_file.py:read_input_file": "reads a file, within a bound, and hands on its bytes",
    "pi/container/read_image.py:read_image_file": "opens a file and hands it to read_image",
    "pi/supervisor_hobs.py:HobBody.parse": "what the bodies have in common",
    "policy/load.py:read_input": "opens a file, within a bound, and hands on its bytes",
    "pi/depex/evaluation.py:read_by_specification": "evaluates what parse_depex read",
}


@pytest.fixture(params=TARGETS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"fuzz.{request.param}")


def test_seeds_are_sound(module: ModuleType) -> None:
    assert module.seeds()
    for seed in module.seeds():
        module.target(seed)


def test_a_short_run_finds_nothing(module: ModuleType) -> None:
    assert run(module.target, module.seeds(), seconds=60, seed=1, most=INPUTS) > len(module.seeds())


def test_a_planted_fault_is_found(module: ModuleType) -> None:
    def careless(data: bytes) -> None:
        module.target(data)
        if sum(data) % 5 == 0:
            raise IndexError("planted")

    with pytest.raises(FuzzFindingError, match="IndexError: planted") as finding:
        run(careless, module.seeds(), seconds=60, seed=1)
    with pytest.raises(FuzzFindingError, match="planted"):
        try_one(careless, bytes.fromhex(str(finding.value).splitlines()[-1]))


def test_a_fault_in_a_parser_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsupervisor.pi.reader.Reader.error", lambda *_args: KeyError("no named error"))
    with pytest.raises(FuzzFindingError, match="KeyError"):
        run(fuzz_hob.target, fuzz_hob.seeds(), seconds=60, seed=1)


def test_an_input_that_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.format_harness.MOST_SECONDS", 0.01)

    def slow(_data: bytes) -> None:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    with pytest.raises(FuzzFindingError, match=r"took 0 seconds\n00ff"):
        try_one(slow, b"\x00\xff")


def test_a_target_runs_as_a_command() -> None:
    script = str(fuzz_depex.__file__)
    for arguments in (["--seconds", "0.2"], ["--input", fuzz_depex.seeds()[0].hex()]):
        done = subprocess.run(
            [sys.executable, script, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "no surprise" in done.stdout
    done = subprocess.run(
        [sys.executable, script, "--input", "0g"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "argument --input: not an even number of hexadecimal digits" in done.stderr


def parsers() -> Iterator[str]:
    """Every public function of the formats that reads what others wrote, as file and qualified name."""
    for package in ("pi", "policy"):
        for path in sorted((SOURCES / package).rglob("*.py")):
            name = path.relative_to(SOURCES).as_posix()
            for node in ast.parse(path.read_text("utf-8")).body:
                match node:
                    case ast.FunctionDef(name=function) if function.split("_")[0] in PARSER_WORDS:
                        yield f"{name}:{function}"
                    case ast.ClassDef(body=body):
                        for method in body:
                            if isinstance(method, ast.FunctionDef) and method.name in ("parse", "from_body"):
                                yield f"{name}:{node.name}.{method.name}"


def called_by_seeds(names: list[str]) -> set[str]:
    """What targets call in the package when they are given their seeds."""
    codes = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    for name in names:
        module = importlib.import_module(f"fuzz.{name}")
        seeds = module.seeds()
        sys.setprofile(note)
        try:
            for seed in seeds:
                module.target(seed)
        finally:
            sys.setprofile(None)
    inside = [code for code in codes if Path(code.co_filename).is_relative_to(SOURCES)]
    return {f"{Path(code.co_filename).relative_to(SOURCES).as_posix()}:{code.co_qualname}" for code in inside}


def test_every_parser_is_called_by_a_target() -> None:
    known = set(parsers()) - NO_PARSERS.keys()
    assert len(known) > 40
    assert known - called_by_seeds(TARGETS) == set()
    # And the check would see one that is not.
    assert known - called_by_seeds([name for name in TARGETS if name != "fuzz_policy"])


def test_what_is_said_to_be_no_parser_exists() -> None:
    assert NO_PARSERS.keys() <= set(parsers())
