"""GUIDs as people write them, and the names the field has for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsupervisor.pi.depex import parse_expression
from mmsupervisor.pi.errors import MmSupervisorError
from mmsupervisor.pi.guid import GUID_SIZE, ZERO_GUID, Guid, GuidSyntaxError
from mmsupervisor.pi.guid_names import known_guid

WORDS = ("AND", "OR", "NOT", "(", ")", "TRUE", "gEfiPcdProtocolGuid", "8C8CE578-8A3D-4F1C-9935-896185C32DD3")


def test_the_first_three_fields_are_little_endian() -> None:
    guid = Guid.parse("{00112233-4455-6677-8899-aabbccddeeff}")
    assert guid.raw.hex() == "33221100554477668899aabbccddeeff"
    assert str(guid) == "00112233-4455-6677-8899-AABBCCDDEEFF"


def test_names_are_read_and_shown() -> None:
    guid = Guid.parse("gEfiPcdProtocolGuid")
    assert guid == known_guid("gEfiPcdProtocolGuid")
    assert (guid.name, guid.label) == ("gEfiPcdProtocolGuid", "gEfiPcdProtocolGuid")
    unknown = Guid.parse("DEADBEEF-0000-4000-8000-000000000001")
    assert (unknown.name, unknown.label) == (None, "DEADBEEF-0000-4000-8000-000000000001")
    assert ZERO_GUID.is_zero
    with pytest.raises(ValueError, match="16 bytes, not 15"):
        Guid(bytes(GUID_SIZE - 1))


@given(st.binary(min_size=GUID_SIZE, max_size=GUID_SIZE))
def test_every_guid_reads_back(raw: bytes) -> None:
    guid = Guid(raw)
    for text in (str(guid), f"{{{str(guid).lower()}}}", f" {guid} ", guid.label):
        assert Guid.parse(text) == guid


@given(st.text(max_size=60))
def test_any_text_is_a_guid_or_one_named_error(text: str) -> None:
    try:
        guid = Guid.parse(text)
    except GuidSyntaxError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
    else:
        assert Guid.parse(str(guid)) == guid


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=12).map(" ".join))
def test_any_text_is_an_expression_or_one_named_error(text: str) -> None:
    try:
        parse_expression(text)
    except MmSupervisorError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
