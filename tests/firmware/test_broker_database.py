"""The broker's protocol database against docs/reference/gmmst.md section 5, on the host."""

from __future__ import annotations

import struct

import pytest

from mmsupervisor.pi.guid_names import known_guid
from tests.firmware.broker_host import (
    BUFFER_TOO_SMALL,
    INVALID_PARAMETER,
    NOT_FOUND,
    UNSUPPORTED,
    VARIABLE,
    WRITE,
    Host,
    after,
)

NO_KEY = "3f"


def install(slot: int, guid: str, interface: int = 0x10, kind: int = 0) -> str:
    return f"install {slot:x} {guid} {interface:x} {kind:x}"


def test_install_refuses_what_the_sheet_refuses(host: Host) -> None:
    invalid = f"{INVALID_PARAMETER} NULL"
    assert host.answers(install(1, "NULL"), install(1, VARIABLE, kind=1)) == [invalid, invalid]
    twice = host.answers(install(1, VARIABLE), install(1, VARIABLE, 0x20))
    assert twice[1].startswith(INVALID_PARAMETER)
    wild = host.answers("pool 6 40 1", install(1, VARIABLE), "first " + VARIABLE)
    assert wild[1].startswith(INVALID_PARAMETER), "memory without the signature is no handle"
    assert wild[2].startswith(NOT_FOUND)


def test_records_lie_in_pool_as_the_sheet_lays_them_out(host: Host) -> None:
    # Entry, interface and handle take 128-byte blocks of a fresh page, in this order and downwards.
    made = [install(1, VARIABLE, 0x1234), f"hook 0 {VARIABLE}"]
    dumps = [f"dump 1 {after(distance)} 48" for distance in (0, 0x80, 0x100)]
    answers = host.answers(*made, *dumps)
    assert answers[0] == "0 0:e98"
    handle, interface, entry = (bytes.fromhex(answer) for answer in answers[2:])

    assert handle[:8] == b"hndl\0\0\0\0"
    assert struct.unpack_from("<Q", handle, 0x18) == struct.unpack_from("<Q", handle, 0x20), "one protocol: one link"
    assert struct.unpack_from("<Q", handle, 0x28)[0] == 0
    assert interface[:8] == b"pifc\0\0\0\0"
    assert struct.unpack_from("<Q", interface, 0x38)[0] == 0x1234
    assert entry[:8] == b"prte\0\0\0\0"
    assert entry[0x18:0x28] == known_guid(VARIABLE).raw
    # Links cross-refer: entry of the interface, handle of the interface, one registration.
    base = struct.unpack_from("<Q", interface, 0x30)[0]
    assert struct.unpack_from("<Q", entry, 0x28)[0] == base - 0x80 + 0x20
    assert struct.unpack_from("<Q", interface, 0x18)[0] == base - 0x100
    assert struct.unpack_from("<Q", entry, 0x38)[0] not in (0, base + 0x38)


def test_a_handle_lists_its_protocols_last_first(host: Host) -> None:
    dumps = ["dump 1 0 48", "dump 1 100 48"]  # the handle, and the second interface, two blocks below it
    handle, second = (bytes.fromhex(line) for line in host.answers(install(1, VARIABLE), install(1, WRITE), *dumps)[2:])
    assert second[:4] == b"pifc"
    to_second = struct.unpack_from("<Q", handle, 0x18)[0]
    to_first = struct.unpack_from("<Q", second, 0x08)[0]
    assert to_first - to_second == 0x180, "one block above the handle, and two below it"


def test_the_supervisor_hears_of_an_install_after_its_notifies(host: Host) -> None:
    lines = host.since("hook 0 " + VARIABLE, install(0, VARIABLE, 0xAB))
    assert [line for line in lines if not line.startswith("0 ")] == [
        f"notify 0 {VARIABLE} ab slot0=NULL",  # the caller's handle is not yet written
        f"sys 1001a {VARIABLE}",
    ]


def test_a_refused_install_is_not_relayed(host: Host) -> None:
    assert not [line for line in host.since(install(1, VARIABLE, kind=1)) if line.startswith("sys")]


