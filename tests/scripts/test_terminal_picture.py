"""The picture that the README begins with shows what the command prints."""

from __future__ import annotations

import html
import re

from scripts.terminal_picture import PICTURE, draw, output
from tests.support.observed import CODE
from tests.support.ovmf import Ovmf


def words(picture: str) -> list[str]:
    """The text of a picture, by rows."""
    matrix = picture.split("-matrix", 1)[1]
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", matrix)]


def test_the_picture_is_true(ovmf: Ovmf) -> None:
    fresh = words(draw(output(ovmf.path(CODE).parent)))
    shown = words(PICTURE.read_text(encoding="utf-8"))
    assert {row.split("\xa0")[0] for row in shown} >= {"PK", "KEK", "db", "dbx", "SecureBootEnable"}
    assert (fresh == shown) == bool(ovmf.known_release(CODE))


def test_the_picture_needs_nothing_from_the_net() -> None:
    assert re.findall(r"https?://[^\"']*", PICTURE.read_text(encoding="utf-8")) == ["http://www.w3.org/2000/svg"]
