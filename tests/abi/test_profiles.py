"""Profiles: names, the default, and what distinguishes them."""

from __future__ import annotations

from dataclasses import fields

from mmsupervisor.abi.profile import NEWEST_RELEASE, PROFILES, Launch


def test_the_default_is_the_newest_release_in_pei() -> None:
    assert PROFILES["newest-release"] is NEWEST_RELEASE
    assert (NEWEST_RELEASE.launch, NEWEST_RELEASE.debug, NEWEST_RELEASE.vectors) == (Launch.PEI, False, 256)


def test_names_are_keys_and_no_two_profiles_are_alike() -> None:
    contents = set()
    for name, profile in PROFILES.items():
        assert profile.name == name
        contents.add(tuple(getattr(profile, item.name) for item in fields(profile) if item.name != "name"))
    assert len(contents) == len(PROFILES)
