"""What a developer must consider (developer-considerations.md): each consideration is enforced or reported, and tested.

The first table is the sheet's own checker list (§9), the second its rules (§1 to §8.1). A place is the test that shows
the rule broken and noticed, in a run where a run can notice it, else in an image that `mmsup info` reads.
"""

from __future__ import annotations

import re

from tests.core.tables import REFERENCE, missing, sheet_section

SHEET = "developer-considerations"
CORE, SAMPLES, IMAGES, POLICY = "tests/core", "tests/samples", "tests/inventory/test_checks.py", "tests/policy"
PLANTED = f"{IMAGES}::test_a_planted_fault_is_found"
OFFENCES = f"{SAMPLES}/test_offenders.py::test_offence_is_stopped_for_its_reason"
ENTRY_POINTS = f"{SAMPLES}/test_entry_offenders.py::test_entry_point_ends_the_system"
ENTRY_FAILURES = f"{SAMPLES}/test_entry_offenders.py::test_entry_point_fails_and_the_system_lives_on"
HANDLER_AUDIT = "tests/audit/test_handlers.py::test_mistake_is_found_and_its_twin_is_clean"
OVMF = "tests/dxe/test_traditional_ovmf.py"

CHECKER_LIST: dict[str, tuple[str, ...]] = {
    "C1": (f"{CORE}/test_discovery.py::test_nested_volumes_are_not_walked", PLANTED),
    "C2": (f"{CORE}/test_discovery.py::test_the_policy_lies_in_the_cores_volume_only", PLANTED),
    "C3": (
        f"{CORE}/test_discovery.py::test_a_file_without_depex_is_silently_passed_over",
        f"{CORE}/test_discovery.py::test_a_file_without_pe32_hides_all_later_files",
        PLANTED,
    ),
    "C4": (f"{CORE}/test_dispatcher.py::test_a_driver_before_the_broker_is_told", PLANTED),
    "C5": (f"{SAMPLES}/test_entry_offenders.py::test_expression_never_comes_true", PLANTED),
    "C6": (f"{SAMPLES}/test_entry_offenders.py::test_ret_goes_where_the_slot_says",),
    "C7": (f"{SAMPLES}/test_entry_offenders.py::test_unsound_image_is_not_started_and_the_system_lives_on", PLANTED),
    "C8": (f"{SAMPLES}/test_entry_offenders.py::test_section_flags_that_do_not_count", PLANTED),
    "C9": (OFFENCES,),
    "C10": (f"{OVMF}::test_the_census_tells_what_is_not_there",),
    "C11": (ENTRY_FAILURES,),
    "C12": (f"{SAMPLES}/test_platform.py::test_waits_for_milestones_under_traditional_names",),
    "C13": (f"{SAMPLES}/test_declared_failures.py::test_declared_failure_is_fatal_with_its_status",),
    "C14": (f"{SAMPLES}/test_wild_addresses.py::test_refused",),
    "C15": (ENTRY_POINTS, f"{SAMPLES}/test_entry_offenders.py::test_message_ends_the_system"),
    "C16": (
        f"{CORE}/test_unblocked.py::test_after_ready_to_lock",
        f"{CORE}/test_unblocked.py::test_overlaps",
        f"{CORE}/test_unblocked.py::test_same_pages_but_another_descriptor",
    ),
    "C17": (HANDLER_AUDIT,),
    "C18": (
        f"{CORE}/test_mmi.py::test_length_zero_never_reaches_a_handler",
        f"{CORE}/test_mmi.py::test_sizes_of_user_messages",
        f"{CORE}/test_mmi.py::test_sizes_of_supervisor_messages",
    ),
    "C19": (f"{CORE}/test_dispatcher.py::test_a_failed_driver_is_unloaded_and_what_it_registered_stays",),
    "C20": (f"{SAMPLES}/test_services.py::test_an_ap_procedure_with_a_null_argument_is_silently_not_run",),
}

