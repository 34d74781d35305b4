"""The code in the documents runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmsupervisor

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
def test_block_runs(place: str, code: str, tmp_path: Path) -> None:
    if "import pytest" not in code:
        exec(compile(code, place, "exec"), {"__name__": "__docs__"})
        return
    (tmp_path / "test_block.py").write_text(code, "utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert f"{code.count('def test_')} passed" in done.stdout, done.stdout


def test_the_face_of_the_package_is_whole() -> None:
    """What it names is there, is seen by ``dir``, and comes in when it is used and not before."""
    for name in mmsupervisor.__all__:
        assert getattr(mmsupervisor, name) is not None
        assert name in dir(mmsupervisor)
    with pytest.raises(AttributeError, match="no attribute 'Nobody'"):
        _ = mmsupervisor.Nobody
    program = "import sys, mmsupervisor; sys.exit(any(name.startswith('mmsupervisor.') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
