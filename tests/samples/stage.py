"""Sample drivers on the real supervisor: boot one, send it messages, and judge how a bad case ended."""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from firmware.samples import catalogue
from mmsupervisor import prebuilt
from mmsupervisor.core.entry import Core
from mmsupervisor.core.events import FindingMade, MmiBegan, SystemCallMade, SystemReset
from mmsupervisor.core.findings import Finding, Place, SystemStopError
from mmsupervisor.core.mmi import serve_mmi
from mmsupervisor.core.modules import Module
from mmsupervisor.debuginfo.symbols import Symbols
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.message import HEADER_SIZE
from mmsupervisor.pi.status import Status
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.session import Session, boot_driver
from tests.support.invariants import broken_invariants

NOT_ANSWERED = 0xFFFF_FFFF_FFFF_FFFF
"""What Status holds before the handler writes it; no handler answers with it."""

DESCRIPTION = PlatformDescription(vendor=Vendor.AMD, budget=2_000_000)
"""The default platform, with a budget that a loop without end uses up quickly."""

SAMPLES = {sample.name: sample for sample in catalogue.samples()}
GUIDS = {name: str(guid) for name, guid in catalogue.guids().items()}
_FIELD = re.compile(r"\d*[A-Za-z]")


@dataclass(frozen=True)
class Expectation:
    """What ends a bad case, as ``findings.toml`` has it.

    Attributes:
        number: The finding's number.
        rule: What its rule begins with.
    """

    number: str
    rule: str


@cache
def expectations() -> dict[tuple[str, str], Expectation]:
    """All expectations by sample and case."""
    table = tomllib.loads(Path(__file__).with_name("findings.toml").read_text("utf-8"))
    return {(sample, case): Expectation(*words) for sample, cases in table.items() for case, words in cases.items()}


@dataclass(frozen=True)
class Reply:
    """A message's answer.

    Attributes:
        mailbox: What the sender sees.
        values: The payload's fields by name; an array is a tuple.
    """

    mailbox: int
    values: dict[str, Any]

    @property
    def status(self) -> int:
        """The status that the handler wrote."""
        return int(self.values["Status"])


