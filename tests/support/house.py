"""The house rules that no other tool checks: each check takes a checkout and returns what it finds, a line each."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

PACKAGE = "src/mmsupervisor"
UNSAFE_MODULES = frozenset({"_ctypes", "ctypes", "mmap", "ptrace", "pyseccomp", "seccomp", "signal"})
MOST_LINES = 500
# Folders of single machines; spelled apart so that this file is no finding itself.
MACHINE_FOLDERS = tuple(f"/{name}/" for name in ("work", "root", "farm"))


def files(checkout: Path, pattern: str = "*") -> list[Path]:
    """Return the files below a checkout that are, or could be, committed: those that .gitignore does not leave out."""
    ignored = [".git", *(line.strip("/") for line in (checkout / ".gitignore").read_text().split())]

    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if any(fnmatch(path.name, name) for name in ignored) or path.is_symlink():
                continue
            if path.is_dir():
                yield from walk(path)
            elif fnmatch(path.name, pattern):
                yield path

    return list(walk(checkout))


def unsafe_imports(checkout: Path) -> list[str]:
    """Imports of what works around Python's safety, outside the files whose name says so (rule 7)."""
    found = []
    for path in files(checkout, "*.py"):
        name = path.relative_to(checkout).as_posix()
        if not name.startswith(PACKAGE) or name.endswith("_unsafe.py"):
            continue
        for line, module in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            if module.partition(".")[0] in UNSAFE_MODULES:
                found.append(f"{name}:{line}: imports {module}, which only a file named *_unsafe.py may")
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import, also of those by a call that names the module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module


def long_files(checkout: Path) -> list[str]:
    """Source files with more lines than one person reads in one go (rule 2)."""
    found = []
    for path in files(checkout, "*.py"):
        name = path.relative_to(checkout).as_posix()
        lines = path.read_text(encoding="utf-8").count("\n")
        if name.startswith("src/") and lines > MOST_LINES:
            found.append(f"{name}: {lines} lines, more than {MOST_LINES}")
    return found


def undocumented_dependencies(checkout: Path) -> list[str]:
    """Dependencies of the project, its extras and its build without a row in docs/dependencies.md, and the reverse."""
    data = tomllib.loads((checkout / "pyproject.toml").read_text())
    project = data["project"]
    wanted: set[str] = set()
    for requirements in (
        project["dependencies"],
        *project["optional-dependencies"].values(),
        data["build-system"]["requires"],
    ):
        wanted |= {_distribution(requirement) for requirement in requirements}
    documented = {_distribution(cell) for cell in _first_cells(checkout / "docs" / "dependencies.md")}
    return [
        *(f"docs/dependencies.md: {name} has no row" for name in sorted(wanted - documented)),
        *(f"docs/dependencies.md: {name} is no dependency" for name in sorted(documented - wanted)),
    ]


def _distribution(requirement: str) -> str:
    """Return the normalised name in a requirement such as ``Foo_bar[extra]>=1``."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def _first_cells(document: Path) -> Iterable[str]:
    """Return what stands in code style in the first cell of each row of a document's tables."""
    return re.findall(r"^\|\s*`([^`]+)`\s*\|", document.read_text(encoding="utf-8"), flags=re.MULTILINE)


def undocumented_floors(checkout: Path) -> list[str]:
    """Packages and modules right below the root package that docs/architecture.md does not place on a floor."""
    tree = re.findall(
        r"^ {2}(\w+(?:/|\.py))\s+(?:\d|\.)", (checkout / "docs" / "architecture.md").read_text(), flags=re.MULTILINE
    )
    here = {
        path.name + "/" * path.is_dir()
        for path in (checkout / PACKAGE).iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and not path.name.startswith("__"))
    }
    return [f"docs/architecture.md: {name} has no floor" for name in sorted(here - set(tree))]


def machine_paths(checkout: Path) -> list[str]:
    """Paths of a single machine in any file."""
    pattern = re.compile(r"(?<![\w.$}*])(?:" + "|".join(map(re.escape, MACHINE_FOLDERS)) + ")")
    found = []
    for path in files(checkout):
        for number, line in enumerate(path.read_bytes().decode("utf-8", errors="replace").splitlines(), start=1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(checkout).as_posix()}:{number}: {match[0]}")
    return found


def dead_links(checkout: Path) -> list[str]:
    """Links in documents to files of the checkout that are not there."""
    return [
        f"{path.relative_to(checkout).as_posix()}: no {target}"
        for path in files(checkout, "*.md")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]


def undocumented_schemas(checkout: Path) -> list[str]:
    """Names of JSON schemas in the code without a row in docs/json-schemas.md, and the reverse."""
    written = {
        name
        for path in files(checkout, "*.py")
        if path.relative_to(checkout).as_posix().startswith(PACKAGE)
        for name in re.findall(r"[\"'](mmsupervisor\.[\w-]+/\d+)[\"']", path.read_text(encoding="utf-8"))
    }
    documented = set(_first_cells(checkout / "docs" / "json-schemas.md"))
    return [
        *(f"docs/json-schemas.md: {name} has no row" for name in sorted(written - documented)),
        *(f"docs/json-schemas.md: nothing writes {name}" for name in sorted(documented - written)),
    ]


def exit_code_rows(checkout: Path) -> list[tuple[int, str, str]]:
    """The rows of the table in docs/exit-codes.md: number, name, meaning."""
    document = (checkout / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.*) \|$", document, flags=re.MULTILINE)
    return [(int(number), name, meaning) for number, name, meaning in rows]


def setup_failure(checkout: Path) -> int:
    """The exit code of a set-up that failed, as the shell scripts know it."""
    script = (checkout / "scripts" / "install.sh").read_text(encoding="utf-8")
    return int(re.findall(r"^setup_failed=(\d+)$", script, flags=re.MULTILINE)[0])