def test_uninstall(host: Host) -> None:
    gone = host.answers(
        install(1, VARIABLE, 0x10),
        f"uninstall 1 {VARIABLE} 11",
        f"uninstall 1 {WRITE} 10",
        "uninstall 1 NULL 10",
        f"uninstall 1 {VARIABLE} 10",
        f"uninstall 1 {VARIABLE} 10",
        "first " + VARIABLE,
        f"uninstall 2 {VARIABLE} 10",
    )
    statuses = [answer.split()[0] for answer in gone]
    assert statuses == [
        "0",
        NOT_FOUND,
        NOT_FOUND,
        INVALID_PARAMETER,
        "0",
        INVALID_PARAMETER,
        NOT_FOUND,
        INVALID_PARAMETER,
    ]


def test_a_handle_lives_until_its_last_protocol(host: Host) -> None:
    answers = host.answers(
        install(1, VARIABLE, 0x10),
        install(1, WRITE, 0x20),
        f"uninstall 1 {VARIABLE} 10",
        f"handle 1 {WRITE}",
        f"handle 1 {VARIABLE}",
        f"uninstall 1 {WRITE} 20",
        f"handle 1 {WRITE}",
    )
    assert answers[3:] == ["0 20", f"{UNSUPPORTED} NULL", "0 NULL", f"{INVALID_PARAMETER} NULL"]


def test_handle_protocol_wants_guid(host: Host) -> None:
    assert host.answers(install(1, VARIABLE), "handle 1 NULL")[1] == f"{INVALID_PARAMETER} 99", "nothing is written"


def test_registering_twice_gives_one_registration(host: Host) -> None:
    answers = host.answers(f"hook 0 {VARIABLE}", f"hook 0 {VARIABLE}", f"hook 1 {VARIABLE}", f"hook 0 {WRITE}")
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


def test_unhooking(host: Host) -> None:
    lines = host.since(
        f"hook 0 {VARIABLE}", f"unhook 0 {WRITE}", f"unhook 0 {VARIABLE}", f"unhook 0 {VARIABLE}", install(0, VARIABLE)
    )
    assert [line.split()[0] for line in lines[1:4]] == [NOT_FOUND, "0", NOT_FOUND]
    assert not [line for line in lines if line.startswith("notify")]


def notified(host: Host, *commands: str) -> list[str]:
    """Numbers of the callbacks that ran, in order."""
    return [line.split()[1] for line in host.since(*commands) if line.startswith("notify")]


def test_notifies_run_in_the_order_of_registration(host: Host) -> None:
    hooks = [f"hook {number} {VARIABLE}" for number in (2, 0, 1)]
    assert notified(host, *hooks, install(1, VARIABLE), install(2, VARIABLE)) == ["2", "0", "1"] * 2


@pytest.mark.parametrize(
    ("misbehaviour", "first", "second"),
    [
        (1, ["0", "1", "2"], ["1", "2"]),  # unhooks itself: the others still hear of it
        (2, ["0", "2"], ["0", "2"]),  # unhooks the next one
        (3, ["0", "1", "2", "3"], ["0", "1", "2", "3"]),  # adds one, which hears of this very install
        (4, ["0", "1", "2"], ["0", "1", "2"]),  # uninstalls what is being announced
    ],
)
def test_callbacks_may_change_what_is_walked(
    host: Host, misbehaviour: int, first: list[str], second: list[str]
) -> None:
    hooks = [f"hook {number} {VARIABLE}" for number in (0, 1, 2)]
    commands = [*hooks, f"misbehave {misbehaviour:x}", install(5, VARIABLE, 0x77)]
    assert notified(host, *commands) == first
    assert notified(host, *commands, install(6, VARIABLE, 0x78)) == first + second


def test_nested_installs_reach_the_supervisor_first(host: Host) -> None:
    lines = host.since(f"hook 0 {VARIABLE}", "misbehave 4", install(5, VARIABLE))
    assert [line for line in lines if line.startswith("sys 1001a")] == [f"sys 1001a {WRITE}", f"sys 1001a {VARIABLE}"]


