"""The pages made from declarations are the committed ones, and say all that is declared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsupervisor.abi.findings import FINDING_KINDS
from mmsupervisor.abi.system_calls import SYSTEM_CALLS, Support
from mmsupervisor.pi.status import status_name
from scripts import generate_docs


@pytest.mark.parametrize("name", generate_docs.PAGES)
def test_committed_page_is_current(name: str) -> None:
    assert (generate_docs.DOCS / name).read_text("utf-8") == generate_docs.PAGES[name](), (
        "run scripts/generate_docs.py and commit what it writes"
    )


def test_every_call_is_there_with_everything_declared() -> None:
    page = generate_docs.system_calls_page()
    for number, call in SYSTEM_CALLS.items():
        part = page.partition(f"### {number:#x} {call.name}\n")[2].partition("\n### ")[0]
        assert call.purpose[1:] in part
        if call.support is not Support.SERVED:
            assert "Not served" in part
            continue
        assert all(argument.name in part for argument in call.arguments)
        assert part.count("| Checked |") == len(call.checks)
        assert part.count("| Fails |") == len(call.failures)
        assert all(f"{status_name(status)}: {cause}" in part for status, cause in call.failures)
        assert ("not fatal" in part) == call.returns_errors


def test_every_finding_is_there_once() -> None:
    index = generate_docs.findings_page()
    for number, kind in FINDING_KINDS.items():
        assert index.count(f"| [{number}](findings/{number}.md) | {kind.title} | {kind.meaning} | {kind.mend} |") == 1
        page = generate_docs.PAGES[kind.page]()
        for text in (kind.title, kind.meaning, kind.text, kind.mend):
            assert text
            assert text in page
        for example in (kind.wrong, kind.right):
            assert example
            assert all(line.strip() in page for line in example.split("\n"))


def test_no_page_is_of_a_finding_that_is_no_more() -> None:
    there = {path.relative_to(generate_docs.DOCS).as_posix() for path in (generate_docs.DOCS / "findings").iterdir()}
    assert there == {kind.page for kind in FINDING_KINDS.values()}


def test_check_finds_a_stale_page_and_writing_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path)
    (tmp_path / "schemas").mkdir()
    (tmp_path / "findings.md").write_text("old\n")
    assert generate_docs.main(["--check"]) == 1
    assert "docs/findings.md is not current" in capsys.readouterr().out
    assert generate_docs.main([]) == 0
    assert generate_docs.main(["--check"]) == 0
