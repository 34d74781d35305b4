"""Taking a blob apart into pieces and putting it together again without losing a byte."""

from __future__ import annotations

from collections.abc import Iterable

from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.policy.model import Extra


class PolicyLayoutError(MmSupervisorError):
    """A model that no blob can express: two lists disagree about a byte, a gap, or a value that does not fit."""


def uncovered(spans: Iterable[tuple[int, int]], data: bytes) -> tuple[Extra, ...]:
    """The bytes of ``data`` that lie in none of the (start, end) ranges, in order."""
    extras = []
    covered = 0
    for start, end in [*sorted(span for span in spans if span[0] < span[1]), (len(data), len(data))]:
        if start > covered:
            extras.append(Extra(covered, data[covered:start]))
        covered = max(covered, end)
    return tuple(extras)


def join_pieces(pieces: Iterable[tuple[int, bytes]], file: str) -> bytes:
    """Put (offset, bytes) pieces together. They may overlap where they agree.

    Args:
        pieces: At least one piece.
        file: Name of the blob in messages.

    Raises:
        PolicyLayoutError: two pieces disagree about a byte, or a byte before the last one is in no piece.
    """
    out = bytearray()
    written = bytearray()
    for offset, data in pieces:
        end = offset + len(data)
        if end > len(out):
            grow = bytes(end - len(out))
            out += grow
            written += grow
        if any(written[offset:end]):
            for at, new in enumerate(data, offset):
                if written[at] and out[at] != new:
                    raise PolicyLayoutError(f"{file}: two parts of the policy disagree about the byte at {at:#x}")
        out[offset:end] = data
        written[offset:end] = b"\1" * len(data)
    if 0 in written:
        raise PolicyLayoutError(f"{file}: no part of the policy covers the byte at {written.index(0):#x}")
    return bytes(out)
