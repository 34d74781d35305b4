"""Reading input files: all sorts of things that have a path, within a bound and within a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmsupervisor.pi.container import InputError, read_image_file
from mmsupervisor.pi.container.input_file import read_input_file
from mmsupervisor.pi.errors import LimitError
from mmsupervisor.pi.limits import MIB, Allowance, Limits

BOUND = 3 * MIB
needs_pipes = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes with paths, nor /dev")


@pytest.mark.parametrize("size", [0, 1, MIB, BOUND])
def test_files_up_to_the_bound(tmp_path: Path, size: int) -> None:
    path = tmp_path / "image.fd"
    path.write_bytes(b"x" * size)
    assert read_input_file(path, BOUND) == b"x" * size


@pytest.mark.parametrize("size", [BOUND + 1, 64 << 30])
def test_a_larger_file_is_not_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "image.fd"
    with path.open("wb") as file:
        file.truncate(size)
    started = time.process_time()
    with pytest.raises(LimitError, match="file is larger than 3 MiB"):
        read_input_file(path, BOUND)
    assert time.process_time() - started < 1


def test_a_file_that_says_nothing_of_its_size_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As those of /proc do, and as one that grows while it is read."""
    path = tmp_path / "image.fd"
    path.write_bytes(bytes(BOUND + 1))
    empty = os.stat_result((0o100644, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr("mmsupervisor.pi.container.input_file.os.fstat", lambda _descriptor: empty)
    with pytest.raises(LimitError, match="file is larger than 3 MiB"):
        read_input_file(path, BOUND)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "loop"):
        with pytest.raises(InputError, match=rf"^{path}: \w+"):
            read_image_file(path)


@needs_pipes
def test_a_device_without_end_is_bounded() -> None:
    with pytest.raises(LimitError, match="file is larger than 3 MiB"):
        read_image_file(Path("/dev/zero"), Allowance(Limits(input_bytes=BOUND)))
    assert read_input_file(Path("/dev/null"), BOUND) == b""


@needs_pipes
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = os.urandom(2 * MIB)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    try:
        assert read_input_file(path, BOUND) == data
    finally:
        writer.join()


@pytest.mark.parametrize("is_pipe", [True, False])
def test_standard_input_is_a_dash(tmp_path: Path, is_pipe: bool) -> None:
    """In a process of its own; a file of that name can be named otherwise."""
    file = tmp_path / "-"
    file.write_bytes(b"text")
    program = "import sys; from pathlib import Path; from mmsupervisor.pi.container.input_file import read_input_file\n"
    program += "sys.exit(read_input_file(Path('-'), 9) != b'text')"
    words = [sys.executable, "-c", program]
    if is_pipe:
        subprocess.run(words, input=b"text", check=True, timeout=60)
    else:
        with file.open("rb") as stdin:
            subprocess.run(words, stdin=stdin, check=True, timeout=60)
    assert read_input_file(file, BOUND) == b"text"


@needs_pipes
def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsupervisor.pi.container.input_file.MOST_WAIT", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"pipe: nothing came out of it for 0 seconds"):
        read_input_file(path, BOUND)
    # Nor does a writer that falls silent hold it up.
    with subprocess.Popen(["/bin/sh", "-c", 'exec 3>"$0"; printf x >&3; exec sleep 30', path]) as writer:
        try:
            with pytest.raises(InputError, match="nothing came out of it"):
                read_input_file(path, BOUND)
        finally:
            writer.kill()
