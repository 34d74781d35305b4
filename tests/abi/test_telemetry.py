"""The error report's bytes (telemetry.md §1)."""

from __future__ import annotations

from mmsupervisor.abi.telemetry import TelemetryRecord
from mmsupervisor.pi.guid import Guid

DRIVER = Guid.parse("930A5E37-9771-4261-9C54-86F821E25B72")


def test_the_record_has_904_bytes_with_every_field_in_its_place() -> None:
    raw = TelemetryRecord(14, DRIVER, 0x1122334455667788, 0x7FF00000).pack()
    assert len(raw) == TelemetryRecord.SIZE == 0x388
    assert raw[0:4] == b"MSVT"
    assert raw[4:8] == (904).to_bytes(4, "little")
    assert raw[8:16] == (14).to_bytes(8, "little")
    assert raw[16:32] == DRIVER.raw
    assert raw[32:40] == (0x1122334455667788).to_bytes(8, "little")
    assert raw[40:48] == (0x7FF00000).to_bytes(8, "little")
    assert raw[48:] == bytes(856), "the context is never filled"
