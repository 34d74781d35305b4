"""The TOML form: what it means, what it refuses and where, and that everything comes back."""

from __future__ import annotations

import pytest

from mmsupervisor.pi.errors import SourceError
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy
from mmsupervisor.policy.model import (
    InstructionEntry,
    IoEntry,
    MemEntry,
    MsrEntry,
    PolicyRoot,
    SaveStateEntry,
)
from mmsupervisor.policy.source import Note, PolicySource
from mmsupervisor.policy.toml_source import read_toml_policy
from mmsupervisor.policy.toml_writer import write_toml
from tests.policy import round_trips
from tests.policy.policy_vectors import EMPTY, EXAMPLE

HEAD = "policy-form = 1\n"

WHOLE = """# A policy with everything.
policy-form = 1
title = "A title"
vendor = "amd"

[[root]]
type = "IO"
list = "deny"
reason = "ports"

[[root.rule]]        # a comment
port = 0xCF8
width = 4
access = ["write"]
reason = "no configuration"
reviewer = "A. Person"
date = 2026-08-01
reference = "levels.md §2"

[[root.rule]]
port = 112
length = 2
access = ["read", "write"]

[[root]]
type = "MSR"
list = "allow"
[[root.rule]]
msr = 0xC0000080
access = ["read"]

[[root]]
type = "INSTRUCTION"
list = "allow"
rule = [{ instruction = "HLT", access = ["execute"] }]

[[root]]
type = "SAVE_STATE"
list = "allow"
[[root.rule]]
field = "RAX"
access = ["conditional-read"]
condition = "io-write"
[[root.rule]]
field = "IO_TRAP"
access = ["read"]
"""


def read(text: str) -> PolicySource:
    return read_toml_policy(text.encode(), "p.toml")


def test_a_whole_policy() -> None:
    source = read(WHOLE)
    roots = source.policy.roots
    assert [(root.type, root.access_attr) for root in roots] == [(2, 1), (3, 0), (4, 0), (5, 0), (1, 1)]
    assert roots[0].entries == (IoEntry(0xCF8, 4, 0xA), IoEntry(112, 2, 3))
    assert roots[1].entries == (MsrEntry(0xC000_0080, 1, 1),)
    assert roots[2].entries == (InstructionEntry(2, 4),)
    assert roots[3].entries == (SaveStateEntry(0, 0x10, 2), SaveStateEntry(1, 1, 0))
    assert (source.title, source.vendor) == ("A title", "amd")
    assert source.notes_of(0).note == Note("ports")
    assert source.note_of(0, 0) == Note("no configuration", "A. Person", "2026-08-01", "levels.md §2")
    assert source.note_of(0, 1) == source.note_of(9, 9) == Note()
    assert [str(entry.place) for entry in roots[0].entries] == ["p.toml:11", "p.toml:20"]
    assert str(roots[2].entries[0].place) == "p.toml:35"
    assert str(roots[2].place) == "p.toml:32"


def test_numbers_follow_from_the_rules() -> None:
    assert write_blob(read(HEAD).policy) == EMPTY
    assert write_blob(read(write_toml(PolicySource(default_policy()))).policy) == EXAMPLE
    assert "[layout]" not in write_toml(PolicySource(default_policy()))


def test_memory_entries_get_no_legacy_list() -> None:
    policy = read(
        HEAD + '[[root]]\ntype = "MEM"\nlist = "allow"\n'
        'rule = [{ base = 0x1000, size = 0x1000, access = ["read"] }, '
        '{ base = "0xFFFFFFFFFFFFF000", size = 1, access = ["read"] }]\n'
    ).policy
    assert policy.roots == (
        PolicyRoot(1, 0, (MemEntry(0x1000, 0x1000, 1), MemEntry((1 << 64) - 0x1000, 1, 1)), offset=64, count=2),
    )
    assert (policy.size, policy.memory_policy_count, policy.extras) == (64 + 48, 0, ())


IO = HEAD + '[[root]]\ntype = "IO"\nlist = "deny"\n[[root.rule]]\n'
SAVE_STATE = HEAD + '[[root]]\ntype = "SAVE_STATE"\nlist = "allow"\n[[root.rule]]\n'
ROOT = HEAD + "[[root]]\n"

