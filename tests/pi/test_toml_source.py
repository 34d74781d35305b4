"""TOML with lines: every key is found where it stands, and nothing but the project's own errors comes out."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsupervisor.pi.errors import LimitError, SourceError
from mmsupervisor.pi.limits import Allowance, Limits
from mmsupervisor.pi.toml_source import TomlDocument, read_toml

TRICKY = '''# [not.a.table]
a = 1
b."c d".'e#f' = "x # not a comment [[ ]]"   # comment
multi = """
[[fake]]
k = 1
\\"""
""""
raw = \'\'\'
it\'s [x]
\'\'\'
list = [ 1, # ] one
  "]", [
    2, 3 ],
  { x = 1, y = [ { z = 2 } ] },
]
when = 2026-08-01 10:00:00Z
day = 2026-08-01
on = true

[[root]]
type = "IO"
  [[root.rule]]
  port = 0x10
  [[root.rule]]
  port = 0x20

  [root.rule.note]
  text = "deep"

[[root]]
[[root.rule]]
"\\u0070ort" = 3
[last]
empty = ""
inline = {}
'''

LINES = {
    ("a",): 2,
    ("b", "c d", "e#f"): 3,
    ("multi",): 4,
    ("raw",): 9,
    ("list",): 12,
    ("list", 1): 13,
    ("list", 2): 13,
    ("list", 2, 1): 14,
    ("list", 3): 15,
    ("list", 3, "y", 0, "z"): 15,
    ("when",): 17,
    ("day",): 18,
    ("on",): 19,
    ("root", 0): 21,
    ("root", 0, "type"): 22,
    ("root", 0, "rule", 1): 25,
    ("root", 0, "rule", 1, "port"): 26,
    ("root", 0, "rule", 1, "note", "text"): 29,
    ("root", 1): 31,
    ("root", 1, "rule", 0, "port"): 33,
    ("last", "inline"): 36,
}


def read(text: str) -> TomlDocument:
    return read_toml(text.encode(), "x.toml")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lines_of_a_tricky_file(line_end: str) -> None:
    document = read(TRICKY.replace("\n", line_end))
    assert document.data["root"][1]["rule"][0]["port"] == 3
    assert document.data["day"] == datetime.date(2026, 8, 1)
    assert {path: document.lines[path] for path in LINES} == LINES
    assert document.line("root", 0, "rule", 0, "missing", 7) == 23
    assert document.line("nothing") == 1


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
VALUES = st.recursive(
    st.one_of(st.integers(-9, 9), st.text(st.sampled_from("a\"'[]{}#,=\\ "), max_size=6), st.booleans()),
    lambda inner: st.lists(inner, max_size=3),
)


def written(value: object, comma: str = ",") -> str:
    if isinstance(value, list):
        return f"[{comma.join(written(item, comma) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(KEYS, VALUES, st.integers(0, 2)), max_size=8, unique_by=lambda item: item[0]))
def test_every_key_is_found(items: list[tuple[str, object, int]]) -> None:
    text, expected = "", {}
    for key, value, blank in items:
        text += "\n" * blank + "# ]\n" * (blank == 1)
        comma = ",  " if blank else ",\n"
        expected[key] = text.count("\n") + 1
        text += f"{written(key)} = {written(value, comma)}\n"
    document = read(text)
    assert {path[0]: line for path, line in document.lines.items() if len(path) == 1} == expected
    assert document.data == {key: value for key, value, _ in items}


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(st.sampled_from("a=[]{}\"'#,.\n 1\\"), max_size=40).map(str.encode)))
def test_any_bytes_are_a_document_or_a_source_error(data: bytes) -> None:
    try:
        document = read_toml(data, "x.toml")
    except SourceError as error:
        caught = error
    else:
        caught = None
    if caught:
        assert caught.file == "x.toml"
        assert "\n" not in str(caught)
    else:
        assert {path[0] for path in document.lines} == set(document.data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = \n", "x.toml:2: not TOML: invalid value"),
        (b"a = [1,\n", "x.toml: not TOML: invalid value at the end of the file"),
        (b"a = 1\na = 2\n", "x.toml:2: not TOML: cannot overwrite a value"),
        (b"a = 1\n\xff", "x.toml:2: not UTF-8"),
    ],
)
def test_errors_have_their_line(data: bytes, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_toml(data, "x.toml")
    assert str(caught.value) == message


def test_bounds() -> None:
    with pytest.raises(LimitError, match="more than 2 items"):
        read_toml(b"a=1\nb=2\nc=3\n", "x.toml", Allowance(Limits(items=2)))
    with pytest.raises(LimitError, match="larger"):
        read_toml(b"a=1\n", "x.toml", Allowance(Limits(input_bytes=2)))
    with pytest.raises(LimitError, match="nested too deeply"):
        read_toml(b"a=" + b"[" * 5000 + b"]" * 5000, "x.toml")


def test_tables_are_read_strictly() -> None:
    table = read("n = 5\nflag = true\nword = 'w'\n[sub]\nx = 1\n[[many]]\n[[many]]\ny = 2\n").table()
    assert table.need_number("n", 9) == 5
    assert table.take("gone", str, "a word") is None
    assert "word" in table
    many = list(table.tables("many"))
    assert [one.line for one in many] == [6, 7]
    for broken, message in (
        (lambda: table.take_number("n", 4), "x.toml:1: `n` must be from 0 to 0x4"),
        (lambda: table.take_number("flag", 4), "x.toml:2: `flag` must be a number"),
        (lambda: table.need("gone", str, "a word"), "x.toml:1: `gone` is missing: a word"),
        (lambda: many[0].need_number("y", 4), "x.toml:6: `y` is missing: a number"),
        (lambda: list(table.tables("word")), "x.toml:3: `word` must be an array of tables"),
        (lambda: table.table("word"), "x.toml:3: `word` must be a table"),
        (many[1].finish, "x.toml:8: unknown key `y`"),
        (lambda: table.finish(("many",)), "x.toml:4: unknown key `sub`"),
    ):
        with pytest.raises(SourceError) as caught:
            broken()
        assert str(caught.value) == message
    sub = table.table("sub")
    assert sub is not None
    sub.finish(("x",))
    table.finish()
    with pytest.raises(SourceError, match="`a` must hold tables"):
        list(read("a = [1]").table().tables("a"))
