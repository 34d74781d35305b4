"""The tool's opinion of a v1.0 blob, in the order in which it forms it."""

import struct

import pytest

from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.model import AccessAttr, MemEntry, PolicyRoot, RootType
from mmsupervisor.policy.tool_decode import tool_refusal
from tests.policy.policy_vectors import EMPTY, EXAMPLE, UNIT_V1_0


def patched(offset: int, *values: int, blob: bytes = EXAMPLE) -> bytes:
    out = bytearray(blob)
    struct.pack_into(f"<{len(values)}I", out, offset, *values)
    return bytes(out)


@pytest.mark.parametrize(
    "blob",
    [
        EXAMPLE,
        EMPTY,
        UNIT_V1_0,
        EXAMPLE + b"tail",
        patched(0x08, 0x14F),
        patched(0x10, 1, 2, 3, 4),
        patched(0x28 + 20, 0xFFFFFF01),
    ],
)
def test_what_the_tool_takes(blob):
    assert tool_refusal(blob) is None


MEM_ROOT = 0x88


@pytest.mark.parametrize(
    ("blob", "refusal"),
    [
        (EXAMPLE[:39], "struct.error"),
        (patched(0x04, 0x151), "Exception: Invalid Size"),
        (patched(0x08, 0x150), "Exception: Invalid MemoryPolicyOffset"),
        (patched(0x20, 0x150), "Exception: Invalid PolicyRootOffset"),
        (patched(0x24, 0), "Exception: Invalid PolicyRootCount"),
        (patched(0x28, 2), "Exception: Invalid Version"),
        (patched(0x28 + 20, 2), "Exception: Invalid value"),
        (patched(0x28 + 8, 6), "NotImplementedError: Can't decode policy of type 6"),
        (patched(0xA4, 0x40), "Exception: Invalid value"),
        (patched(0x28 + 16, 23), "struct.error"),
        (patched(0x0C, 1), "RuntimeError: Legacy memory descriptor mismatched with new versions"),
        (patched(MEM_ROOT + 8, 2), "RuntimeError: Can't add duplicated policy of same type 2"),
        (patched(0x24, 2, blob=EMPTY), "struct.error"),
        (
            patched(MEM_ROOT + 8, 6),
            "RuntimeWarning: No memory policy root found from input binary, might want to check this",
        ),
        (patched(0x28 + 4, 0x19), "Exception: Incorrect decoding.  Size doesn't match"),
        (patched(0x28 + 16, 1), "Exception: Incorrect decoding.  Size doesn't match"),
    ],
)
def test_what_the_tool_says(blob, refusal):
    assert str(tool_refusal(blob)) == refusal


def test_the_tool_does_not_take_its_own_memory_lists():
    root = PolicyRoot(RootType.MEM, AccessAttr.ALLOW, (MemEntry(0, 0x1000, 3),))
    assert str(tool_refusal(write_blob(assemble([root])))) == "Exception: Invalid MemoryPolicyOffset"