RULES: dict[str, tuple[str, ...]] = {
    "1 one scan, none after": (
        f"{CORE}/test_discovery.py::test_volumes_contribute_in_hob_order",
        f"{CORE}/test_dispatcher.py::test_the_request_stays_until_all_ran",
        f"{SAMPLES}/test_entry_offenders.py::test_file_without_an_image_makes_ring_0_fault",
    ),
    "2 no dynamic PCD": (f"{OVMF}::test_the_census_tells_what_is_not_there", PLANTED),
    "3 no gBS": (ENTRY_POINTS, PLANTED),
    "4 no gDS, no tables, HOB list by system call": (
        f"{SAMPLES}/test_services.py::test_configuration_tables_go_to_the_supervisor_only",
        f"{SAMPLES}/test_services.py::test_the_hob_list_is_a_read_only_copy",
    ),
    "5 memory outside MMRAM must be unblocked": (
        f"{SAMPLES}/test_entry_offenders.py::test_memory_that_nobody_unblocked",
        f"{SAMPLES}/test_services.py::test_unblocked_memory_is_usable_and_nothing_around_it",
        f"{SAMPLES}/test_services.py::test_memory_unblocked_in_pei_is_open_from_the_first_driver_on",
    ),
    "5 the launch in PEI and the one in DXE": (
        "tests/ipl/test_launch_differences.py::test_row_24_unblocking_by_hob",
        "tests/ipl/test_launch_differences.py::test_row_25_unblocking_by_protocol",
    ),
    "6 the broker is the first user driver": (
        f"{SAMPLES}/test_entry_offenders.py::test_driver_before_the_broker_finds_no_table",
        f"{CORE}/test_calls.py::test_each_may_be_registered_once",
    ),
    "7 HOBs of the launch only": ("tests/ipl/test_launch_differences.py::test_row_09_a_hob_built_late_in_pei",),
    "7 a relay stands in for DXE's events": (
        f"{SAMPLES}/test_platform.py::test_a_relay_sends_its_message_when_its_event_comes",
        "tests/dxe/test_milestones.py::test_milestones_tell_the_same_by_phase_and_by_event",
    ),
    "7 lifecycle under the broker's names": (
        f"{SAMPLES}/test_platform.py::test_phases_bring_the_lifecycle_protocols_in_a_devices_order",
    ),
    "7 messages nobody serves": (f"{CORE}/test_mmi.py::test_no_handler",),
    "8 module type": (
        f"{CORE}/test_discovery.py::test_other_file_types_are_no_drivers",
        f"{CORE}/test_traditional.py::test_without_the_relaxation_they_are_not_there",
    ),
    "8 revision": (ENTRY_FAILURES,),
    "8 no code pages": (f"{CORE}/test_calls.py::test_pages_refused",),
    "8 section alignment, code sections": (f"{CORE}/test_dispatcher.py::test_adjacent_code_sections_lose_the_second",),
    "8 MMRAM is large enough": (f"{CORE}/test_dispatcher.py::test_no_memory_for_an_image",),
    "8 hardware by policy": (
        f"{SAMPLES}/test_entry_offenders.py::test_policy_decides",
        f"{POLICY}/test_policy_decide.py::test_a_denial_names_the_rule_and_its_place",
    ),
}


def test_every_check_of_the_sheet_is_in_the_table() -> None:
    listed = re.findall(r"^\| (C\d+) \|", sheet_section(SHEET, "## 9. "), re.MULTILINE)
    assert len(listed) == 20
    assert list(CHECKER_LIST) == listed


def test_every_rule_of_the_sheet_has_a_place() -> None:
    text = (REFERENCE / f"{SHEET}.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^## (\d+)\. ", text, re.MULTILINE)
    rules = [number for number in numbers if number not in ("0", "9", "10")]
    assert list(dict.fromkeys(name.split(" ", maxsplit=1)[0] for name in RULES)) == rules


def test_the_tests_exist() -> None:
    assert missing(place for places in (*CHECKER_LIST.values(), *RULES.values()) for place in places) == []


def test_a_missing_test_would_be_noticed() -> None:
    assert missing([f"{CORE}/test_calls.py::test_nothing_of_the_kind"]) != []
