"""Reports on policies and on learning as JSON: what the published schemas say, no more and no less."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mmsupervisor.learn import document as learning
from mmsupervisor.policy import document as documents
from mmsupervisor.policy.blob import assemble, write_blob
from mmsupervisor.policy.load import PolicyForm
from mmsupervisor.policy.model import IoEntry, MemEntry, MsrEntry, PolicyRoot, RootType
from tests.cli.sessions import run

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
POLICY = json.loads((SCHEMAS / "policy.schema.json").read_text("utf-8"))
LEARN = json.loads((SCHEMAS / "learn.schema.json").read_text("utf-8"))
NAMES = [
    documents.SHOW_SCHEMA,
    documents.CHECK_SCHEMA,
    documents.BUILD_SCHEMA,
    documents.LEVEL_SCHEMA,
    documents.DIFF_SCHEMA,
    documents.EXPLAIN_SCHEMA,
]
WRITE = "write 4 bytes to port 0xCF8"
SCRIPT = """\
from tests.learn.exercises import WRITE_PORT, exercise, io_msr

def run(session):
    exercise(session)
    io_msr(session, WRITE_PORT, 2, 0xCF8, 0)
"""


def strict(schema: Any) -> Any:
    """The schema with nothing allowed that it does not name."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if closed.get("type") == "object" and "oneOf" not in closed:
            closed["additionalProperties"] = False
        return closed
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


STRICT = {
    "policy": jsonschema.Draft202012Validator(strict(POLICY)),
    "learn": jsonschema.Draft202012Validator(strict(LEARN)),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    odd = [
        PolicyRoot(RootType.IO, 7, (IoEntry(1, 1, 0x41), IoEntry(0, 4, 1, 3))),
        PolicyRoot(RootType.MSR, 1, (MsrEntry(1, 0, 3),)),
        PolicyRoot(RootType.MEM, 0, (MemEntry(0x1000, 0x1000, 3),)),
        PolicyRoot(9, 0),
    ]
    blob = write_blob(assemble(odd))
    (tmp_path / "odd.bin").write_bytes(blob)
    (tmp_path / "long.bin").write_bytes(blob[:0x38] + b"\xff\xff" + blob[0x3A:])  # the first list's count
    (tmp_path / "exercise.py").write_text(SCRIPT, "utf-8")
    assert run("policy", "build", "amd", "-o", "amd.toml").code == 0
    return tmp_path


def test_the_schemas_are_schemas_and_name_the_documents() -> None:
    for schema in (POLICY, LEARN):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert '"description": ""' not in json.dumps(schema)
    kinds = [POLICY["$defs"][one["$ref"].rsplit("/", 1)[1]] for one in POLICY["oneOf"]]
    assert [kind["properties"]["schema"]["const"] for kind in kinds] == NAMES
    assert LEARN["properties"]["schema"]["const"] == learning.SCHEMA
    assert POLICY["$defs"]["policy"]["properties"]["form"]["enum"] == [form.value for form in PolicyForm]


@pytest.mark.parametrize(
    "words",
    [
        ("show", "amd"),
        ("show", "odd.bin"),
        ("show", "long.bin"),
        ("check", "amd"),
        ("check", "odd.bin"),
        ("check", "long.bin"),
        ("level", "default"),
        ("level", "odd.bin", "--at-least", "10"),
        ("level", "--boot", "sample", "--at-least", "30"),
        ("build", "amd.toml", "--layer", "amd.toml", "-o", "out.bin"),
        ("build", "amd.toml", "-o", "out.xml"),
        ("diff", "amd", "amd"),
        ("diff", "default", "odd.bin"),
        ("diff", "odd.bin", "amd.toml"),
        ("explain", "default", WRITE),
        ("explain", "amd.toml", WRITE),
        ("explain", "odd.bin", "read msr 1"),
        ("explain", "odd.bin", "execute hlt"),
        ("explain", "amd", "read 24 bytes of io of the save state on output of 1 byte"),
    ],
    ids=" ".join,
)
def test_documents_on_policies(here: Path, words: tuple[str, ...]) -> None:
    done = run("policy", *words, "--json")
    document = done.document
    STRICT["policy"].validate(document)
    assert document["schema"] in NAMES


@pytest.mark.parametrize(
    "words",
    [
        ("--leave-denied", "-o", "learned.toml", "--blob", "learned.bin"),
        ("--level", "10"),
        ("--against", "default"),
        ("--against", "amd.toml", "--until", "launched"),
        ("--budget", "100"),
    ],
    ids=" ".join,
)
def test_documents_on_learning(here: Path, words: tuple[str, ...]) -> None:
    done = run("learn", "--script", "exercise.py", *words, "--json")
    STRICT["learn"].validate(done.document)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.update(schema="mmsupervisor.policy/2"),
        lambda made: made.update(new=1),
        lambda made: made["roots"][0]["entries"][0].pop("access"),
        lambda made: made["roots"][0]["entries"][0].update(port=3),
        lambda made: made.update(form="YAML"),
        lambda made: made["roots"][0].update(count="2"),
    ],
)
def test_other_documents_do_not_pass(spoil: Callable[[dict[str, Any]], None]) -> None:
    made = run("policy", "show", "amd", "--json").document
    spoil(made)
    with pytest.raises(jsonschema.ValidationError):
        STRICT["policy"].validate(made)


def test_another_document_on_learning_does_not_pass() -> None:
    made = run("learn", "--json").document
    STRICT["learn"].validate(made)
    with pytest.raises(jsonschema.ValidationError):
        STRICT["learn"].validate({**made, "learned": {**made["learned"], "level": 25}})
