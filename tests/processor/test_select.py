"""Choosing a processor: ``auto`` takes the first that works, falls back, and says which it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from mmsupervisor.cli.main import main
from mmsupervisor.machine.memory import PhysicalMemory
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.processor import select
from mmsupervisor.processor.interface import Processor, ProcessorOptions
from mmsupervisor.processor.native import host
from mmsupervisor.session import boot

Break = Callable[[str, Exception], None]


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Break]:
    """Have a processor refuse to be made."""
    honest = select._make
    broken: dict[str, Exception] = {}

    def make(name: str, memory: PhysicalMemory, options: ProcessorOptions) -> Processor:
        if name in broken:
            raise broken[name]
        return honest(name, memory, options)

    monkeypatch.setattr(select, "_make", make)
    select.probe_one.cache_clear()
    yield broken.__setitem__
    select.probe_one.cache_clear()


def native_works() -> bool:
    return select.probe_one("native").is_available


def test_auto_falls_back_and_the_session_says_to_what(breaks: Break) -> None:
    if not native_works():
        pytest.skip(select.probe_one("native").reason)
    breaks("unicorn", ImportError("none", name="unicorn"))
    select.probe_one.cache_clear()
    with boot() as session:
        assert session.processor == "native"
    found = select.probe_one("unicorn")
    assert (found.is_available, found.reason) == (False, "the library unicorn cannot be loaded")
    assert found.advice == "pip install unicorn"


def test_the_native_one_is_not_needed(breaks: Break) -> None:
    breaks("native", MmSupervisorError("native processor: operation not permitted"))
    with boot() as session:
        assert session.processor == "unicorn"
    assert "seccomp=unconfined" in select.probe_one("native").advice


def test_where_none_works_each_reason_is_said(breaks: Break) -> None:
    breaks("unicorn", ImportError("none", name="unicorn"))
    breaks("native", MmSupervisorError("native processor: needs Linux, and this is plan9"))
    with pytest.raises(MmSupervisorError, match=r"unicorn cannot be loaded; native: .*plan9"):
        boot()


def test_what_is_asked_for_by_name_is_not_replaced(breaks: Break) -> None:
    breaks("native", MmSupervisorError("native processor: refused"))
    with pytest.raises(MmSupervisorError, match="refused"):
        boot(processor="native")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("platform", "darwin", "needs Linux, and this is darwin"),
        ("machine", "aarch64", "needs an x86-64 processor, and this is aarch64"),
        ("release", "4.19.0-generic", "is too old"),
        ("actions", "kill trap allow", "lacks the action user_notif"),
    ],
)
def test_what_a_host_lacks_is_named_with_advice(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    if name == "platform":
        monkeypatch.setattr(host.sys, "platform", value)
    elif name == "actions":
        monkeypatch.setattr(host, "_read", lambda path: value if path == host._ACTIONS else "")
    else:
        monkeypatch.setattr(host.platform, name, lambda: value)
    said = host.refusal()
    assert reason in said
    assert host.advice(said)


@pytest.mark.parametrize("name", ["unicorn", "native"])
def test_the_choice_is_in_the_report(name: str) -> None:
    found = select.probe_one(name)
    if not found.is_available:
        pytest.skip(found.reason)
    done = CliRunner().invoke(main, ["boot", "--processor", name, "--json"])
    assert json.loads(done.output)["platform"]["processor"] == name
    done = CliRunner().invoke(main, ["boot", "--processor", name])
    assert f"ring 3 on {name}" in done.output
