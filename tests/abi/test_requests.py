"""Supervisor requests as a table and as bytes (communicate.md §6)."""

from __future__ import annotations

from mmsupervisor.abi import requests
from mmsupervisor.abi.requests import REQUESTS, Request, pack_request


def test_the_table_has_the_four_requests_with_their_sizes() -> None:
    assert {number: declaration.parameters for number, declaration in REQUESTS.items()} == {1: 56, 2: 0, 3: 16, 4: 224}
    assert [declaration.request for declaration in REQUESTS.values()] == list(Request)
    for declaration in REQUESTS.values():
        assert declaration.source.startswith("communicate.md §6.")
        assert declaration.purpose
        assert declaration.until


def test_a_request_begins_with_its_header() -> None:
    raw = pack_request(Request.VERSION_INFO, b"parameters")
    assert raw[:4] == b"MSUP"
    assert raw[4:24] == (1).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes(12)
    assert raw[24:] == b"parameters"
    assert requests.HEADER_SIZE == 24
    assert requests.RESULT_OFFSET == 16
