"""Policies that come with this package: the minimum for level 30, as TOML with its reasons."""

from __future__ import annotations

from importlib.resources import files

from mmsupervisor.policy.source import PolicySource
from mmsupervisor.policy.toml_source import read_toml_policy

NAMES = ("amd", "intel")
"""Names of the policies: a vendor each."""


def text(name: str) -> str:
    """The source of a shipped policy.

    Args:
        name: One of :data:`NAMES`.
    """
    return files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def policy(name: str) -> PolicySource:
    """A shipped policy.

    Args:
        name: One of :data:`NAMES`.
    """
    return read_toml_policy(text(name).encode(), f"shipped {name}.toml")
