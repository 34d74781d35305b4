"""Structures of fixed layout, and communication messages: what was read must be written the same."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.errors import FormatError
from mmsupervisor.pi.guid import GUID_SIZE, Guid
from mmsupervisor.pi.memory_types import MemoryDescriptor
from mmsupervisor.pi.message import CommBufferStatus, Message, MessageV3, parse_message
from mmsupervisor.pi.mmram import MmramDescriptor
from mmsupervisor.pi.mmst import EntryContext
from mmsupervisor.pi.reader import Reader
from mmsupervisor.pi.service_table import TableHeader

NAME = Guid.parse("11111111-2222-3333-4444-555555555555")
STRUCTURES = (MemoryDescriptor, MmramDescriptor, CommBufferStatus, EntryContext, TableHeader)


def seeds() -> list[bytes]:
    """A message of each version, long enough to be read as any of the structures."""
    return [Message(NAME, b"some data" * 8).pack(), MessageV3(NAME, b"some data" * 8, room=7).pack()]


def target(data: bytes) -> None:
    """Read as each structure, write again; then as a message."""
    for structure in STRUCTURES:
        try:
            found = structure.parse(Reader(data, "fuzz"))
        except FormatError:
            continue
        packed = found.pack()
        assert structure.parse(Reader(packed, "again")) == found
    message = parse_message(Reader(data, "fuzz"))
    assert parse_message(Reader(message.pack(), "again")) == message
    assert message.pack()[: GUID_SIZE + 8] == data[: GUID_SIZE + 8]


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
