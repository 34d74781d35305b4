"""docs/audits.md names every check and every kind of finding, by the same words as the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmsupervisor.abi.findings_audit import AUDIT_KINDS
from mmsupervisor.audit.page_checks import CHECKS

TEXT = (Path(__file__).resolve().parents[2] / "docs/audits.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| (\w[\w-]*) \| ([^|]+?) \|", TEXT, re.MULTILINE))
WORDS = {check.number: check.title for check in CHECKS} | {kind.number: kind.title for kind in AUDIT_KINDS}


@pytest.mark.parametrize("number", WORDS)
def test_every_number_has_its_row(number: str) -> None:
    assert ROWS[number] == WORDS[number]


def test_no_row_is_of_nothing() -> None:
    assert {name for name in ROWS if re.fullmatch(r"[EHS]\d+|MM-\d+", name)} == set(WORDS)


def test_kinds_are_told_in_full() -> None:
    for kind in AUDIT_KINDS:
        assert kind.meaning.endswith(".")
        assert kind.mend.endswith(".")
