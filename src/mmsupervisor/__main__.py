"""``python -m mmsupervisor``: the same as the command ``mmsup``."""

from __future__ import annotations

from mmsupervisor.cli.main import main

if __name__ == "__main__":
    main(prog_name="mmsup")
