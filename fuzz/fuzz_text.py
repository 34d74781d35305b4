"""What people write: GUIDs and dependency expressions; what was understood must print as what means the same."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.format_harness import main
from mmsupervisor.pi.depex import encode, evaluate, parse_depex, parse_expression
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.reader import Reader


def seeds() -> list[bytes]:
    """Names, registry forms, operators."""
    return [
        b"gEfiPcdProtocolGuid",
        b"{8C8CE578-8A3D-4F1C-9935-896185C32DD3}",
        b"gEfiPcdProtocolGuid AND NOT (gEfiMmCpuProtocolGuid OR TRUE)",
        b"not not (((8C8CE578-8A3D-4F1C-9935-896185C32DD3))) or false and TRUE",
    ]


def target(data: bytes) -> None:
    """Read as a GUID, then as an expression."""
    text = data.decode("utf-8", "replace")
    with suppress(MmSupervisorError):
        guid = Guid.parse(text)
        assert Guid.parse(str(guid)) == Guid.parse(guid.label) == guid
    depex = parse_depex(Reader(encode(parse_expression(text)), "fuzz"))
    assert depex.flaws == ()
    if depex.infix != depex.postfix:
        again = parse_depex(Reader(encode(parse_expression(depex.infix)), "again"))
        for answer in (True, False):
            installed = lambda _guid, answer=answer: answer  # noqa: E731
            assert evaluate(again, installed).value is evaluate(depex, installed).value


if __name__ == "__main__":
    sys.exit(main(target, seeds()))
