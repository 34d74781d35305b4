"""The Offender's cases: each has its number in C, its label in the map, and the offending instruction at the label."""

from __future__ import annotations

import re

import pytest

from firmware.samples import catalogue
from mmsupervisor import prebuilt

OFFENDER = catalogue.read_sample(catalogue.SAMPLES / "Offender" / "sample.toml")
RVAS = {symbol.name: symbol.rva for symbol in prebuilt.symbols("Offender")}
CALLS = [case for case in OFFENDER.cases if case.stop == "call"]
SYSCALL = bytes.fromhex("0f05")

# Encodings by the label's case name, from the processor manuals, not from the source.
INSTRUCTIONS = {
    "In": "ec",
    "Out": "ee",
    "InString": "6c",
    "OutString": "6e",
    "ReadMsr": "0f32",
    "WriteMsr": "0f30",
    "Cli": "fa",
    "Sti": "fb",
    "Hlt": "f4",
    "Wbinvd": "0f09",
    "Invd": "0f08",
    "ReadCr0": "0f20c0",
    "WriteCr3": "0f22d9",
    "ReadDr7": "0f21f8",
    "LoadGdt": "0f0111",
    "LoadIdt": "0f0119",
    "LoadTask": "0f00d9",
    "StoreGdt": "0f0101",
    "InvalidatePage": "0f0139",
    "ClearTaskSwitched": "0f06",
    "SwapGs": "0f01f8",
    "SysReturn": "480f07",
    "ReadCounter": "0f33",
    "ReadXcr0": "0f01d0",
    "ReadFsBase": "f3480faec0",
    "Avx": "c5f877",
    "Breakpoint": "cc",
    "Interrupt80": "cd80",
    "Undefined": "0f0b",
    "Divide": "48f7f1",
    "UnalignedSse": "0f2801",
    "JumpNonCanonical": "ffe1",
    "FarCall": "ff1c24",
    "FarReturn": "48cb",
    "InterruptReturn": "48cf",
    "Read": "488b01",
    "Write": "488911",
    "Execute": "ffd1",
    "Push": "50",
    "Recurse": "e8",
    "Loop": "f390",
}


def bytes_at(label: str, count: int) -> bytes:
    return prebuilt.image("Offender")[RVAS[label] : RVAS[label] + count]


def test_numbers_are_those_of_the_source() -> None:
    header = (OFFENDER.folder / "cases.h").read_text("utf-8")
    declared = {name: int(number, 16) for number, name in re.findall(r"X\((0x[0-9A-F]+), (\w+)\)", header)}
    assert declared == {case.name: case.number for case in OFFENDER.cases if case.number}


def test_every_label_of_the_image_is_looked_at_here() -> None:
    labels = {name.removeprefix("At") for name in RVAS if name.startswith("At")}
    assert labels == {*INSTRUCTIONS, *(case.name for case in CALLS)}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_offending_instruction_is_at_its_label(name: str) -> None:
    expected = bytes.fromhex(INSTRUCTIONS[name])
    assert bytes_at(f"At{name}", len(expected)) == expected


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name)
def test_each_call_has_a_system_call_of_its_own(case: catalogue.Case) -> None:
    assert case.at == f"At{case.name}"
    assert bytes_at(case.at, 2) == SYSCALL


def test_no_two_cases_share_a_system_call() -> None:
    assert len({RVAS[f"At{case.name}"] for case in CALLS}) == len(CALLS)


def test_each_case_stops_somewhere_and_has_a_twin() -> None:
    for case in OFFENDER.cases:
        if case.number:
            assert case.stop in {"fault", "call", "budget"}, case.name
            assert case.twin, case.name
            assert case.stop == "budget" or case.at, case.name
            assert case.stop != "fault" or (case.vector == 14) == (case.access is not None), case.name
