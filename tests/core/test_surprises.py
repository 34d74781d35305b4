"""Every 'Surprise' of every fact sheet has a place here: the test that shows it, or why nobody can see it.

EVENTS are those that a run reports as a ``reference-bug`` event with their number; the others of SHOWN are visible
in the outcome itself (a status, a finding), where an event would say nothing more.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmsupervisor.policy.surprises import Surprise as PolicySurprise
from tests.core.tables import CHECKOUT, REFERENCE, missing

WORDS = ("surprise", "Surprises")

Surprise = tuple[str, int]

CORE, IPL, SAMPLES, POLICY, FIRMWARE = "tests/core", "tests/ipl", "tests/samples", "tests/policy", "tests/firmware"

MEM_ROOT = f"{POLICY}/test_policy_memory.py::test_a_mem_root_that_is_not_last_writes_over_what_follows"
LEVELS, MEMORY_LEVELS = (f"{POLICY}/test_policy_levels.py::{name}" for name in ("test_levels", "test_memory"))

EVENTS: dict[Surprise, str] = {
    ("boot-flow", 3): f"{CORE}/test_entry.py::test_their_place_is_not_judged",
    ("boot-flow", 5): f"{CORE}/test_calls.py::test_without_a_policy_ring_0_faults",
    ("boot-flow", 6): f"{CORE}/test_handlers.py::test_an_early_exit_leaks_the_depth_for_ever",
    ("boot-flow", 7): f"{CORE}/test_mmi.py::test_driver_dispatch_answers_only_eight_bytes_or_more",
    ("boot-flow", 8): f"{CORE}/test_requests.py::test_the_ready_to_boot_fallback_locks_nothing",
    ("boot-flow", 11): f"{CORE}/test_discovery.py::test_a_file_without_pe32_hides_all_later_files",
    ("boot-flow", 12): f"{CORE}/test_dispatcher.py::test_adjacent_code_sections_lose_the_second",
    ("boot-flow", 14): f"{CORE}/test_dispatcher.py::test_a_failed_driver_is_unloaded_and_what_it_registered_stays",
    ("boot-flow", 15): f"{CORE}/test_mmi.py::test_statuses_of_supervisor_handlers_collapse_too",
    ("communicate", 1): f"{CORE}/test_mmi.py::test_length_zero_never_reaches_a_handler",
    ("communicate", 2): f"{CORE}/test_mmi.py::test_at_runtime_the_supervisor_channel_is_refused_and_nobody_sees_it",
    ("communicate", 3): f"{CORE}/test_mmi.py::test_an_answer_that_is_too_long_is_reported_and_not_copied",
    ("communicate", 4): f"{CORE}/test_mmi.py::test_both_mailboxes_the_user_is_served_and_the_supervisor_waits",
    ("communicate", 6): f"{CORE}/test_requests.py::test_the_room_that_a_fetch_needs",
    ("communicate", 7): f"{CORE}/test_requests.py::test_too_many_ranges_fail_the_lock_and_the_flag_is_set_anyway",
    ("communicate", 10): f"{CORE}/test_mmi.py::test_version_3",
    ("communicate", 11): f"{CORE}/test_mmi.py::test_statuses_collapse",
    ("dxe-launch", 1): f"{IPL}/test_boot_events.py::test_runtime_with_buffers_that_are_boot_memory",
    ("dxe-launch", 4): f"{IPL}/test_boot_events.py::test_the_fallback_by_ready_to_boot_locks_nothing",
    ("dxe-launch", 5): f"{IPL}/test_boot_events.py::test_ready_to_lock_already_there_at_launch",
    ("dxe-launch", 6): f"{IPL}/test_slot_communicate.py::test_mm_takes_over_what_normal_memory_says_of_it",
    ("dxe-launch", 7): f"{IPL}/test_slot_communicate.py::test_row_9_as_many_bytes_as_the_handler_says",
    ("dxe-launch", 8): f"{IPL}/test_launch_differences.py::test_row_08_the_core_in_a_volume_without_hob",
    ("gmmst", 6): f"{CORE}/test_calls.py::test_without_an_argument_the_procedure_is_silently_not_run",
    ("gmmst", 13): f"{CORE}/test_calls.py::test_protocols",
    ("isolation-policy", 1): f"{CORE}/test_save_state.py::test_without_a_save_state_root_everything_is_readable",
    ("isolation-policy", 4): f"{POLICY}/test_policy_decide.py::test_strict_entries_protect_one_width_only",
    ("isolation-policy", 5): f"{POLICY}/test_policy_decide.py::test_the_first_match_stops_the_walk",
    ("isolation-policy", 6): f"{POLICY}/test_policy_save_state.py::test_rax_width_is_capped_by_an_enum",
    ("isolation-policy", 9): f"{CORE}/test_requests.py::test_fetch_locks_first",
    ("isolation-policy", 10): f"{POLICY}/test_policy_save_state.py::test_only_the_first_root_counts",
    ("isolation-policy", 11): f"{POLICY}/test_policy_save_state.py::test_conditions_that_nothing_tests_for",
    ("memory", 1): f"{CORE}/test_calls_memory.py::test_only_sixteen_bytes_are_judged",
    ("memory", 4): f"{CORE}/test_surprises_seen.py::test_what_section_headers_say_and_what_counts",
    ("memory", 6): f"{CORE}/test_surprises_seen.py::test_what_section_headers_say_and_what_counts",
    ("memory", 9): f"{CORE}/test_entry.py::test_mmio_that_is_not_aligned_is_not_opened",
    ("memory", 11): f"{CORE}/test_surprises_seen.py::test_freeing_pages_of_another_owner_succeeds_and_frees_nothing",
    ("save-state", 1): f"{CORE}/test_save_state.py::test_amd_io_ignores_a_small_width_and_writes_no_more",
    ("save-state", 2): f"{CORE}/test_save_state.py::test_the_holder_is_global_and_stays",
    ("save-state", 3): f"{CORE}/test_surprises_seen.py::test_amd_table_bases_give_their_low_half_twice",
    ("save-state", 4): f"{POLICY}/test_policy_save_state.py::test_unconditional_rax_still_needs_an_io_trap",
    ("syscall-abi", 2): f"{CORE}/test_calls.py::test_address_hints_never_arrive",
    ("syscall-abi", 10): f"{CORE}/test_surprises_seen.py::test_a_page_that_is_not_present_passes_as_ring_3s",
    ("syscall-abi", 12): f"{POLICY}/test_policy_decide.py::test_an_enclosing_access_is_not_covered",
    ("unblock", 1): f"{CORE}/test_unblocked.py::test_same_pages_but_another_descriptor",
    ("unblock", 2): f"{CORE}/test_unblocked.py::test_an_unaligned_start_has_no_rule_and_is_refused_by_name",
    ("unblock", 6): f"{CORE}/test_unblocked.py::test_identical",
}

SAME: dict[Surprise, Surprise] = {
    ("communicate", 8): ("unblock", 1),
    ("dxe-launch", 2): ("boot-flow", 1),
    ("gmmst", 5): ("syscall-abi", 2),
    ("gmmst", 7): ("gmmst", 13),
    ("boot-flow", 9): ("gmmst", 13),
    ("isolation-policy", 13): ("boot-flow", 5),
    ("memory", 2): ("syscall-abi", 10),
    ("memory", 3): ("boot-flow", 12),
    ("memory", 7): ("boot-flow", 3),
    ("syscall-abi", 8): ("isolation-policy", 6),
    ("syscall-abi", 9): ("memory", 1),
    ("communicate", 5): ("boot-flow", 7),
    ("communicate", 9): ("unblock", 4),
    ("developer-considerations", 2): ("boot-flow", 11),
    ("developer-considerations", 5): ("unblock", 4),
    ("developer-considerations", 7): ("boot-flow", 10),
    ("guids", 1): ("boot-flow", 10),
    ("guids", 2): ("boot-flow", 10),
    ("q35-platform", 5): ("levels", 8),
}
"""The same thing, told by two sheets."""

SHOWN: dict[Surprise, str] = {
    ("boot-flow", 1): f"{IPL}/test_launcher.py::test_the_cores_status_is_not_looked_at",
    ("boot-flow", 2): f"{CORE}/test_entry.py::test_the_reserve_hob_wins",
    ("boot-flow", 4): f"{CORE}/test_entry.py::test_comm_buffers_that_are_missing_or_wrong",
    ("boot-flow", 10): f"{SAMPLES}/test_platform.py::test_phases_bring_the_lifecycle_protocols_in_a_devices_order",
    ("communicate", 12): f"{CORE}/test_asserts.py::test_a_debug_build_stands_still",
    ("communicate", 13): f"{CORE}/test_mmi.py::test_the_whole_external_buffer_is_copied_in_each_time",
    ("developer-considerations", 4): f"{CORE}/test_surprises_seen.py::test_the_driver_judges_the_first_descriptor_only",
    ("developer-considerations", 6): f"{CORE}/test_dispatcher.py::test_a_driver_before_the_broker_is_told",
    ("developer-considerations", 8): f"{SAMPLES}/test_entry_offenders.py::test_ret_goes_where_the_slot_says",
    ("dxe-launch", 3): f"{IPL}/test_pi_smm_ipl.py::test_step_10_without_a_core_the_reason_is_lost",
    ("dxe-launch", 9): f"{IPL}/test_launch_differences.py::test_row_16_mm_base_till_the_end",
    ("gmmst", 1): f"{SAMPLES}/test_offenders.py::test_offence_is_stopped_for_its_reason",
    ("gmmst", 2): f"{SAMPLES}/test_entry_offenders.py::test_entry_point_ends_the_system",
    ("gmmst", 3): f"{SAMPLES}/test_services.py::test_configuration_tables_go_to_the_supervisor_only",
    ("gmmst", 4): f"{FIRMWARE}/test_broker_pool.py::test_pointers_are_8_modulo_16",
    ("gmmst", 8): f"{SAMPLES}/test_services.py::test_protocols",
    ("gmmst", 11): f"{FIRMWARE}/test_broker_start.py::test_table_before_the_supervisor_fills_it",
    ("gmmst", 12): f"{SAMPLES}/test_offenders.py::test_offence_is_stopped_for_its_reason",
    ("guids", 4): f"{CORE}/test_discovery.py::test_there_is_no_a_priori_list",
    ("isolation-policy", 3): f"{POLICY}/test_policy_check.py::test_rule_1_needs_all_three",
    ("isolation-policy", 7): f"{POLICY}/test_policy_memory.py::test_an_empty_walk_leaves_one_bogus_descriptor",
    ("isolation-policy", 8): MEM_ROOT,
    ("isolation-policy", 12): f"{POLICY}/test_policy_tool_decode.py::test_what_the_tool_takes",
    ("isolation-policy", 14): f"{POLICY}/test_policy_blob.py::test_the_default_policy_is_the_example",
    ("levels", 1): LEVELS,
    ("levels", 2): LEVELS,
    ("levels", 3): f"{CORE}/test_surprises_seen.py::test_io_never_scores_20",
    ("levels", 4): LEVELS,
    ("levels", 5): LEVELS,
    ("levels", 6): MEMORY_LEVELS,
    ("levels", 7): MEMORY_LEVELS,
    ("levels", 8): f"{CORE}/test_reference_requests.py::test_policy_inspection",
    ("levels", 9): f"{POLICY}/test_policy_levels.py::test_remarks_cost_nothing",
    ("levels", 10): LEVELS,
    ("memory", 5): "tests/pi/test_pe_load_rules.py::test_rules_that_depend_on_the_address_are_uncertain_without_one",
    ("memory", 8): f"{CORE}/test_entry.py::test_copies_and_their_owners",
    ("q35-platform", 1): f"{POLICY}/test_policy_blob.py::test_the_default_policy_is_the_example",
    ("q35-platform", 2): f"{CORE}/test_surprises_seen.py::test_device_windows_are_ring_3s",
    ("q35-platform", 3): f"{CORE}/test_surprises_seen.py::test_device_windows_are_ring_3s",
    ("q35-platform", 7): f"{IPL}/test_launcher.py::test_the_carve_out",
    ("syscall-abi", 1): f"{CORE}/test_calls.py::test_pages_refused",
    ("syscall-abi", 3): f"{CORE}/test_handlers.py::test_handles_are_supervisor_pointers",
    ("syscall-abi", 4): f"{CORE}/test_surprises_seen.py::test_the_stack_at_entry",
    ("syscall-abi", 7): f"{SAMPLES}/test_offenders.py::test_offence_is_stopped_for_its_reason",
    ("syscall-abi", 11): f"{CORE}/test_calls.py::test_instructions",
    ("syscall-abi", 15): f"{CORE}/test_calls.py::test_pages_only_on_the_bsp",
    ("telemetry", 1): f"{SAMPLES}/test_telemetry.py::test_a_blocked_call_is_blamed_on_the_core",
    ("telemetry", 2): f"{SAMPLES}/test_telemetry.py::test_a_fault_is_reported_with_vector_driver_rip_and_base",
    ("telemetry", 3): f"{SAMPLES}/test_telemetry.py::test_a_rip_in_mmram_but_in_no_image_is_not_reported",
    ("unblock", 3): f"{CORE}/test_unblocked.py::test_pages_that_are_present_already",
    ("unblock", 4): f"{CORE}/test_surprises_seen.py::test_after_the_lock_the_drivers_own_flag_is_still_down",
    ("unblock", 5): f"{CORE}/test_surprises_seen.py::test_the_driver_judges_the_first_descriptor_only",
    ("unblock", 7): f"{CORE}/test_entry.py::test_unblock_hobs_in_order_after_the_supervisors_own",
    ("unblock", 8): f"{CORE}/test_entry.py::test_a_bad_unblock_hob_does_not_stop_the_others",
    ("unblock", 9): f"{CORE}/test_requests.py::test_the_size_of_the_buffer_counts_not_that_of_the_message",
}  # fmt: skip

DOCUMENT = "about the reference's documents or tests, not about what it does"
AUDIT = "about the page audit, a test build's handler that there is none of here"
DEVICE = "about devices and build settings of one platform that the core does not see"
DEAD = "about code that never runs"

UNSEEN: dict[Surprise, str] = {
    ("boot-flow", 13): "the core's own LoadedImage keeps the PUSH true whether the freed image's stays or not",
    ("developer-considerations", 1): DOCUMENT,
    ("developer-considerations", 3): DOCUMENT,
    ("developer-considerations", 9): "about how a driver was built: its PCD reads leave no trace in its image",
    ("gmmst", 9): "a use after free: corruption is never reproduced",
    ("gmmst", 10): "corruption too: our broker frees such a block into its bucket",
    ("guids", 3): "two names, two values: neither is looked for in the place of the other",
    ("guids", 5): "one value in three roles",
    ("guids", 6): "a matter of names",
    ("isolation-policy", 2): "formally indeterminate; taken as success, as the sheet says",
    ("memory", 10): "the text of a log line",
    ("memory", 12): AUDIT,
    ("memory", 13): AUDIT,
    ("memory", 14): AUDIT,
    ("q35-platform", 4): DEVICE,
    ("q35-platform", 6): DOCUMENT,
    ("q35-platform", 8): DEVICE,
    **{("reference-tests", number): DOCUMENT for number in range(1, 6)},
    ("save-state", 5): "about a library of a newer edk2 that this supervisor does not serve",
    ("save-state", 6): "the nested read of RAX cannot fail where the outer one did not",
    ("syscall-abi", 5): "a leak: registers are zero at entry, as the sheet advises",
    ("syscall-abi", 6): "ring 0 has no string code here that a flag could turn",
    ("syscall-abi", 13): DEAD,
    ("syscall-abi", 14): DEAD,
    ("telemetry", 4): DEVICE,
    ("telemetry", 5): "a policy that denies the reporter its ports: the report fails as any blocked call does",
    ("telemetry", 6): "one processor runs at a time: there is no lock to wait for",
    ("telemetry", 7): "no page fault is resolved, so each ends in the reset",
    ("telemetry", 8): "about the format of the record's storage",
}


def items(sheet: Path) -> list[int]:
    """Numbers of a sheet's surprises."""
    text = sheet.read_text(encoding="utf-8")
    parts = re.split(r"^## (?:\d+\. )?Surprises$", text, flags=re.MULTILINE)
    return [int(number) for number in re.findall(r"^(\d+)\. ", parts[1], flags=re.MULTILINE)] if len(parts) > 1 else []


