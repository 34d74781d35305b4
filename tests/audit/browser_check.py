"""Looks at the page of the page audit in a real browser: ``python -m tests.audit.browser_check``, or ``.ci/browser``.

It needs Chromium, which the other tests do not: so it is a job of its own. The page is loaded with no network at all,
sound and with 500 findings; what is looked at is what the browser made of it, script included. A page that is broken on
purpose must be noticed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from mmsupervisor.session import boot
from tests.audit.test_page_report import report_of

NAMES = ("chromium", "chromium-browser", "google-chrome")
FINDINGS = 500
_CHECKS_EACH = 4


class BrowserError(Exception):
    """The page is not in the browser what it should be."""


class Shown(HTMLParser):
    """What the browser made of the table of pages: rows, and how many of them are hidden."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._in_pages = False
        self.rows = self.hidden = -1  # the head row
        self.feed(text)
        self.hidden += 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table":
            self._in_pages = found.get("id") == "pages"
        if tag == "tr" and self._in_pages:
            self.rows += 1
            self.hidden += "hidden" in (found.get("class") or "")


def browser() -> str:
    """Return the browser.

    Raises:
        BrowserError: there is none.
    """
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    raise BrowserError(f"none of {', '.join(NAMES)} is installed")


def run(*options: str) -> str:
    """Run the browser without a window and without a network, and return what it prints."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run(
        [*command, "--enable-logging=stderr", *options], capture_output=True, text=True, timeout=120, check=True
    )
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    if complaints:
        raise BrowserError(f"the browser complains: {complaints}")
    return done.stdout


def look(page: Path, word: str) -> Shown:
    """Load a page with a word in its filter."""
    text = run("--dump-dom", "--virtual-time-budget=2000", f"{page.as_uri()}#{word}")
    shown = Shown(text)
    said = re.search(r'id="shown">([\d,]+) shown', text)
    if said is None:
        raise BrowserError("the script did not run")
    if int(said[1].replace(",", "")) != shown.rows - shown.hidden:
        raise BrowserError(f"the page says {said[1]} shown, and {shown.rows - shown.hidden} are")
    return shown


def check(page: Path, rows: int, folder: Path) -> None:
    """Check a page: all rows, a filter that hides, and a picture.

    Raises:
        BrowserError: something is not as it should be.
    """
    everything, some = look(page, ""), look(page, "isolation%20policy")
    if (everything.rows, everything.hidden) != (rows, 0):
        raise BrowserError(f"{everything.rows} rows, {everything.hidden} hidden; {rows} were written")
    if some.rows - some.hidden != 1:
        raise BrowserError(f"the filter leaves {some.rows - some.hidden} rows of the isolation policy")
    picture = folder / f"{page.stem}.png"
    run("--window-size=1300,2000", f"--screenshot={picture}", page.as_uri())
    if picture.stat().st_size < 20_000:
        raise BrowserError("the picture is empty")


def without_last_row(text: str) -> str:
    """Take the last row of the table of pages away."""
    return text[: text.rindex("<tr>")] + text[text.rindex("</tr>") + len("</tr>") :]


def main() -> int:
    """Check both pages, and each broken on purpose in three ways."""
    with tempfile.TemporaryDirectory() as name, boot() as session:
        folder = Path(name)
        for count in (0, FINDINGS // _CHECKS_EACH):
            audit, text = report_of(session, count)
            page = folder / f"page{count}.html"
            page.write_text(text, "utf-8")
            check(page, len(audit.rows), folder)
            print(f"{sum(len(result.issues) for result in audit.results)} findings, {len(audit.rows)} rows: held")
            for what, broken in (
                ("without its script", text.replace("<script>", "<script type='text/plain'>")),
                ("with a script that fails", text.replace("show();\n</script>", "absent();\n</script>")),
                ("with a row too few", without_last_row(text)),
            ):
                page.write_text(broken, "utf-8")
                try:
                    check(page, len(audit.rows), folder)
                except BrowserError:
                    continue
                raise BrowserError(f"a page {what} was not noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
