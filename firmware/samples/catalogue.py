#!/usr/bin/env python3
"""What the sample drivers show and what must happen: every ``sample.toml``, read and checked.

Tests drive the samples from here; run as a program this writes the table of README.md anew:

    python firmware/samples/catalogue.py

A case's ``stop`` says how it ends:

=========  =====================================================================================================
none       the handler comes back and its Status is ``status`` (SUCCESS if not given)
fault      exception ``vector`` with ``error_code``, RIP at ``at``; for a page fault also ``access`` and ``address``
call       system call ``call``, made at ``at``, is refused: fatal, internal status ``status`` where it is known
policy     as ``call`` where the isolation policy or the operands say so, else as ``none``
budget     it never ends by itself
entry      the entry point returns ``status``; the image is unloaded
load       the image is not started: ``status``
never      the dispatcher never starts the driver
=========  =====================================================================================================

Places are symbols of the image; ``*NAME`` is the address that the variable NAME holds; other words are plain text.
"""

from __future__ import annotations

import re
import struct
import sys
import tomllib
import uuid
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).resolve().parent
GUID_HEADER = SAMPLES / "sample_guids.h"
STOPS = ("none", "fault", "call", "policy", "budget", "entry", "load", "never")

_BEGIN = "<!-- begin: written by catalogue.py -->"
_END = "<!-- end -->"


class SampleError(Exception):
    """A ``sample.toml`` says what cannot be; the text is one line that names it."""


@dataclass(frozen=True)
class Case:
    """One thing that a sample shows.

    Attributes:
        name: Its name, unique within the sample.
        shows: What the driver does.
        rule: Where the rule stands: a file of ``docs/reference/`` and its section.
        stop: How it ends, see the module's table.
        number: What selects it in a message; None for what happens at dispatch.
        arguments: What the message's arguments must hold for the offence and its twin.
        vector: Exception vector.
        error_code: What the processor pushes, where that does not depend on the platform.
        at: Where RIP is: the label of the offending instruction, of the system call, or the target.
        access: ``read``, ``write`` or ``execute``, for a page fault.
        address: CR2 of a page fault.
        call: Number of the refused system call.
        status: Name of an EFI status, without its prefix.
        mailbox: What the sender sees, where that is not SUCCESS.
        twin: What the benign twin does; it must come back with Status SUCCESS.
    """

    name: str
    shows: str
    rule: str
    stop: str
    number: int | None = None
    arguments: tuple[int, ...] = ()
    vector: int | None = None
    error_code: int | None = None
    at: str | None = None
    access: str | None = None
    address: str | None = None
    call: int | None = None
    status: str | None = None
    mailbox: str | None = None
    twin: str | None = None


@dataclass(frozen=True)
class Message:
    """The fixed part of a sample's payload.

    Attributes:
        type: Its name in C.
        format: The same for ``struct``.
        fields: Names of the members; an array is one.
    """

    type: str
    format: str
    fields: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return struct.calcsize(self.format)


@dataclass(frozen=True)
class Sample:
    """One folder with a ``sample.toml``; ``driver.toml`` beside it describes the build.

    Attributes:
        name: The driver's name.
        folder: Its folder.
        shows: What it is for.
        handler: Name of its message GUID.
        protocol: Name of the protocol that it installs once it got to its end.
        twin: The driver that is its benign twin.
        message: Its payload, if it takes messages.
        cases: What it shows.
    """

    name: str
    folder: Path
    shows: str
    handler: str | None = None
    protocol: str | None = None
    twin: str | None = None
    message: Message | None = None
    cases: tuple[Case, ...] = field(default=())

    def case(self, name: str) -> Case:
        """The case of this name."""
        return next(case for case in self.cases if case.name == name)


