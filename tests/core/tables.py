"""What the tables of tests share: a place is a test's file and name, and it is there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
REFERENCE = CHECKOUT / "docs" / "reference"


def missing(places: Iterable[str]) -> list[str]:
    """Places that name no test, or one whose file is not there."""
    return [place for place in places if not _exists(place)]


def _exists(place: str) -> bool:
    file, name = place.split("::")
    path = CHECKOUT / file
    return path.exists() and bool(re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE))


def sheet_section(sheet: str, heading: str) -> str:
    """The text of a fact sheet from a heading to the next of its level."""
    text = (REFERENCE / f"{sheet}.md").read_text(encoding="utf-8")
    level = heading.split(" ", maxsplit=1)[0]
    return text.split(f"\n{heading}")[1].split(f"\n{level} ")[0]
