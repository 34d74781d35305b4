"""The reference's own tests (docs/reference/reference-tests.md): for each row what of ours tests the same."""

from __future__ import annotations

import re

import pytest

from tests.core.tables import CHECKOUT, missing, sheet_section

SHEET = "reference-tests"
DECIDE, TOOL = "tests/policy/test_policy_decide.py", "tests/policy/test_policy_reference_cases.py"
REQUESTS = "tests/core/test_reference_requests.py"

GATE = {
    "PolicyGateMatchEntryOnAllowIoList": f"{DECIDE}::test_reference_io_lists",
    "PolicyGateMatchEntryOnDenyIoList": f"{DECIDE}::test_reference_io_lists",
    "PolicyGateOnOverflowIoRequests (ALLOW)": f"{DECIDE}::test_reference_overflowing_io_requests",
    "PolicyGateMatchEntryOnAllowMsrList": f"{DECIDE}::test_reference_msr_lists",
    "PolicyGateMatchEntryOnDenyMsrList": f"{DECIDE}::test_reference_msr_lists",
    "PolicyGateMatchEntryOnAllowInsList": f"{DECIDE}::test_reference_instruction_lists",
    "PolicyGateMatchEntryOnDenyInsList": f"{DECIDE}::test_reference_instruction_lists",
}

APP = {
    'MmSupvReqestVersion ("Checksum calculation test")': f"{REQUESTS}::test_version_request",
    "MmSupvReqestUnblockMemory": f"{REQUESTS}::test_unblock_memory_request",
    "MmSupvReqestPolicy": f"{REQUESTS}::test_policy_request",
    "MmSupvPolicyInspection": f"{REQUESTS}::test_policy_inspection",
    "MmSupvUpdateCommBuff": f"{REQUESTS}::test_update_comm_buffer_request",
}

UNTESTED_THERE = {
    "SecurityPolicyCheck": "tests/policy/test_policy_check.py::test_rule_1_needs_all_three",
    "strict width": f"{DECIDE}::test_strict_entries_protect_one_width_only",
    "unblock success/overlap": "tests/core/test_unblocked.py::test_overlaps",
    "save state": "tests/core/test_save_state.py::test_without_a_save_state_root_everything_is_readable",
    "memory policy generation": "tests/policy/test_policy_memory.py::test_populate_completes_the_mem_root",
    "ring transitions": "tests/core/test_surprises_seen.py::test_the_stack_at_entry",
    "page tables": "tests/core/test_entry.py::test_copies_and_their_owners",
    "image protection": "tests/core/test_dispatcher.py::test_image_pages_and_attributes",
}
"""What surprise 1 says that no test of the reference covers."""


def rows(heading: str) -> list[str]:
    """First cells of the first table below a heading."""
    lines = [line for line in sheet_section(SHEET, heading).splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ")[0] for line in lines[2:]]


@pytest.mark.parametrize(("heading", "table"), [("## 1. ", GATE), ("## 3. ", APP)])
def test_every_row_has_a_test(heading: str, table: dict[str, str]) -> None:
    assert rows(heading) == list(table)
    assert missing(table.values()) == []


def test_every_case_of_the_policy_tool_is_named_where_it_is_tested() -> None:
    text = (CHECKOUT / TOOL).read_text(encoding="utf-8")
    cases = rows("## 2. ")
    assert len(cases) == 24
    assert [case for case in cases if not re.search(rf"\b{case}\b", text)] == []


def test_what_the_reference_does_not_test_is_tested_here() -> None:
    surprise = sheet_section(SHEET, "## Surprises").split("\n2. ")[0]
    for subject in UNTESTED_THERE:
        assert subject in surprise
    assert surprise.count(",") == len(UNTESTED_THERE) - 1
    assert missing(UNTESTED_THERE.values()) == []