class Stage:
    """One booted sample driver."""

    def __init__(self, sample: catalogue.Sample, session: Session, driver: str) -> None:
        self.sample = sample
        self.session = session
        self.driver = driver

    @property
    def core(self) -> Core:
        assert self.session.core is not None
        return self.session.core

    @property
    def module(self) -> Module:
        found = self.core.supervisor.modules.by_name(self.driver)
        assert found is not None
        return found

    def send(self, handler: str | None = None, **values: Any) -> Reply:
        """Send a message made of fields; Status is filled in, what is not given is 0."""
        message = self.sample.message
        assert message is not None
        tokens = _FIELD.findall(message.format.lstrip("<"))
        flat: list[Any] = []
        for name, token in zip(message.fields, tokens, strict=True):
            value = values.pop(name, NOT_ANSWERED if name == "Status" else b"" if token.endswith("s") else 0)
            if isinstance(value, tuple | list):
                flat += [*value, *[0] * (int(token[:-1]) - len(value))]
            else:
                flat += [value] if token[0].isalpha() or token.endswith("s") else [value, *[0] * (int(token[:-1]) - 1)]
        assert not values, f"{self.sample.name} has no fields {sorted(values)}"
        answer = self.session.communicate(
            GUIDS[handler or str(self.sample.handler)], struct.pack(message.format, *flat)
        )
        return Reply(answer.status, self._unpack(message.fields, tokens, answer.data[HEADER_SIZE:]))

    @staticmethod
    def _unpack(names: tuple[str, ...], tokens: list[str], data: bytes) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, token in zip(names, tokens, strict=True):
            size = struct.calcsize("<" + token)
            found = struct.unpack("<" + token, data[:size])
            values[name] = found[0] if len(found) == 1 else found
            data = data[size:]
        return values

    def variable(self, name: str) -> int:
        """The 64-bit value that a variable of the driver holds now."""
        return self.core.supervisor.memory.read_u64(self.module.base + symbol(self.driver, name).rva)

    # Judging an end

    def stopped(self, **values: Any) -> Finding:
        """Send a message that ends the system and return why it ended."""
        with pytest.raises(SystemStopError) as caught:
            self.send(**values)
        return caught.value.finding

    def assert_dead(self, finding: Finding, *, given_up: tuple[str, ...] = ()) -> None:
        """The session says why it is dead, serves nothing more, and its memory is still in order.

        Args:
            finding: What ended it.
            given_up: Invariants that the driver could give up for itself, and did: pages of its own that it freed.
        """
        session, supervisor = self.session, self.core.supervisor
        assert session.stop is finding
        assert finding in session.findings
        kinds = [record.event for record in session.events]
        assert isinstance(kinds[-1], SystemReset)
        assert kinds[-1].cause == finding.kind.number
        fatal = [event for event in kinds if isinstance(event, FindingMade) and event.fatal]
        assert [event.number for event in fatal] == [finding.kind.number]
        served = sum(isinstance(event, MmiBegan) for event in kinds)
        for attempt in (
            lambda: session.communicate(GUIDS["gSampleEchoHandlerGuid"], bytes(32)),
            session.trigger,
            lambda: serve_mmi(supervisor, "past its end"),
        ):
            with pytest.raises(SystemStopError) as caught:
                attempt()
            assert caught.value.finding is finding
        assert sum(isinstance(record.event, MmiBegan) for record in session.events) == served
        broken = {complaint.split(":")[0] for complaint in broken_invariants(self.core)}
        assert broken == set(given_up), broken_invariants(self.core)

    def assert_reason(self, finding: Finding, case: catalogue.Case, address: int | None = None) -> None:
        """The finding is the one that the sample's own table and ``findings.toml`` ask for.

        Args:
            finding: What ended the run.
            case: The case as the sample describes it.
            address: What the case's ``address`` stands for where it is no symbol or variable.
        """
        expected = expectations()[self.sample.name, case.name]
        assert finding.kind.number == expected.number, str(finding)
        assert finding.rule.startswith(expected.rule), finding.rule
        assert finding.mend
        if case.stop == "fault":
            self._assert_fault(finding, case, address)
        elif case.stop in ("call", "policy"):
            self._assert_call(finding, case)

    def _assert_fault(self, finding: Finding, case: catalogue.Case, address: int | None) -> None:
        assert finding.vector == case.vector, str(finding)
        if case.error_code is not None:
            assert finding.error_code == case.error_code
        assert finding.place is not None
        if case.at is not None and self._place(case.at) is not None:
            assert finding.place.address == self._place(case.at)
        if case.at in symbol_names(self.driver):
            self.assert_place(finding.place, case.at)
        if case.address is None:
            assert finding.address is None
        else:
            expected = self._place(case.address)
            assert finding.address == (address if expected is None else expected)
            if finding.kind.number == "MM-1105":
                entered = self.module.place(self.module.entry)
                assert finding.detail.startswith(f"entered at {entered}, it returned by RET to {finding.address:#x}")
            else:
                assert finding.detail.startswith(f"{case.access} at {finding.address:#x}")

    def _assert_call(self, finding: Finding, case: catalogue.Case) -> None:
        assert (finding.vector, finding.error_code, finding.address) == (None, None, None)
        calls = [record.event for record in self.session.events if isinstance(record.event, SystemCallMade)]
        fatal = [call for call in calls if call.result is None]
        assert len(fatal) == 1
        assert case.call is not None
        number = Status[case.status] if case.status else None
        assert number is None or finding.status == number
        assert finding.detail.startswith((f"{fatal[0].call}: ", f"system call {case.call:#x} "))
        assert finding.place is not None
        if case.at is not None:
            self.assert_place(finding.place, case.at)

    def _place(self, text: str) -> int | None:
        """The address that a place of the sample's table names, or None for plain words."""
        if text in ("0", "0x50"):
            return int(text, 16)
        found = re.fullmatch(r"\*(\w+)(?: - (\d+))?", text)
        if found:
            return (self.variable(found[1]) - int(found[2] or 0)) & NOT_ANSWERED
        if text in symbol_names(self.driver) and not text.startswith("SysCall"):
            return self.module.base + symbol(self.driver, text).rva
        return None

    def assert_place(self, place: Place, name: str) -> None:
        """The place is at a symbol of the shipped map; within it for the system-call stub, which has no label."""
        found = symbol(self.driver, name)
        assert place.driver == self.driver
        assert place.offset is not None
        assert place.address - place.offset == self.module.base
        if name == "SysCall":
            assert found.rva <= place.offset < found.rva + found.size
            assert place.symbol.startswith("SysCall+")
        else:
            assert place.offset == found.rva
            assert place.symbol in {one.name for one in prebuilt.symbols(self.driver) if one.rva == found.rva}


def symbol(driver: str, name: str) -> prebuilt.Symbol:
    """The only symbol of that name in the shipped map."""
    (found,) = (one for one in prebuilt.symbols(driver) if one.name == name)
    return found


def shipped_map(driver: str) -> Symbols:
    """The shipped map, for images that differ from the shipped one in headers only."""
    known = prebuilt.symbols(driver)
    return Symbols(tuple(one.rva for one in known), tuple(one.name for one in known))


def symbol_names(driver: str) -> frozenset[str]:
    """All names in the shipped map."""
    return frozenset(one.name for one in prebuilt.symbols(driver))


@contextmanager
def staged(
    sample: str, *, driver: str = "", image: bytes | None = None, policy: bytes | None = None
) -> Iterator[Stage]:
    """Boot a sample's driver, or its twin, alone with the broker.

    Args:
        sample: The sample, whose messages are sent.
        driver: The driver to boot; by default the sample's own.
        image: Another image than the shipped one.
        policy: Another policy than the default one.
    """
    name = driver or sample
    known = prebuilt.driver(name)
    session = boot_driver(
        prebuilt.image(name) if image is None else image,
        name,
        known.guid,
        depex=known.depex,
        policy=policy,
        description=DESCRIPTION,
        symbols=shipped_map(name),
    )
    with session:
        yield Stage(SAMPLES[sample], session, name)
