"""Write the picture of a terminal that the README begins with: docs/images/variables.svg.

    python scripts/terminal_picture.py FOLDER

FOLDER holds Debian's OVMF (`scripts/fetch-ovmf` prints the package's folder; the files are below it in
usr/share/OVMF). The command in the picture is run there, and what it prints is what is drawn, without the rows that
`LEFT_OUT` names.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "variables.svg"
COMMAND = ("variable", "OVMF_CODE_4M.secboot.fd", "list", "--vars", "OVMF_VARS_4M.ms.fd")
LEFT_OUT = re.compile(r"Attempt \d|InitialAttemptOrder|Key000|ErrOut")
COLUMNS = 100

# The library's own form fetches a font from the net.
FORM = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
    .{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def output(folder: Path) -> list[str]:
    """Return what the command prints in ``folder``, a line each."""
    command = [sys.executable, "-m", "mmsupervisor", *COMMAND]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    done = subprocess.run(  # noqa: S603 - the command is a constant
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def draw(lines: list[str]) -> str:
    """Return the picture of a terminal with the command and these lines."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ mmsup {' '.join(COMMAND)}", style="bold"))
    for line in lines:
        if not LEFT_OUT.match(line):
            console.print(Text(line), no_wrap=True, crop=True)
    return console.export_svg(
        title="Debian's firmware, its own variable driver in ring 3",
        theme=MONOKAI,
        code_format=FORM,
        unique_id="mmsup",
    )


def main() -> None:
    """Draw it anew."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(output(Path(sys.argv[1]))), encoding="utf-8")


if __name__ == "__main__":
    main()
