"""Fixtures of the firmware's tests."""

from tests.firmware.broker_host import host

__all__ = ["host"]
