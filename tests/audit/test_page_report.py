"""The page of the page audit: whole, readable without anything else, true to scale; and the same as data."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from mmsupervisor.audit.page_checks import CHECKS, PageAudit, audit_pages
from mmsupervisor.audit.page_document import PAGE_AUDIT_SCHEMA, page_document
from mmsupervisor.audit.page_drawing import WIDTH, all_bars, bars, colour_class
from mmsupervisor.audit.page_map import Leaf, PageMap, read_page_map, rows_of
from mmsupervisor.audit.page_report import page_report
from mmsupervisor.cli import session_audit
from mmsupervisor.cli.exit_codes import ExitCode
from mmsupervisor.cli.main import main
from mmsupervisor.machine.memory import PAGE_SIZE, Attribute
from mmsupervisor.session import Session, boot

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "input", "br", "rect"}


class Page(HTMLParser):
    """Reads a page and complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: Counter[str] = Counter()
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        self.attributes += attrs
        if tag not in VOID or (tag == "rect" and not (self.get_starttag_text() or "").endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def with_findings(page_map: PageMap, count: int) -> PageMap:
    """Plant leaves that are writable and executable outside MMRAM: four checks each."""
    planted = tuple(
        Leaf(start, start + PAGE_SIZE, Attribute.NONE, f"<script>alert({n})</script> & more")
        for n in range(count)
        for start in (0x8000_0000 + 2 * n * PAGE_SIZE,)
    )
    return replace(page_map, leaves=(*page_map.leaves, *planted))


def report_of(session: Session, count: int = 0) -> tuple[PageAudit, str]:
    audit = audit_pages(with_findings(read_page_map(session), count))
    return audit, page_report(session, audit)


def test_the_page_needs_nothing_else() -> None:
    with boot() as session:
        _, text = report_of(session)
    page = Page(text)
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "srcset", "action", "data", "onclick"}
    assert not re.search(r"https?://|//[a-z]|url\(|@import|fetch\(|XMLHttp", text)
    assert page.count["script"] == page.count["style"] == 1
    assert "All 20 checks hold." in text
    assert len(CHECKS) == 20


def test_all_that_is_mapped_is_drawn_and_listed() -> None:
    with boot() as session:
        audit, text = report_of(session)
        drawn = sum(len(bar.rows) for _, bar in all_bars(audit.rows))
        page = Page(text)
        assert page.count["svg"] == len(list(all_bars(audit.rows)))
        assert page.count["rect"] == drawn + page.count["svg"]
        assert text.count('<td class="n">') == len(audit.rows)
        for driver in session.drivers:
            assert f"image {driver.name}" in text


def test_the_page_is_good_for_500_findings() -> None:
    with boot() as session:
        audit, text = report_of(session, 125)
        page = Page(text)
    assert sum(len(result.issues) for result in audit.results) == 500
    assert "4 of 20 checks fail, 500 findings." in text
    assert page.count["details"] == 4
    assert text.count("<details open>") == 0
    assert text.count("writable and executable: user RWX") == 125
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(124)&lt;/script&gt; &amp; more" in text
    assert len(text) < 1 << 20


def test_few_findings_are_shown_at_once() -> None:
    with boot() as session:
        _, text = report_of(session, 1)
    assert text.count("<details open>") == 4


def test_bars_are_to_scale() -> None:
    with boot() as session:
        rows = rows_of(read_page_map(session))
    for bar in bars(rows):
        assert bar.position(bar.start) == 0
        assert bar.position(bar.end) == WIDTH
        for row in bar.rows:
            width = bar.position(row.end) - bar.position(row.start)
            assert width == pytest.approx((row.end - row.start) / bar.size * WIDTH)
    assert [row for bar in bars(rows) for row in bar.rows] == list(rows)
    assert {colour_class(row) for row in rows} >= {"uw", "ur", "ux", "sw", "sr", "sx", "free", "guard"}


def test_an_unclosed_tag_is_noticed() -> None:
    with boot() as session:
        _, text = report_of(session)
    with pytest.raises(AssertionError):
        Page(text.replace("</td>", "", 1))


def test_the_document_is_as_its_schema_says() -> None:
    schema = json.loads((ROOT / "docs/schemas/page-audit.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    with boot() as session:
        for count in (0, 3):
            audit, _ = report_of(session, count)
            document = json.loads(json.dumps(page_document(session, audit)))
            jsonschema.validate(document, schema)
            assert document["schema"] == PAGE_AUDIT_SCHEMA
            assert document["failed"] == audit.failed
            assert len(document["rows"]) == len(audit.rows)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "rows": [{}]}, schema)


# From the command line


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_boot_writes_both(tmp_path: Path) -> None:
    html, data = tmp_path / "report.html", tmp_path / "report.json"
    code, _, errors = run("boot", "--page-audit", str(html), "--page-audit", str(data))
    assert (code, errors) == (0, "")
    Page(html.read_text("utf-8"))
    assert json.loads(data.read_text("utf-8"))["failed"] == 0


def test_the_trace_is_the_same_with_it(tmp_path: Path) -> None:
    plain, audited = tmp_path / "plain.jsonl", tmp_path / "audited.jsonl"
    assert run("boot", "--trace", str(plain))[0] == 0
    assert run("boot", "--trace", str(audited), "--page-audit", str(tmp_path / "r.html"), "--audit-handlers")[0] == 0
    assert plain.read_bytes() == audited.read_bytes()


def test_a_failed_check_is_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_audit, "read_page_map", lambda session: with_findings(read_page_map(session), 1))
    code, _, errors = run("boot", "--page-audit", str(tmp_path / "r.html"))
    assert code == ExitCode.NOT_MET
    assert errors == "page audit: 4 of 20 checks fail: H1, H4, S5, S6\n"


def test_a_run_that_failed_is_audited_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own exit code stays; the file that was asked for is there, and says what it has to say."""
    monkeypatch.setattr(session_audit, "read_page_map", lambda session: with_findings(read_page_map(session), 1))
    page = tmp_path / "r.html"
    nobody = "12345678-90AB-CDEF-1234-567890ABCDEF"
    code, report, errors = run("boot", "--page-audit", str(page), "--audit-handlers", "--send", nobody, "00")
    assert code == ExitCode.NOT_HANDLED
    assert "Audit of handlers\n  Nothing was found.\n" in report
    assert "checks fail" in errors
    Page(page.read_text("utf-8"))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert run("boot", "--page-audit", str(tmp_path / "r.txt"))[0] == ExitCode.USAGE
    assert run("boot", "--page-audit", str(tmp_path / "missing" / "r.html"))[0] == ExitCode.UNREADABLE
