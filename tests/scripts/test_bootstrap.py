"""./mmsup and ./test in a checkout of their own, on a system of stand-in tools that the test can break at will.

What only a real system can show (Debian's Python, apt, pip) is for ``scripts/check-bare-root``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
REAL_TOOLS = (
    "sh",
    "basename",
    "cat",
    "cksum",
    "dirname",
    "head",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "sleep",
    "tail",
    "tee",
)
NO_SETUP = 69

# Stand-ins. They log how they are called; files beside the log say what the system has and what fails.
PYTHON = """
case "$*" in
    *version_info*) [ -e "$SYSTEM/python3" ]; exit ;;
    "-c import ensurepip, venv") [ -e "$SYSTEM/ensurepip" ]; exit ;;
    "-c import virtualenv") [ -e "$SYSTEM/virtualenv" ]; exit ;;
    "-c import pip, venv") [ -e "$SYSTEM/pip" ]; exit ;;
    -c*) exec "$REAL_PYTHON" "$@" ;;
esac
echo "python3 $*" >>"$SYSTEM/log"
case "$1 $2" in
    "-m venv" | "-m virtualenv")
        for folder; do :; done
        mkdir -p "$folder/bin"
        cat "$SYSTEM/venv-python" >"$folder/bin/python"
        "$REAL_CHMOD" +x "$folder/bin/python" ;;
esac"""
VENV_PYTHON = """#!/bin/sh
[ "$*" != "-m pip --version" ] || exit 0
echo "venv python $*" >>"$SYSTEM/log"
cat >/dev/null
case "$*" in
    *coverage_gate*) [ ! -e "$SYSTEM/coverage-is-low" ]; exit ;;
esac
[ ! -e "$SYSTEM/pip-is-slow" ] || sleep 1
[ ! -e "$SYSTEM/pip-fails" ] || { echo "no such library"; exit 1; }
cd "${0%/*}"
cat "$SYSTEM/command" >mmsup
for tool in ruff mypy lint-imports pytest; do
    cat "$SYSTEM/tool" >$tool
done
"$REAL_CHMOD" +x *"""
COMMAND = """#!/bin/sh
for argument; do echo "<$argument>"; done
cat
exit 3"""
TOOL = """#!/bin/sh
echo "${0##*/} $*" >>"$SYSTEM/log"
[ "${0##*/}" != pytest ] || echo "=== 1 passed ==="
[ ! -e "$SYSTEM/${0##*/}-fails" ]"""
APT_GET = """
echo "apt-get $*" >>"$SYSTEM/log"
case "$*" in
    *update) echo >"$SYSTEM/lists" ;;
    *python3-venv) [ -e "$SYSTEM/lists" ] && echo >"$SYSTEM/ensurepip" ;;
    *gcc*) cat "$SYSTEM/tool" >"$SYSTEM/bin/gcc"; "$REAL_CHMOD" +x "$SYSTEM/bin/gcc" ;;
