"""The platform's devices, flash and a user's own among them, as ring 3 on the host's processor uses them.

The tests are those of ``tests/platform``, which run on the processor that ``auto`` takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmsupervisor.session import Session, boot
from tests.platform import test_devices
from tests.processor.native.test_same_traces import PROCESSORS
from tests.samples import support


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have every boot take the native processor; what was taken is in the list."""
    taken: list[str] = []

    def natively(*arguments: Any, **options: Any) -> Session:
        session = boot(*arguments, **options, processor="native")
        taken.append(session.processor)
        return session

    monkeypatch.setattr(support, "boot", natively)
    yield taken
    assert set(taken) == {"native"}


@pytest.mark.parametrize(
    "test",
    [
        test_devices.test_text_reaches_the_console_and_the_events,
        test_devices.test_ports_of_the_chipset,
        test_devices.test_configuration_space_as_memory,
        test_devices.test_state_of_all_devices_comes_back,
        test_devices.test_what_is_0_is_not_there,
    ],
    ids=lambda test: test.__name__,
)
def test_devices_of_the_platform(booted: list[str], test: Any) -> None:
    test()


def test_devices_of_the_user(booted: list[str], tmp_path: Path) -> None:
    test_devices.test_devices_of_the_user_answer_ring_3(tmp_path)


def test_flash(booted: list[str], tmp_path: Path) -> None:
    (tmp_path / "vars.fd").write_bytes(bytes(range(256)) * 32)
    (tmp_path / "code.fd").write_bytes(b"\x5a" * 0x1000)
    description = test_devices.with_devices(flash_code=tmp_path / "code.fd", flash_variables=tmp_path / "vars.fd")
    test_devices.test_ring_3_erases_and_programs_flash_which_is_written_back_when_asked(description)


def test_a_device_of_the_user_leaves_the_same_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(test_devices.MINE)
    description = test_devices.with_devices(files=(tmp_path / "mine.py",))
    traces = []
    for processor in PROCESSORS:
        monkeypatch.setattr(support, "boot", lambda *a, p=processor, **o: boot(*a, **o, processor=p))
        with test_devices.machine(description) as it:
            assert it.session.processor == processor
            it.write(0x80, 0x55)
            it.read(0x80)
            it.msr(0x1A0)
            traces.append("\n".join(it.session.log.canonical_lines()))
    assert traces[0] == traces[1]
    assert traces[0]
