"""The page audit as one page of HTML that needs nothing else: no network, no other file, and no script to be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from mmsupervisor.audit.page_checks import CheckResult, PageAudit
from mmsupervisor.audit.page_drawing import LEGEND, all_bars, colour_class, drawing
from mmsupervisor.audit.page_map import Row
from mmsupervisor.session import Session

_OPEN_AT_FIRST = 50
"""Findings of a check that are shown without being asked for."""

_STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { text-align: right; } td.a { font-family: ui-monospace, monospace; white-space: nowrap; }
.passed { color: #2a7d2a; } .failed { color: #c02020; font-weight: 600; }
figure { margin: .8rem 0; } figcaption, .scale { font-size: .82rem; } .scale { opacity: .75; }
svg.map { display: block; width: 100%; height: 2.6rem; border: 1px solid var(--line); }
.nothing { fill: #8882; } .flag { fill: #e00000; }
.uw { fill: #4e9bd8; background: #4e9bd8; } .ur { fill: #a8d1f0; background: #a8d1f0; }
.ux { fill: #1c5f99; background: #1c5f99; } .sw { fill: #e0a030; background: #e0a030; }
.sr { fill: #f2d492; background: #f2d492; } .sx { fill: #9a6410; background: #9a6410; }
.free { fill: #f7ecd2; background: #f7ecd2; }
.guard { fill: #222; background: #222; } .ubad, .sbad { fill: #ff2020; background: #ff2020; }
.key { display: inline-block; width: .9rem; height: .9rem; margin: 0 .35rem 0 0; vertical-align: -.1rem; }
.legend span.item { margin-right: 1.1rem; white-space: nowrap; }
#filter { width: 24rem; max-width: 100%; padding: .3rem; margin: .4rem 0; }
tr.hidden { display: none; }
"""

_SCRIPT = """
const box = document.getElementById('filter');
const rows = Array.from(document.querySelectorAll('#pages tbody tr'));
function show() {
  const wanted = box.value.toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = row.textContent.toLowerCase().includes(wanted);
    row.classList.toggle('hidden', !fits);
    shown += fits;
  }
  document.getElementById('shown').textContent = shown.toLocaleString('en') + ' shown';
}
box.hidden = false;
box.value = decodeURIComponent(location.hash.slice(1));
box.addEventListener('input', show);
show();
"""


def page_report(session: Session, audit: PageAudit) -> str:
    """Write the page."""
    name = escape(session.firmware.name)
    phase = session.phase.value if session.phase else "none"
    facts = (
        ("platform", session.description.name),
        ("profile", session.description.profile.name),
        ("phase", phase),
        ("map", f"{len(audit.rows):,} rows, {sum(row.pages for row in audit.rows):,} pages"),
    )
    flagged = [
        (issue.start, issue.end)
        for result in audit.results
        for issue in result.issues
        if issue.start is not None and issue.end is not None
    ]
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Page audit: {name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Page audit: {name}</h1>",
        _verdict(audit),
        "<p>" + "; ".join(f"{what}: {escape(value)}" for what, value in facts) + "</p>",
        "<h2>Memory map</h2>",
        _legend(),
        *(drawing(title, bar, flagged) for title, bar in all_bars(audit.rows)),
        "<h2>Checks</h2>",
        *_checks(audit.results),
        "<h2>Pages</h2>",
        '<p><input id="filter" type="search" placeholder="show rows with..." hidden> <span id="shown"></span></p>',
        *_pages(audit.rows),
        f"<script>{_SCRIPT}</script></body></html>\n",
    ]
    return "\n".join(parts)


def _verdict(audit: PageAudit) -> str:
    count = sum(len(result.issues) for result in audit.results)
    if not audit.failed:
        return f'<p class="passed" id="verdict">All {len(audit.results)} checks hold.</p>'
    return f'<p class="failed" id="verdict">{audit.failed} of {len(audit.results)} checks fail, {_findings(count)}.</p>'


def _findings(count: int) -> str:
    return f"{count:,} finding{'s' if count != 1 else ''}"


def _legend() -> str:
    items = "".join(f'<span class="item"><span class="key {key}"></span>{escape(text)}</span>' for key, text in LEGEND)
    flag = '<span class="item"><span class="key" style="background:#e00000;height:.35rem"></span>a finding</span>'
    return f'<p class="legend">{items}{flag}</p>'


def _checks(results: Iterable[CheckResult]) -> Iterator[str]:
    yield '<table id="checks"><thead><tr><th>Check</th><th>What must hold</th><th>Result</th></tr></thead><tbody>'
    for result in results:
        check = result.check
        passed = not result.issues
        outcome = "holds" if passed else _findings(len(result.issues))
        what = f'{escape(check.title)}<br><span class="scale">{escape(check.meaning)}</span>'
        style = "passed" if passed else "failed"
        yield f'<tr><td>{check.number}</td><td>{what}</td><td class="{style}">{outcome}</td></tr>'
    yield "</tbody></table>"
    for result in results:
        if result.issues:
            yield from _issues(result)


def _issues(result: CheckResult) -> Iterator[str]:
    is_open = " open" if len(result.issues) <= _OPEN_AT_FIRST else ""
    yield f"<details{is_open}><summary>{result.check.number}, {escape(result.check.title)}: "
    yield f"{_findings(len(result.issues))}</summary>"
    yield '<table class="issues"><tbody>'
    for issue in result.issues:
        where = "" if issue.start is None or issue.end is None else f"{issue.start:#x} to {issue.end:#x}"
        yield f'<tr><td class="a">{where}</td><td>{escape(issue.text)}</td></tr>'
    yield "</tbody></table></details>"


def _pages(rows: Iterable[Row]) -> Iterator[str]:
    titles = ("Start", "End", "Pages", "Access", "Memory type", "Kind", "Contents", "Use")
    yield '<table id="pages"><thead><tr>' + "".join(f"<th>{title}</th>" for title in titles) + "</tr></thead><tbody>"
    for row in rows:
        key = f'<span class="key {colour_class(row)}"></span>'
        yield (
            f'<tr><td class="a">{row.start:#x}</td><td class="a">{row.end:#x}</td><td class="n">{row.pages:,}</td>'
            f"<td>{key}{row.access}</td>{_cell(row.memory_types)}{_cell(row.system)}{_cell(row.contents)}"
            f"<td>{escape(row.use)}</td></tr>"
        )
    yield "</tbody></table>"


def _cell(names: Iterable[str]) -> str:
    return f"<td>{escape(', '.join(names))}</td>"