esac"""
ID = 'cat "$SYSTEM/uid"'


class Machine:
    """A checkout in a folder with a blank in its name, and the system it is on."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "a checkout"
        self.system = folder / "system"
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("mmsup", "test", "scripts/environment.sh", "scripts/install.sh"):
            shutil.copy(CHECKOUT / name, self.checkout / name)
        for setup in (CHECKOUT / "scripts").glob("setup-*"):
            shutil.copy(setup, self.checkout / "scripts")
        (self.checkout / "pyproject.toml").write_text("[project]\n")
        (self.system / "bin").mkdir(parents=True)
        for tool in REAL_TOOLS:
            (self.system / "bin" / tool).symlink_to(str(shutil.which(tool)))
        for tool, script in {"python3": PYTHON, "apt-get": APT_GET, "id": ID}.items():
            self.tool(tool, script)
        for tool in ("gcc", "ld", "objcopy"):
            self.tool(tool, "")
        for name, content in {"venv-python": VENV_PYTHON, "command": COMMAND, "tool": TOOL, "uid": "1000"}.items():
            (self.system / name).write_text(content + "\n")
        self.has("python3", "ensurepip")

    def tool(self, name: str, script: str) -> None:
        """Put a stand-in tool into the system."""
        path = self.system / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has(self, *names: str) -> None:
        """Switch facts about the system on."""
        for name in names:
            (self.system / name).touch()

    def lacks(self, *names: str) -> None:
        """Switch facts about the system off."""
        for name in names:
            (self.system / name).unlink()

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a command of the checkout, from another folder, in a process group of its own."""
        env = {
            "PATH": str(self.system / "bin"),
            "SYSTEM": str(self.system),
            "REAL_PYTHON": sys.executable,
            "REAL_CHMOD": str(shutil.which("chmod")),
        }
        return subprocess.Popen(
            [self.checkout / command[0], *command[1:]],
            cwd=self.system,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *command: str | Path, stdin: str = "") -> tuple[int, str, str]:
        """Run a command of the checkout; return its status, output and error output."""
        process = self.start(*command)
        out, err = process.communicate(stdin, timeout=60)
        return process.returncode, out, err

    def wait_for(self, logged: str) -> None:
        """Wait until a stand-in was asked that."""
        log = self.system / "log"
        while not log.exists() or logged not in log.read_text():
            time.sleep(0.01)

    def log(self) -> list[str]:
        """What the stand-ins were asked since the last time."""
        log = self.system / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


INSTALL_RUN = "venv python -m pip install --quiet --no-input --disable-pip-version-check --editable ."
INSTALL_DEV = INSTALL_RUN + "[dev]"


def made_anew(machine: Machine) -> str:
    return f"python3 -m venv {machine.checkout}/.venv"


def test_first_use_sets_up_and_hands_everything_on(machine: Machine) -> None:
    status, out, err = machine.run("mmsup", "a b", "", "*", "--help", stdin="piped")
    assert (status, out) == (3, "<a b>\n<>\n<*>\n<--help>\npiped")
    assert err.splitlines()[-1] == "mmsup: ready"
    assert machine.log() == [made_anew(machine), INSTALL_RUN]


def test_second_use_says_and_does_nothing_of_its_own(machine: Machine) -> None:
    machine.run("mmsup")
    machine.log()
    assert machine.run("mmsup", "x") == (3, "<x>\n", "")
    assert machine.log() == []


def test_works_through_a_link(machine: Machine) -> None:
    link = machine.system / "link"
    link.symlink_to(machine.checkout / "mmsup")
    assert machine.run(link, "x")[:2] == (3, "<x>\n")
    assert (machine.checkout / ".venv").is_dir()


def test_a_changed_project_file_renews_what_is_installed(machine: Machine) -> None:
    machine.run("mmsup")
    machine.log()
    (machine.checkout / "pyproject.toml").write_text("[project]\n# changed\n")
    machine.run("mmsup")
    assert machine.log() == [INSTALL_RUN]
    machine.run("mmsup")
    assert machine.log() == []


def test_a_moved_checkout_makes_its_environment_anew(machine: Machine) -> None:
    machine.run("mmsup")
    machine.log()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("moved"))
    assert machine.run("mmsup")[0] == 3
    assert machine.log() == [made_anew(machine), INSTALL_RUN]


def test_an_interrupted_setup_is_made_anew(machine: Machine) -> None:
    machine.has("pip-is-slow")
    process = machine.start("mmsup")
    machine.wait_for(INSTALL_RUN)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    machine.log()
    machine.lacks("pip-is-slow")
    assert machine.run("mmsup")[0] == 3
    assert machine.log() == [made_anew(machine), INSTALL_RUN]


def test_two_at_once_set_up_once(machine: Machine) -> None:
    machine.has("pip-is-slow")
    both = [machine.start("mmsup", name) for name in ("first", "second")]
    answers = [process.communicate(timeout=60) for process in both]
    assert [out for out, _ in answers] == ["<first>\n", "<second>\n"]
    assert sum("mmsup: waiting for another set-up" in err for _, err in answers) == 1
    assert machine.log() == [made_anew(machine), INSTALL_RUN]


def test_the_command_waits_while_the_tests_renew_its_environment(machine: Machine) -> None:
    machine.run("mmsup")
    machine.has("pip-is-slow")
    tests = machine.start("test", "-x")
    machine.wait_for(INSTALL_DEV)
    status, _, err = machine.run("mmsup")
    tests.communicate(timeout=60)
    assert (status, err) == (3, "mmsup: waiting for another set-up of this checkout\n")


def test_failing_pip_is_told_and_tried_again(machine: Machine) -> None:
    machine.has("pip-fails")
    status, out, err = machine.run("mmsup")
    assert (status, out) == (NO_SETUP, "")
    assert "no such library\nmmsup: pip could not install the libraries" in err
    machine.lacks("pip-fails")
    assert machine.run("mmsup")[0] == 3


def test_no_way_to_make_an_environment_is_one_line_that_names_the_package(machine: Machine) -> None:
    machine.lacks("ensurepip")
    status, out, err = machine.run("mmsup")
    assert (status, out, err.count("\n")) == (NO_SETUP, "", 1)
    assert "install the package python3-venv" in err
    assert machine.log() == []
    assert not (machine.checkout / ".venv").exists()


def test_no_python_is_one_line_that_names_the_package(machine: Machine) -> None:
    machine.lacks("python3")
    status, out, err = machine.run("mmsup")
    assert (status, out, err.count("\n")) == (NO_SETUP, "", 1)
    assert "needs Python 3.11 or newer: install the package python3" in err


def test_a_checkout_that_cannot_be_written_is_one_line(machine: Machine) -> None:
    (machine.checkout / ".cache").touch()  # root may write everywhere: stand in its way
    status, out, err = machine.run("mmsup")
    assert (status, out, err.count("\n")) == (NO_SETUP, "", 1)
    assert "cannot write to" in err


def test_root_installs_the_package_with_fresh_lists(machine: Machine) -> None:
    machine.lacks("ensurepip")
    (machine.system / "uid").write_text("0\n")
    assert machine.run("mmsup")[0] == 3
    asked = machine.log()
    assert [line.split()[-1] for line in asked[:3]] == ["python3-venv", "update", "python3-venv"]
    assert asked[3:] == [made_anew(machine), INSTALL_RUN]


@pytest.mark.parametrize(
    ("present", "made_with"),
    [("virtualenv", "python3 -m virtualenv "), ("pip", "python3 -m venv --without-pip ")],
)
def test_what_is_there_is_used_before_anything_is_installed(machine: Machine, present: str, made_with: str) -> None:
    machine.lacks("ensurepip")
    machine.has(present)
    (machine.system / "uid").write_text("0\n")
    assert machine.run("mmsup")[0] == 3
    asked = machine.log()
    assert asked[0].startswith(made_with)
    assert not [line for line in asked if line.startswith("apt-get")]


def test_the_gates_run_in_order_and_end_with_pytests_closing_line(machine: Machine) -> None:
    status, out, _ = machine.run("test")
    assert status == 0
    assert out.splitlines()[-1] == "=== 1 passed ==="
    asked = machine.log()
    assert asked[:2] == [made_anew(machine), INSTALL_DEV]
    assert [line.split()[0] for line in asked[2:]] == ["ruff", "ruff", "mypy", "lint-imports", "pytest", "venv"]


@pytest.mark.parametrize(
    "broken", ["ruff-fails", "mypy-fails", "lint-imports-fails", "pytest-fails", "coverage-is-low"]
)
def test_any_failing_gate_fails_but_the_others_still_run(machine: Machine, broken: str) -> None:
    machine.has(broken)
    status, _, err = machine.run("test")
    assert status == 1
    assert "test: failed: [" in err
    assert len(machine.log()) == 8


def test_arguments_go_to_pytest_alone(machine: Machine) -> None:
    assert machine.run("test", "-k", "a b")[0] == 0
    assert machine.log()[2:] == ["pytest -k a b"]
    machine.has("pytest-fails")
    assert machine.run("test", "-x")[0] == 1


def test_the_command_is_ready_after_the_tests(machine: Machine) -> None:
    machine.run("test")
    machine.log()
    assert machine.run("mmsup") == (3, "", "")
    assert machine.log() == []


@pytest.mark.parametrize("compiler", [None, "exit 1"], ids=["no compiler", "no headers"])
def test_a_missing_compiler_is_one_line_for_a_user_and_installed_for_root(
    machine: Machine, compiler: str | None
) -> None:
    machine.run("test", "-x")
    (machine.system / "bin" / "gcc").unlink()
    if compiler:
        machine.tool("gcc", compiler)
    machine.log()
    status, _, err = machine.run("test", "-x")
    assert (status, err.count("\n"), machine.log()) == (NO_SETUP, 1, [])
    assert "install the packages gcc binutils libc6-dev" in err
    (machine.system / "uid").write_text("0\n")
    assert machine.run("test", "-x")[0] == 0
    assert machine.log()[0].endswith("install gcc binutils libc6-dev")
