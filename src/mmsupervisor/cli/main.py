"""The command line's entry: the group that the commands hang from."""

from __future__ import annotations

import click

from mmsupervisor import __version__


@click.group()
@click.version_option(__version__, prog_name="mmsup")
def main() -> None:
    """Run, police and explain management-mode firmware on an ordinary computer."""
