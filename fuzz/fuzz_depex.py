"""Dependency expressions: read, print, evaluate; printed text must read back to the same answer."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.depex import (
    Reason,
    all_of,
    can_be_true,
    encode,
    encode_before,
    evaluate,
    parse_depex,
    parse_expression,
    required_guids,
)
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.reader import Reader

_NAMES = ("gEfiMmCpuProtocolGuid", "gMmRing3HandlerReadyProtocol", "gEfiPcdProtocolGuid")


def seeds() -> list[bytes]:
    """Expressions of each shape."""
    guids = [known_guid(name) for name in _NAMES]
    mixed = parse_expression(f"{_NAMES[0]} AND NOT ({_NAMES[1]} OR {_NAMES[2]} AND TRUE) OR FALSE")
    return [encode(all_of(*guids)), encode(mixed, schedule_on_request=True), encode(mixed), encode_before(guids[0])]


def target(data: bytes) -> None:
    """Everything that is asked of an expression."""
    depex = parse_depex(Reader(data, "fuzz"))
    for answer in (True, False):
        verdict = evaluate(depex, lambda _guid, answer=answer: answer)
        assert verdict.reason is Reason.END or not verdict.value
        assert not verdict.value or can_be_true(depex) or verdict.misplaced
        if not depex.flaws and depex.order is None and depex.infix != depex.postfix and verdict.reason is Reason.END:
            again = parse_depex(Reader(encode(parse_expression(depex.infix)), "again"))
            assert evaluate(again, lambda _guid, answer=answer: answer).value is verdict.value
    required_guids(depex)


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