def read_sample(path: Path) -> Sample:
    """Read one ``sample.toml``; keys that nobody knows are errors."""
    text: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    name = tomllib.loads((path.parent / "driver.toml").read_text("utf-8"))["name"]
    cases = [
        _case(path, {**case, "rule": group["rule"]}) for group in text.pop("groups", []) for case in group["cases"]
    ]
    message = text.pop("message", None)
    if message is not None:
        message = Message(message["type"], message["format"], tuple(message["fields"]))
    unknown = set(text) - {item.name for item in fields(Sample)}
    if unknown or len({case.name for case in cases}) != len(cases):
        raise SampleError(f"{path.parent.name}/sample.toml: unknown keys {sorted(unknown)}, or a case twice")
    return Sample(name=name, folder=path.parent, message=message, cases=tuple(cases), **text)


def _case(path: Path, text: dict[str, Any]) -> Case:
    unknown = set(text) - {item.name for item in fields(Case)}
    if unknown or text["stop"] not in STOPS:
        raise SampleError(f"{path.parent.name}/sample.toml: {text['name']}: unknown {sorted(unknown) or text['stop']}")
    return Case(**{**text, "arguments": tuple(text.get("arguments", ()))})


def samples() -> tuple[Sample, ...]:
    """All samples by name."""
    return tuple(sorted(map(read_sample, SAMPLES.glob("*/sample.toml")), key=lambda sample: sample.name))


def guids() -> dict[str, uuid.UUID]:
    """Names and values of ``sample_guids.h``."""
    found = {}
    for name, values in re.findall(r"^MM_GUID\((\w+), (.*)\);$", GUID_HEADER.read_text("utf-8"), re.MULTILINE):
        numbers = [int(value, 16) for value in values.split(",")]
        found[name] = uuid.UUID(bytes_le=struct.pack("<IHH8B", *numbers))
    return found


# --- README ---------------------------------------------------------------------------------------------------


def outcome(case: Case) -> str:
    """What must happen, in words."""
    at = f" at `{case.at}`" if case.at else ""
    status = case.status or ""
    if case.stop == "fault":
        code = f" ({case.error_code:#x})" if case.error_code is not None else ""
        touched = f", {case.access} of `{case.address}`" if case.access else ""
        return f"vector {case.vector}{code}{at}{touched}"
    words = {
        "none": f"comes back: {status or 'SUCCESS'}" + (f", mailbox {case.mailbox}" if case.mailbox else ""),
        "call": f"call {case.call or 0:#x} fatal{f' ({status})' if status else ''}{at}",
        "policy": f"call {case.call or 0:#x} comes back, or is fatal by policy{at}",
        "budget": "never ends: budget",
        "entry": f"entry point returns {status}: unloaded",
        "load": f"not started: {status}",
        "never": "never dispatched",
    }
    return words[case.stop]


def render(sample: Sample) -> list[str]:
    """One sample's part of the README."""
    lines = [f"### {sample.name}", "", f"{sample.shows[0].upper()}{sample.shows[1:]}.", ""]
    facts = [
        f"Messages: `{sample.handler}`, `{sample.message.type}` = `{sample.message.format}`"
        f" ({', '.join(sample.message.fields)})."
        if sample.message
        else "",
        f"Installs `{sample.protocol}` at its end." if sample.protocol else "",
        f"Twin: `{sample.twin}`." if sample.twin else "",
    ]
    lines += [" ".join(fact for fact in facts if fact), ""] if any(facts) else []
    lines += ["| Case | Shows | Must happen | Twin | Rule |", "|---|---|---|---|---|"]
    for case in sample.cases:
        number = f"{case.number:#x} " if case.number is not None else ""
        arguments = f" ({', '.join(hex(value) for value in case.arguments)})" if case.arguments else ""
        lines.append(
            f"| {number}{case.name} | {case.shows}{arguments} | {outcome(case)} | {case.twin or ''} | {case.rule} |"
        )
    return [*lines, ""]


def readme_text(old: str) -> str:
    """The README with its written part made anew."""
    head, rest = old.split(_BEGIN)
    tail = rest.split(_END)[1]
    body = "\n".join(line for sample in samples() for line in render(sample))
    return f"{head}{_BEGIN}\n\n{body}\n{_END}{tail}"


def main() -> int:
    """Write the README's table."""
    path = SAMPLES / "README.md"
    path.write_text(readme_text(path.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
