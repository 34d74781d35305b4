"""The broker's start, wrappers and lifecycle against docs/reference/boot-flow.md sections 9 and 11, on the host."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.firmware.broker_host import INVALID_PARAMETER, NOT_AVAILABLE_YET, Host, compile_host

START = [
    "sys 1001b",
    "sys 10000 central ap NULL",
    "sys 10019 mmst NULL NULL",
    "sys 10004 0 6 1",  # the database's first record
    "sys 1001a gEfiMmCpuProtocolGuid",
    "sys 1001a gMmRing3HandlerReadyProtocol",
    "sys 10007 gEfiDxeMmReadyToLockProtocolGuid",
    "sys 10007 gEfiMmEndOfPeiProtocol",
    "sys 10007 gEfiEndOfDxeEventGroupGuid",
    "sys 10007 gEfiEventExitBootServicesGuid",
    "sys 10007 gEfiEventReadyToBootGuid",
]


def test_start_sequence(host: Host) -> None:
    assert host.talk(["start"]) == [*START, "0 NULL"]


def test_handler_profile_comes_last_and_only_when_asked_for(tmp_path: Path) -> None:
    profiled = Host(compile_host(tmp_path / "profiled", "-DBROKER_HANDLER_PROFILE=1"))
    assert profiled.talk(["start"]) == [*START, "sys 1001a gSmiHandlerProfileGuid", "0 NULL"]
    assert profiled.answers("first gSmiHandlerProfileGuid", start="start") == ["0 profile"]


def test_what_is_installed(host: Host) -> None:
    answers = host.answers("first gEfiMmCpuProtocolGuid", "first gMmRing3HandlerReadyProtocol", start="start")
    assert answers == ["0 cpu", "0 NULL"]


def test_end_of_pei_and_dxe_repeat(host: Host) -> None:
    commands = ["send gEfiMmEndOfPeiProtocol", "send gEfiEndOfDxeEventGroupGuid"] * 2
    assert (
        host.since(*commands)
        == [
            "sys 1001a gEfiMmEndOfPeiProtocol",
            "0 -",
            "sys 1001a gEfiMmEndOfDxeProtocolGuid",
            "0 -",
        ]
        * 2
    )


def test_ready_to_boot_and_exit_boot_services_come_once(host: Host) -> None:
    for guid in ("gEfiEventReadyToBootGuid", "gEfiEventExitBootServicesGuid"):
        assert host.since(f"send {guid}", f"send {guid}") == [f"sys 1001a {guid}", "0 -", "0 -"]


def test_ready_to_lock_takes_its_handler_away_first(host: Host) -> None:
    assert host.since("send gEfiDxeMmReadyToLockProtocolGuid") == [
        "sys 10018 700 NULL NULL",  # the handle of the first registration
        "sys 1001a gEfiMmReadyToLockProtocolGuid",
        "0 -",
    ]


def test_table_before_the_supervisor_fills_it(host: Host) -> None:
    table = bytes.fromhex(host.answers("table")[0])
    assert len(table) == 0xF0
    assert struct.unpack_from("<QIIII", table) == (0x54534D53, 0x00010050, 0x18, 0, 0)
    null = [offset for offset in range(0x18, 0xF0, 8) if not any(table[offset : offset + 8])]
    assert null == [0x18, 0x20, 0x78, 0x80, 0x88, 0x90, 0x98, 0xA0, 0xD8]
    assert len({table[offset : offset + 8] for offset in (0x30, 0x38, 0x40, 0x48)}) == 1, "one stub for CPU I/O"


def test_older_revision_is_a_build_define(tmp_path: Path) -> None:
    older = Host(compile_host(tmp_path / "older", "-DBROKER_MMST_REVISION=MM_MMST_REVISION_MU_BASECORE"))
    assert struct.unpack_from("<I", bytes.fromhex(older.answers("table")[0]), 8)[0] == 0x0001003C


def test_wrappers_answer_success_whatever_happened(host: Host) -> None:
    assert host.since("ap 11 2 33", "configuration-table 11 22 33") == [
        "sys 10006 11 2 33",
        "0 NULL",
        "sys 10001 11 22 33",
        "0 NULL",
    ]


def test_wrappers_that_look_at_an_argument(host: Host) -> None:
    assert host.answers("pages-null", "register-null", "cpu-io") == [
        f"{INVALID_PARAMETER} NULL",
        f"{INVALID_PARAMETER} NULL",
        f"{NOT_AVAILABLE_YET} NULL",
    ]


def test_page_hints_do_not_reach_the_supervisor(host: Host) -> None:
    assert host.since("pages 2 6 1") == ["sys 10004 2 6 1", "0 1:0"]


def test_save_state_takes_two_calls(host: Host) -> None:
    assert host.since("save-state 18 200 3") == ["sys 7 cpu 200 3", "sys 10021 cpu 18 NULL", "0 NULL"]
