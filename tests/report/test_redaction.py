"""Findings in a redacted report: who, where and why stay, values that ring 3 chose go."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.sessions import OFFENDER, offence, run, write_driver

SECRET = 0x1234_5678_9ABC
"""An address that a message names and the driver then touches."""


def test_a_redacted_finding_says_all_but_values(tmp_path: Path) -> None:
    driver = write_driver(tmp_path, "Offender")
    words = ("run", driver, "--send", OFFENDER, offence("ReadAddress", SECRET), "--json")
    plain, redacted = run(*words).document, run(*words, "--redact").document
    (told,), (kept,) = plain["findings"], redacted["findings"]
    assert f"{SECRET:x}" in json.dumps(plain).lower()
    assert f"{SECRET:x}" not in json.dumps(redacted).lower()
    assert told["registers"]
    assert (kept["registers"], kept["detail"]) == ([], "redacted")
    for name in ("number", "driver", "offset", "rule", "mend", "moment", "stack", "code"):
        assert kept[name] == told[name], name
    assert kept["fault"]["vector"] == 14


def test_where_a_wild_call_led_is_left_out(tmp_path: Path) -> None:
    driver = write_driver(tmp_path, "Offender")
    words = ("run", driver, "--send", OFFENDER, offence("ExecuteAddress", SECRET), "--json")
    assert f"{SECRET:x}" in run(*words).out.lower()
    done = run(*words, "--redact")
    assert f"{SECRET:x}" not in done.out.lower()
    (finding,) = done.document["findings"]
    assert finding["subject"] == "Offender"
    assert finding["stack"][0]["driver"] == "Offender"
    assert f"{SECRET:x}" not in run(*words[:-1], "--redact").out.lower()


def test_arguments_of_a_refused_call_are_left_out(tmp_path: Path) -> None:
    driver = write_driver(tmp_path, "Offender")
    words = ("run", driver, "--send", OFFENDER, offence("PortDenied"), "--json", "--redact")
    (finding,) = run(*words).document["findings"]
    assert finding["request"]["call"] == "SMM_SC_IO_WRITE"
    assert finding["request"]["arguments"] == []
