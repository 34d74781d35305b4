"""Random policies through every form and back. In CI ten thousand; a million by hand:

    python -m tests.policy.round_trips 1000000

Each policy goes through the blob and through TOML and must come back whole; what XML can express goes through XML too,
by the reference's reading, and must give the same blob.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from mmsupervisor.policy.blob import assemble, read_blob, read_blob_as_runtime, write_blob
from mmsupervisor.policy.model import Extra, MemEntry, Policy, PolicyRoot, RootType
from mmsupervisor.policy.reference_tool import reference_build
from mmsupervisor.policy.source import Note, PolicySource, RootNotes
from mmsupervisor.policy.toml_source import read_toml_policy
from mmsupervisor.policy.toml_writer import write_toml
from mmsupervisor.policy.xml_writer import NotExpressibleError, write_xml
from tests.policy.random_policies import expressible_policy, random_policy

_WORDS = ("plain", 'two "words"', "a\\b", "tab\tand\nline", "\x7f\x01", "\u00fc\U0001f600", "# [x]", "'''")


def any_policy(random: Random) -> Policy:
    """Sound ones, odd ones, and blobs of which a few numbers were overwritten."""
    kind = random.random()
    if kind < 0.3:
        return expressible_policy(random)
    policy = random_policy(random)
    if kind < 0.5:
        entries = tuple(MemEntry(random.getrandbits(64), random.getrandbits(64), random.getrandbits(32)) for _ in "ab")
        return assemble([*policy.roots[: random.randrange(3)], PolicyRoot(RootType.MEM, random.randrange(3), entries)])
    if kind < 0.6:
        return replace(policy, flags=random.getrandbits(32), extras=(Extra(policy.size, random.randbytes(3)),))
    blob = bytearray(write_blob(policy))
    for _ in range(random.randrange(5)):
        at = random.randrange(2, len(blob) // 4) * 4
        blob[at : at + 4] = random.choice((random.randrange(0x100), random.getrandbits(32))).to_bytes(4, "little")
    return read_blob_as_runtime(bytes(blob))


def any_notes(random: Random, policy: Policy) -> PolicySource:
    """A source with notes on some of its rules."""

    def note() -> Note:
        if random.random() < 0.7:
            return Note()
        return Note(*random.choices(_WORDS, k=2), date="2026-08-01", reference=random.choice(_WORDS))

    notes = tuple(RootNotes(note(), tuple(note() for _ in root.entries)) for root in policy.roots)
    vendor = random.choice(("", "amd", "intel"))
    return PolicySource(policy, random.choice(("", *_WORDS)), vendor, notes, random.random() < 0.5)


def faults(count: int, seed: int) -> Iterator[str]:
    """A line for every policy that does not come back."""
    random = Random(seed)
    for number in range(count):
        source = any_notes(random, any_policy(random))
        policy = source.policy
        blob = write_blob(policy)
        if read_blob_as_runtime(blob) != policy and read_blob(blob) != policy:
            yield f"{number}: blob"
        back = read_toml_policy(write_toml(source).encode())
        if back.policy != policy or write_blob(back.policy) != blob:
            yield f"{number}: TOML"
        if header_of(back) != header_of(source) or not same_notes(back, source):
            yield f"{number}: notes"
        try:
            xml = write_xml(policy)
        except NotExpressibleError:
            continue
        if reference_build(xml.encode()) != blob:
            yield f"{number}: XML"


def header_of(source: PolicySource) -> tuple[str, str, bool]:
    """What a source says of the whole policy."""
    return source.title, source.vendor, source.weakens_minimum


def same_notes(one: PolicySource, other: PolicySource) -> bool:
    """Whether the notes on every root and every rule are equal."""
    return all(
        one.notes_of(root).note == other.notes_of(root).note
        and all(one.note_of(root, entry) == other.note_of(root, entry) for entry in range(len(listed.entries)))
        for root, listed in enumerate(one.policy.roots)
    )


def main() -> int:
    """Print the faults; the argument is the number of policies."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    found = list(faults(count, seed=count))
    print("\n".join([*found[:20], f"{count} policies, {len(found)} faults"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