ALL = {(sheet.stem, number) for sheet in sorted(REFERENCE.glob("*.md")) for number in items(sheet)}
TABLES = (EVENTS, SAME, SHOWN, UNSEEN)


def test_every_surprise_is_in_one_table() -> None:
    assert len(ALL) > 140
    placed = [surprise for table in TABLES for surprise in table]
    assert sorted(placed) == sorted(set(placed)), "no surprise is in two tables"
    assert set(placed) == ALL


def test_the_tests_exist() -> None:
    assert missing((*EVENTS.values(), *SHOWN.values())) == []


def names(surprise: Surprise) -> set[str]:
    """How code and tests may write a surprise."""
    sheet, number = surprise
    section = re.search(r"^## (\d+)\. Surprises", (REFERENCE / f"{sheet}.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {f"{sheet}.md §{section[1]}.{number}"} if section else {f"{sheet}.md {s} {number}" for s in WORDS}
    return listed | {f"Surprise.{one.name}" for one in PolicySurprise if one.source in listed}


def looks_at_event(surprise: Surprise, place: str) -> bool:
    """Whether a test, or the parameters in front of it, names the event's source."""
    file, name = place.split("::")
    text = (CHECKOUT / file).read_text(encoding="utf-8")
    start = text.index(f"def {name}(")
    around = text[:start].split("\n\n\n")[-1] + text[start:].split("\ndef ")[0]
    return any(one in around for one in names(surprise))


def test_the_tests_of_events_look_at_the_event() -> None:
    assert [surprise for surprise, place in EVENTS.items() if not looks_at_event(surprise, place)] == []


def test_the_same_surprise_is_shown_elsewhere() -> None:
    for other in SAME.values():
        assert other in EVENTS or other in SHOWN


def sources() -> set[Surprise]:
    """Every surprise that some code names as the source of a reference bug."""
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((CHECKOUT / "src" / "mmsupervisor").rglob("*.py"))
    )
    return {surprise for surprise in ALL if any(f'"{name}"' in code for name in names(surprise))}


def test_events_are_emitted_and_nothing_else_is() -> None:
    assert sources() == set(EVENTS)
