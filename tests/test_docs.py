"""The code in the documents runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("library.md", "devices.md")
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """All Python blocks of a page, each named by page and line."""
    text = (DOCS / page).read_text("utf-8")
    return [(f"{page}:{text.count(chr(10), 0, match.start()) + 2}", match.group(1)) for match in _BLOCK.finditer(text)]


BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("page", PAGES)
def test_each_page_has_blocks(page: str) -> None:
    assert len(blocks(page)) >= 3


@pytest.mark.parametrize(("place", "code"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_block_runs(place: str, code: str) -> None:
    exec(compile(code, place, "exec"), {"__name__": "__docs__"})
