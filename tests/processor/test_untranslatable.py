"""Where instructions begin that Unicorn must not see; what becomes of them is tested in the conformance suite."""

from __future__ import annotations

import pytest

from mmsupervisor.processor.untranslatable import untranslatable_offsets


@pytest.mark.parametrize(
    ("code", "offsets"),
    [
        ("f0 0fabc0", [0]),  # lock bts eax, eax
        ("90 f0 0fbae8 07", [1]),  # lock bts eax, 7
        ("66 f0 48 0fb3d8", [0, 1]),
        ("0fbaf0 0fabc0", [2]),  # the operand of one instruction is the prefix of another, its last byte the opcode
        ("0fbaf0 0fbae8 07", [2]),
        ("0fabc0", []),  # without LOCK
        ("f0 0fab00", []),  # of memory
        ("f0 90 0fabc0", []),
    ],
)
def test_where_they_begin(code: str, offsets: list[int]) -> None:
    assert untranslatable_offsets(bytes.fromhex(code)) == offsets
