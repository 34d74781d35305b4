"""The unsound shapes: each differs from the sound image in headers only, and is judged as its rule says."""

from __future__ import annotations

import pefile
import pytest

from firmware.samples import catalogue, shapes
from mmsupervisor import prebuilt
from mmsupervisor.pi.pe import PeImage, load_problems, parse_pe, plan_protection
from mmsupervisor.pi.reader import Reader

SOUND = prebuilt.image("ShapeSubject")
BY_NAME = {shape.name: shape for shape in shapes.SHAPES}
ALLOCATION = 0x7EEF_3000
CODE_IN = {"gFunctionInConstants": 0x52, "gFunctionInData": 0x44, "FunctionInText": 0x54}


def made(name: str) -> bytes:
    return shapes.make(BY_NAME[name], SOUND)


def parsed(image: bytes) -> PeImage:
    return parse_pe(Reader(image, "shape.efi"))


def executable(image: bytes) -> set[str]:
    """Names of the subject's three functions that could be run."""
    plan = plan_protection(parsed(image))
    rvas = {symbol.name: symbol.rva for symbol in prebuilt.symbols("ShapeSubject")}
    return {
        name
        for name in CODE_IN
        for span in plan.spans
        if span.is_executable and span.offset <= rvas[name] < span.offset + span.length
    }


def problems(image: bytes) -> set[str]:
    return {problem.status.efi_name for problem in load_problems(parsed(image), ALLOCATION)}


def test_the_three_functions_are_what_the_handler_expects() -> None:
    rvas = {symbol.name: symbol.rva for symbol in prebuilt.symbols("ShapeSubject")}
    for name, number in CODE_IN.items():
        assert SOUND[rvas[name] : rvas[name] + 6] == bytes([0xB8, number, 0, 0, 0, 0xC3])


def test_the_sound_image_loads_and_runs_its_text_only() -> None:
    assert problems(SOUND) == set()
    assert executable(SOUND) == {"FunctionInText"}


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.name)
def test_a_shape_differs_in_few_bytes_and_still_parses(shape: shapes.Shape) -> None:
    image = shapes.make(shape, SOUND)
    different = [at for at, (old, new) in enumerate(zip(SOUND, image, strict=True)) if old != new]
    assert 0 < len(different) <= 12
    pefile.PE(data=image)
    assert shapes.make(shape, SOUND) == image


@pytest.mark.parametrize("shape", shapes.SHAPES, ids=lambda shape: shape.name)
def test_the_loader_refuses_what_it_should(shape: shapes.Shape) -> None:
    refused = problems(shapes.make(shape, SOUND))
    if shape.outcome.startswith("started"):
        assert refused == set()
    else:
        assert refused
        status = shape.outcome.rpartition(": ")[2]
        assert not status.isupper() or {status} == {name.removeprefix("EFI_") for name in refused}


@pytest.mark.parametrize(
    ("name", "runnable"),
    [
        ("adjacent_code_sections", {"FunctionInText"}),
        ("separate_code_sections", {"FunctionInText", "gFunctionInData"}),
        ("writable_code_section", {"FunctionInText"}),
        ("executable_data_section", {"FunctionInText"}),
    ],
)
def test_what_can_be_run_in_the_shapes_that_load(name: str, runnable: set[str]) -> None:
    assert executable(made(name)) == runnable


def test_only_the_subject_is_taken() -> None:
    with pytest.raises(shapes.ShapeError, match="PE32"):
        shapes.make(shapes.SHAPES[0], b"MZ" + bytes(0x3A) + b"\x40\0\0\0" + bytes(64))
    with pytest.raises(shapes.ShapeError, match="no section"):
        shapes.Headers(SOUND).section(".nope")


def test_readme_lists_every_shape() -> None:
    text = (catalogue.SAMPLES / "README.md").read_text("utf-8")
    listed = [line for line in text.splitlines() if line.startswith("| `") and ".md section" in line]
    assert listed == [
        f"| `{shape.name}` | {shape.change.__doc__} | {shape.outcome} | {shape.rule} |" for shape in shapes.SHAPES
    ]
