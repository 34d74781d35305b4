"""Writing a flash back to its file: whatever fails, and whenever the program dies, it is the old file or the new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmsupervisor.devices.flash_store import FlashStore, FlashStoreError

OLD = bytes(range(256)) * 64
NEW = OLD[::-1]
CALLS = ("write", "chmod", "fsync", "replace", "open")
"""What the write-back asks of the system, as far as it can fail."""

STEPS = (*((call, 1) for call in CALLS), ("open", 2), ("fsync", 2))
"""Every such call by number: the second opening and flush are the folder's, after the renaming."""

AFTER_RENAMING = {("open", 2), ("fsync", 2)}


@pytest.fixture
def store(tmp_path: Path) -> FlashStore:
    path = tmp_path / "vars.fd"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return FlashStore(path)


def break_call(monkeypatch: pytest.MonkeyPatch, name: str, number: int, action: Callable[..., Any]) -> None:
    """Replace the call of that number, counted from 1, by an action."""
    real = getattr(os, name)
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return action(real, *arguments) if calls == number else real(*arguments, **options)

    monkeypatch.setattr(f"mmsupervisor.devices.flash_store.os.{name}", call)


def test_writes_back_once_and_keeps_the_mode(store: FlashStore) -> None:
    assert store.write_back(NEW) is True
    assert store.path.read_bytes() == NEW
    assert store.path.stat().st_mode & 0o777 == 0o640
    assert store.write_back(NEW) is False
    assert [path.name for path in store.path.parent.iterdir()] == ["vars.fd"]


def test_what_follows_the_store_in_its_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "flash.fd"
    path.write_bytes(OLD + b"code")
    store = FlashStore(path, len(OLD))
    assert store.content == OLD
    assert store.write_back(NEW)
    assert path.read_bytes() == NEW + b"code"
    assert store.write_back(OLD)
    path.write_bytes(OLD + b"CODE")
    with pytest.raises(FlashStoreError, match="changed by somebody else"):
        store.write_back(NEW)
    assert path.read_bytes() == OLD + b"CODE"


def test_a_link_stays_a_link(store: FlashStore) -> None:
    link = store.path.with_name("link.fd")
    link.symlink_to(store.path)
    assert FlashStore(link).write_back(NEW)
    assert link.is_symlink()
    assert store.path.read_bytes() == NEW


def test_short_writes_are_continued(store: FlashStore, monkeypatch: pytest.MonkeyPatch) -> None:
    break_call(monkeypatch, "write", 1, lambda real, descriptor, data: real(descriptor, data[:100]))
    assert store.write_back(NEW)
    assert store.path.read_bytes() == NEW


def test_a_file_changed_by_somebody_else_is_left_alone(store: FlashStore) -> None:
    store.path.write_bytes(b"x" + OLD[1:])
    with pytest.raises(FlashStoreError, match="changed by somebody else"):
        store.write_back(NEW)
    assert store.path.read_bytes() == b"x" + OLD[1:]


def test_another_length_is_refused(store: FlashStore) -> None:
    with pytest.raises(FlashStoreError, match="do not replace"):
        store.write_back(NEW + b"x")
    assert store.path.read_bytes() == OLD


@pytest.mark.parametrize(("call", "number"), STEPS)
def test_an_error_at_any_step_leaves_old_or_new(
    store: FlashStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(_real: Callable[..., Any], *_arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        break_call(patch, call, number, fail)
        with pytest.raises(OSError, match="No space left"):
            store.write_back(NEW)
    is_renamed = (call, number) in AFTER_RENAMING
    assert store.path.read_bytes() == (NEW if is_renamed else OLD)
    assert [path.name for path in store.path.parent.iterdir()] == ["vars.fd"], "nothing is left beside it"
    assert store.content == OLD
    if not is_renamed:
        assert store.write_back(NEW), "and it works once the cause is gone"


def test_a_partial_write_that_then_fails_leaves_the_old(store: FlashStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(real: Callable[..., Any], descriptor: int, data: memoryview) -> int:
        real(descriptor, data[: len(data) // 2])
        raise OSError(5, "Input/output error")

    break_call(monkeypatch, "write", 1, half)
    with pytest.raises(OSError, match="Input/output"):
        store.write_back(NEW)
    assert store.path.read_bytes() == OLD


_VICTIM = """
import os, sys
from pathlib import Path
from mmsupervisor.devices.flash_store import FlashStore
store = FlashStore(Path(sys.argv[1]))
name, number, after = sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after"
real, calls = getattr(os, name), 0
def call(*arguments, **options):
    global calls
    calls += 1
    if calls != number:
        return real(*arguments, **options)
    if after:
        real(*arguments, **options)
    elif name == "write":
        real(arguments[0], arguments[1][:1000])
    os.kill(os.getpid(), 9)
setattr(os, name, call)
store.write_back(bytes(store.content[::-1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a POSIX signal")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("call", "number"), STEPS)
def test_a_kill_at_any_step_leaves_old_or_new(store: FlashStore, call: str, number: int, when: str) -> None:
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, os.fspath(store.path), call, str(number), when], check=False, timeout=60
    )
    assert victim.returncode == -signal.SIGKILL, "it must have come to that step"
    is_renamed = (call, number) in AFTER_RENAMING or (call, when) == ("replace", "after")
    assert store.path.read_bytes() == (NEW if is_renamed else OLD)
    FlashStore(store.path).write_back(NEW)
    assert store.path.read_bytes() == NEW, "what a killed one left behind is in nobody's way"