def test_a_registration_sees_only_what_came_after_it(host: Host) -> None:
    answers = host.answers(
        install(1, VARIABLE, 0x10),
        f"hook 0 {VARIABLE}",
        f"next-new 0 {VARIABLE}",
        install(2, VARIABLE, 0x20),
        install(3, VARIABLE, 0x30),
        f"next-new 0 {WRITE}",  # the GUID is not looked at
        f"next-new 0 {VARIABLE}",
        f"next-new 0 {VARIABLE}",
        f"first {VARIABLE}",
    )
    assert answers[2] == f"{NOT_FOUND} NULL"
    assert answers[5:] == ["0 20", "0 30", f"{NOT_FOUND} NULL", "0 10"]


def test_a_position_moves_back_when_its_interface_goes(host: Host) -> None:
    answers = host.answers(
        f"hook 0 {VARIABLE}",
        install(1, VARIABLE, 0x10),
        install(2, VARIABLE, 0x20),
        f"next-new 0 {VARIABLE}",
        f"uninstall 1 {VARIABLE} 10",
        *[command for slot in (10, 11) for command in (f"pool 6 58 {slot:x}", f"fill {slot:x} 55 58")],
        f"next-new 0 {VARIABLE}",
    )
    assert [answers[3], answers[9]] == ["0 10", "0 20"], "although what it stood on is now other people's memory"


def test_a_stale_registration_finds_nothing(host: Host) -> None:
    answers = host.answers(f"hook 0 {VARIABLE}", install(1, VARIABLE), f"unhook 0 {VARIABLE}", f"next-new 0 {VARIABLE}")
    assert answers[3] == f"{NOT_FOUND} NULL"


def test_locating_refuses_what_the_sheet_refuses(host: Host) -> None:
    assert host.answers("locate-nowhere") == [f"{INVALID_PARAMETER} NULL"] * 2, "no buffer, no size"
    assert host.answers("first NULL") == [f"{INVALID_PARAMETER} 99"]
    for search in ("2 NULL", "1 NULL", f"3 {VARIABLE}"):
        kind, guid = search.split()
        assert host.answers(f"locate {kind} {guid} {NO_KEY} 40") == [f"{INVALID_PARAMETER} size=40"]
    assert host.answers(f"locate 2 {VARIABLE} {NO_KEY} 40") == [f"{NOT_FOUND} size=40"], "and the size is untouched"
    assert host.answers(f"locate 0 NULL {NO_KEY} 40") == [f"{NOT_FOUND} size=40"], "no handle at all"


def test_handles_come_in_order_of_creation_and_of_installation(host: Host) -> None:
    made = [install(1, WRITE), install(2, VARIABLE), install(1, VARIABLE, 0x20)]
    answers = host.answers(*made, f"locate 0 NULL {NO_KEY} 40", f"locate 2 {VARIABLE} {NO_KEY} 40")
    one, two = answers[0].split()[1], answers[1].split()[1]
    assert answers[3:] == [f"0 size=10 {one} {two}", f"0 size=10 {two} {one}"]


def test_a_small_buffer_is_filled_as_far_as_it_goes(host: Host) -> None:
    made = [install(1, VARIABLE), install(2, VARIABLE), install(3, VARIABLE)]
    answers = host.answers(*made, f"locate 2 {VARIABLE} {NO_KEY} 17", f"locate 2 {VARIABLE} {NO_KEY} 0")
    one, two = answers[0].split()[1], answers[1].split()[1]
    assert answers[3:] == [f"{BUFFER_TOO_SMALL} size=18 {one} {two}", f"{BUFFER_TOO_SMALL} size=18"]


def test_new_handles_come_one_at_a_time_and_stay_until_taken(host: Host) -> None:
    key = "0"
    answers = host.answers(
        f"hook 0 {VARIABLE}",
        install(1, VARIABLE),
        install(2, VARIABLE),
        f"locate 1 NULL {key} 0",
        *[f"locate 1 NULL {key} 40"] * 3,
    )
    one, two = answers[1].split()[1], answers[2].split()[1]
    assert answers[3:] == [
        f"{BUFFER_TOO_SMALL} size=8",
        f"0 size=8 {one}",
        f"0 size=8 {two}",
        f"{NOT_FOUND} size=40",
    ]
