"""The house rules that no other tool checks hold here, and each check finds a planted fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmsupervisor.cli.exit_codes import ExitCode, table
from tests.support import house

CHECKOUT = Path(__file__).resolve().parents[1]
CHECKS = [
    house.unsafe_imports,
    house.long_files,
    house.undocumented_dependencies,
    house.undocumented_floors,
    house.machine_paths,
    house.dead_links,
    house.undocumented_schemas,
]

PROJECT = """
[build-system]
requires = ["hatchling>=1"]
[project]
dependencies = ["click>=8.1"]
[project.optional-dependencies]
dev = ["Foo_Bar[x]>=1"]
"""
CLEAN = {
    ".gitignore": "ignored/\n*.log\n",
    "pyproject.toml": PROJECT,
    "docs/dependencies.md": "| `click` | x |\n| `foo-bar` | x |\n| `hatchling` | x |\n",
    "docs/architecture.md": "src/mmsupervisor/\n  cli/   7  the command\n  session.py  5  a session\n",
    "docs/json-schemas.md": "| `mmsupervisor.info/1` | x |\n",
    "README.md": "See [the floors](docs/architecture.md#floors) and [a site](https://example.org/x).\n",
    "src/mmsupervisor/__init__.py": "",
    "src/mmsupervisor/cli/__init__.py": "import struct\nSCHEMA = 'mmsupervisor.info/1'\n",
    "src/mmsupervisor/cli/memory_unsafe.py": "import ctypes\nimport mmap\n",
    "src/mmsupervisor/session.py": "x = 1\n" * 500,
    "ignored/a.py": f"{house.MACHINE_FOLDERS[0]}x",
    "a.log": f"{house.MACHINE_FOLDERS[0]}x",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout without a fault."""
    for name, content in CLEAN.items():
        plant(tmp_path, name, content)
    return tmp_path


def plant(checkout: Path, name: str, content: str) -> None:
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text(content)


@pytest.mark.parametrize("check", CHECKS)
def test_rule_holds_here(check: Callable[[Path], list[str]]) -> None:
    assert check(CHECKOUT) == []


def test_the_checks_see_this_checkout() -> None:
    names = [path.relative_to(CHECKOUT).as_posix() for path in house.files(CHECKOUT)]
    assert {"mmsup", ".ci/run", "src/mmsupervisor/pi/guid.py", "tests/test_house.py"} <= set(names)
    assert not [name for name in names if name.startswith((".git/", ".venv/", ".cache/"))]


@pytest.mark.parametrize("check", CHECKS)
def test_a_clean_checkout_has_no_findings(check: Callable[[Path], list[str]], checkout: Path) -> None:
    assert check(checkout) == []


@pytest.mark.parametrize(
    "code",
    [
        "import ctypes",
        "import os, mmap",
        "from signal import SIGINT",
        "def f():\n    import ctypes.util",
        "import importlib\nimportlib.import_module('ptrace.debugger')",
        "__import__('pyseccomp')",
    ],
)
def test_finds_an_unsafe_import(checkout: Path, code: str) -> None:
    plant(checkout, "src/mmsupervisor/cli/stray.py", code)
    assert len(house.unsafe_imports(checkout)) == 1


def test_finds_a_long_file(checkout: Path) -> None:
    plant(checkout, "src/mmsupervisor/session.py", "x = 1\n" * 501)
    assert house.long_files(checkout) == ["src/mmsupervisor/session.py: 501 lines, more than 500"]


@pytest.mark.parametrize("name", ["click", "foo-bar", "hatchling"])
def test_finds_a_dependency_without_a_reason(checkout: Path, name: str) -> None:
    document = checkout / "docs/dependencies.md"
    document.write_text(document.read_text().replace(name, "other"))
    assert house.undocumented_dependencies(checkout) == [
        f"docs/dependencies.md: {name} has no row",
        "docs/dependencies.md: other is no dependency",
    ]


def test_finds_a_package_and_a_module_without_a_floor(checkout: Path) -> None:
    plant(checkout, "src/mmsupervisor/attic/__init__.py", "")
    plant(checkout, "src/mmsupervisor/cellar.py", "")
    assert house.undocumented_floors(checkout) == [
        "docs/architecture.md: attic/ has no floor",
        "docs/architecture.md: cellar.py has no floor",
    ]


@pytest.mark.parametrize("folder", house.MACHINE_FOLDERS)
def test_finds_a_path_of_a_machine(checkout: Path, folder: str) -> None:
    plant(checkout, "docs/notes.txt", f"fine: a{folder}b, $root{folder}c\nsee {folder}d\n'{folder}'\n")
    assert house.machine_paths(checkout) == [f"docs/notes.txt:2: {folder}", f"docs/notes.txt:3: {folder}"]


def test_finds_a_dead_link(checkout: Path) -> None:
    plant(checkout, "docs/a.md", "[gone](../nowhere.md#part)\n")
    assert house.dead_links(checkout) == ["docs/a.md: no ../nowhere.md"]


def test_finds_a_schema_without_a_row_and_a_row_without_a_schema(checkout: Path) -> None:
    plant(checkout, "src/mmsupervisor/cli/__init__.py", 'SCHEMA = "mmsupervisor.info/2"\n')
    assert house.undocumented_schemas(checkout) == [
        "docs/json-schemas.md: mmsupervisor.info/2 has no row",
        "docs/json-schemas.md: nothing writes mmsupervisor.info/1",
    ]


def test_the_exit_codes_in_the_document_are_those_of_the_code() -> None:
    assert house.exit_code_rows(CHECKOUT) == list(table())


def test_the_scripts_know_the_exit_code_of_a_failed_setup() -> None:
    assert house.setup_failure(CHECKOUT) == ExitCode.SETUP


def test_the_rows_of_exit_codes_are_read_as_they_stand(checkout: Path) -> None:
    plant(checkout, "docs/exit-codes.md", "| Code | Name | Meaning |\n|---|---|---|\n| 7 | ODD | a `b` \\| c |\n")
    assert house.exit_code_rows(checkout) == [(7, "ODD", "a `b` \\| c")]
