"""The JSON document: what the published schema says, no more and no less."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mmsupervisor.inventory.document import SCHEMA, Failure, document
from mmsupervisor.inventory.model import ImageReport, Role, Severity, Visibility
from mmsupervisor.inventory.survey import survey
from mmsupervisor.pi.container import ContainerKind
from mmsupervisor.pi.volume import FileType
from mmsupervisor.pi.volume.build import FileSpec
from mmsupervisor.pi.volume.build_section import build_guided_section
from tests.inventory import mm_images as mm
from tests.support.ovmf import Ovmf

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "docs/schemas/info.schema.json").read_text(encoding="utf-8")
)


def strict(schema: Any) -> Any:
    """The schema with nothing allowed that it does not name: readers must be lenient, we need not be."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if closed.get("type") == "object" or "properties" in closed:
            closed["additionalProperties"] = False
        return closed
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


STRICT = jsonschema.Draft202012Validator(strict(PUBLISHED))


def rich() -> ImageReport:
    """An image with something of everything."""
    closed = FileSpec(
        mm.HOLDER, FileType.FIRMWARE_VOLUME_IMAGE, build_guided_section(mm.OTHER_CORE, b"x", attributes=1)
    )
    data = bytearray(mm.volume(*mm.whole(), mm.driver("IoMsr", type_=FileType.MM), closed))
    data[0x32] ^= 0xFF
    return survey(bytes(data), name="rich")


def plain(*reports: ImageReport, failures: tuple[Failure, ...] = ()) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(document(reports, failures)))
    return made


def test_the_schema_is_a_schema_and_names_the_document() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA


def test_documents_of_real_images_are_as_published(ovmf: Ovmf) -> None:
    for path in ovmf.files():
        STRICT.validate(plain(survey(path)))


def test_documents_of_all_sorts_are_as_published() -> None:
    lone = mm.driver("Echo").data
    sorts = [rich(), survey(b""), survey(b"MZ" + bytes(300)), survey(lone), survey(b"\xff" * 64)]
    made = plain(*sorts, failures=(Failure("gone.fd", "gone.fd: No such file or directory"),))
    STRICT.validate(made)
    assert made["images"][0]["unopened"]
    assert made["images"][0]["problems"]
    assert made["images"][0]["remarks"]


@pytest.mark.parametrize(
    "plant",
    [
        lambda made: made["images"][0].pop("sha256"),
        lambda made: made["images"][0].update(extra=1),
        lambda made: made["images"][0]["volumes"][0].update(offset=0),
        lambda made: made["images"][0]["modules"][0].update(role="boss"),
        lambda made: made["images"][0]["modules"][0].update(guid="4E4C89DC-A452-4B6B-B183-F16A2A223733"),
        lambda made: made.update(schema="mmsupervisor.info/2"),
    ],
)
def test_a_planted_departure_is_found(plant: Any) -> None:
    made = copy.deepcopy(plain(rich()))
    plant(made)
    with pytest.raises(jsonschema.ValidationError):
        STRICT.validate(made)


def test_words_of_the_schema_are_those_of_the_model() -> None:
    definitions = PUBLISHED["$defs"]
    assert definitions["module"]["properties"]["role"]["enum"] == [role.value for role in Role]
    assert definitions["volume"]["properties"]["visibility"]["enum"] == [one.value for one in Visibility]
    assert definitions["remark"]["properties"]["severity"]["enum"] == [one.value for one in Severity]
    assert definitions["image"]["properties"]["kind"]["enum"] == [kind.value for kind in ContainerKind]


def test_members_come_in_a_stable_order() -> None:
    made = plain(rich())
    assert list(made) == ["schema", "images", "failures"]
    assert list(made["images"][0])[:4] == ["name", "size", "sha256", "kind"]
    assert json.dumps(made) == json.dumps(plain(rich()))


def test_the_document_says_what_the_report_says() -> None:
    image = plain(rich())["images"][0]
    assert [module["name"] for module in image["modules"]] == [
        "Echo",
        "MmSupervisorRing3Broker",
        "Echo",
        "IoMsr",
    ]
    core = image["modules"][0]
    assert core["role"] == "MM Supervisor core"
    assert core["guid"] == "4e4c89dc-a452-4b6b-b183-f16a2a223733"
    assert core["guid_name"] == "gMmSupervisorCoreGuid"
    assert core["executable"]["entry_point"].startswith("0x")
    assert not image["volumes"][0]["checksum_holds"]
    assert "payloads" not in image
