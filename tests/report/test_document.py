"""Reports of sessions as JSON: what the published schema says, no more and no less."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.report.build import build_report, describe_input
from mmsupervisor.report.document import BOOT_SCHEMA, RUN_SCHEMA, SEND_SCHEMA
from mmsupervisor.session import boot
from tests.cli.sessions import ECHO, ECHO_ME, OFFENDER, offence, run, write_driver, write_image
from tests.support.ovmf import Ovmf

DOCS = Path(__file__).resolve().parents[2] / "docs"
PUBLISHED = json.loads((DOCS / "schemas/session.schema.json").read_text("utf-8"))
NOBODY = 65534


def strict(schema: Any) -> Any:
    """The schema with nothing allowed that it does not name."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if closed.get("type") == "object":
            closed["additionalProperties"] = False
        return closed
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


STRICT = jsonschema.Draft202012Validator(strict(PUBLISHED))


def test_the_schema_is_a_schema_and_names_the_documents() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["enum"] == [RUN_SCHEMA, BOOT_SCHEMA, SEND_SCHEMA]
    described = json.dumps(PUBLISHED)
    assert described.count('"description"') > 60
    assert '"description": ""' not in described


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("Echo", ("--send", ECHO, ECHO_ME.hex())),
        ("Echo", ("--send", ECHO, "")),
        ("Offender", ("--send", OFFENDER, offence("WriteHob"))),
        ("Offender", ("--send", OFFENDER, offence("ExecutePool"))),
        ("Offender", ("--send", OFFENDER, offence("PortDenied"))),
        ("Offender", ("--send", OFFENDER, offence("Loop"), "--budget", "100000")),
        ("EntryError", ()),
        ("NeedsSor", ()),
        ("ReturnsByRet", ()),
        ("HandlerReg", ()),
        ("Lifecycle", ()),
    ],
)
def test_runs_keep_to_it(driver: str, words: tuple[str, ...], tmp_path: Path) -> None:
    document = run("run", write_driver(tmp_path, driver), *words, "--json").document
    STRICT.validate(document)


def test_boots_keep_to_it(ovmf: Ovmf, tmp_path: Path) -> None:
    STRICT.validate(run("boot", "--json").document)
    STRICT.validate(run("boot", ovmf.path("OVMF_CODE_4M.secboot.fd"), "--json").document)
    STRICT.validate(run("send", write_image(tmp_path, "Echo"), ECHO, "00", "--json").document)


def test_phases_are_in_the_order_of_the_launch() -> None:
    description = PlatformDescription(profile=PROFILES["dxe-launch"])
    with boot(until=Phase.DXE, description=description) as session:
        report = build_report(session, describe_input("sample", b""))
    assert report.phases == ("end-of-pei", "launched", "dxe")
    assert report.platform.profile == "dxe-launch"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("outcome"),
        lambda document: document.update(outcome="well"),
        lambda document: document.update(surprise=1),
        lambda document: document["drivers"][0].update(guid="BB3D60C4-210B-4076-B596-3DD298AFEA49"),
        lambda document: document["drivers"][0].update(base=1),
        lambda document: document["findings"].append({}),
    ],
)
def test_the_schema_refuses_what_is_wrong(spoil: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    document = run("run", write_driver(tmp_path, "Echo"), "--json").document
    spoil(document)
    assert not STRICT.is_valid(document)