REFUSED = [
    ("", 1, "`policy-form` is missing"),
    ("policy-form = 2", 1, "form 2 is not known"),
    ("policy-form = 1\nnonsense = 1", 2, "unknown key `nonsense`"),
    (HEAD + "title = 1", 2, "`title` must be a text"),
    (HEAD + 'vendor = "arm"', 2, "unknown vendor `arm`"),
    (HEAD + "root = 1", 2, "`root` must be an array of tables"),
    (HEAD + "extra = 1", 2, "`extra` must be an array of tables"),
    (HEAD + "[[extra]]\noffset = 1", 2, "`bytes` is missing"),
    (HEAD + '[[extra]]\noffset = 1\nbytes = "xy"', 4, "`bytes` must be bytes in hexadecimal"),
    (HEAD + '[[extra]]\noffset = 1\nbytes = ""\nmore = 1', 5, "unknown key `more`"),
    (HEAD + "[layout]\nsize = -1", 3, "`size` must be from 0 to 0xffffffff"),
    (HEAD + "[layout]\nsize = true", 3, "`size` must be a number"),
    (HEAD + '[layout]\nreserved = "x"', 3, "`reserved` must be a number"),
    (HEAD + '[layout]\nreserved = "0x10000000000000000"', 3, "`reserved` must be a number"),
    (HEAD + '[layout]\nsize = "0x10"', 3, "`size` must be a number"),
    (HEAD + "[layout]\nmemory = 1", 3, "unknown key `memory`"),
    (HEAD + '[layout]\nmemory-root = false\n[[root]]\ntype = "MEM"\nlist = "deny"', 3, "there is a MEM root"),
    (ROOT + 'list = "deny"', 2, "`type` is missing"),
    (ROOT + 'type = "io"\nlist = "deny"', 3, "`type` is `io`; there are MEM, IO, MSR, INSTRUCTION, SAVE_STATE"),
    (ROOT + 'type = "IO"', 2, "`list` is missing"),
    (ROOT + 'type = "IO"\nlist = "Deny"', 4, "`list` is `Deny`; there are allow, deny"),
    (ROOT + 'type = "IO"\nlist = 256', 4, "`list` must be from 0 to 0xff"),
    (ROOT + 'type = "IO"\nlist = "deny"\nreserved = "00"', 5, "`reserved` must be three bytes"),
    (ROOT + 'type = "IO"\nlist = "deny"\nrules = []', 5, "unknown key `rules`"),
    (ROOT + "type = 9\nlist = 0\nrule = [\n{}]", 6, "a root of type 0x9 can have no rules"),
    (IO + 'length = 1\naccess = ["read"]', 5, "`port` is missing"),
    (IO + "port = 1\nlength = 1", 5, "`access` is missing"),
    (IO + "port = 1\nlength = 1\naccess = []", 8, "`access` names nothing"),
    (IO + 'port = 1\nlength = 1\naccess = ["read",\n"Write"]', 9, "unknown access 'Write'"),
    (IO + "port = 1\nlength = 1\naccess = [0x10000]", 8, "unknown access 65536"),
    (IO + "port = 1\nlength = 1\naccess = [true]", 8, "unknown access True"),
    (IO + 'port = 1\nlength = 1\naccess = ["read", "read"]', 8, "'read' twice"),
    (IO + 'port = 1\nlength = 1\naccess = ["strict-width"]', 8, "`width` says that"),
    (IO + 'port = 1\nlength = 1\nwidth = 1\naccess = ["read"]', 8, "`width` and `length` exclude each other"),
    (IO + 'port = 0x10000\nlength = 1\naccess = ["read"]', 6, "`port` must be from 0 to 0xffff"),
    (IO + 'port = 1.5\nlength = 1\naccess = ["read"]', 6, "`port` must be a number"),
    (IO + 'port = "0x1"\nlength = 1\naccess = ["read"]', 6, "`port` must be a number"),
    (IO + 'port = 1\nlength = 1\naccess = ["read"]\nreson = ""', 9, "unknown key `reson`"),
    (IO + 'port = 1\nlength = 1\naccess = ["read"]\nreason = 1', 9, "`reason` must be a text"),
    (IO + 'port = 1\nlength = 1\naccess = ["read"]\ndate = "2026"', 9, "`date` must be a date"),
    (IO + 'port = 1\nlength = 1\naccess = ["read"]\ndate = 2026-01-01 00:00:00', 9, "`date` must be a date"),
    (SAVE_STATE + 'field = "RBX"\naccess = ["read"]', 6, "`field` is `RBX`; there are RAX, IO_TRAP"),
    (SAVE_STATE + 'field = "RAX"\naccess = ["conditional-read"]', 5, "`condition` is missing"),
    (SAVE_STATE + 'field = "RAX"\naccess = ["read"]\ncondition = "IoWrite"', 8, "`condition` is `IoWrite`"),
    ("policy-form = 1\n]", 2, "not TOML"),
]


@pytest.mark.parametrize(("text", "line", "words"), REFUSED)
def test_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(text)
    assert (caught.value.line, words in caught.value.rule) == (line, True), str(caught.value)


def test_illegal_values_are_numbers() -> None:
    policy = read(ROOT + "type = 9\nlist = 7\ncount = 3\nreserved = '010203'\nversion = 5").policy
    assert policy.roots[0] == PolicyRoot(9, 7, version=5, offset=0x58, count=3, reserved=b"\1\2\3")
    entry = read(SAVE_STATE + "field = 7\naccess = [0x80000000]\ncondition = 9").policy.roots[0].entries[0]
    assert entry == SaveStateEntry(7, 0x8000_0000, 9)


@pytest.mark.parametrize("seed", range(4))
def test_random_policies_come_back(seed: int) -> None:
    assert list(round_trips.faults(2500, seed)) == []


@pytest.mark.parametrize(
    ("attribute", "broken", "what"),
    [
        ("write_toml", lambda source: write_toml(source).replace("length = 4", "length = 5"), "TOML"),
        ("write_toml", lambda source: write_toml(source).replace("reviewer", "reason", 1), "notes"),
        ("write_xml", lambda policy: round_trips_write_xml(policy).replace("Write", "Read"), "XML"),
    ],
)
def test_round_trips_find_a_planted_fault(
    monkeypatch: pytest.MonkeyPatch, attribute: str, broken: object, what: str
) -> None:
    monkeypatch.setattr(round_trips, attribute, broken)
    assert any(what in fault for fault in _faults_or_errors())


round_trips_write_xml = round_trips.write_xml


def _faults_or_errors() -> object:
    """Faults; a file that the planted fault makes illegal is one too."""
    try:
        yield from round_trips.faults(300, 5)
    except SourceError:
        yield "notes"


def test_the_command_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["round_trips", "20"])
    assert round_trips.main() == 0
    assert capsys.readouterr().out == "20 policies, 0 faults\n"
