"""The JSON Schema of the manifests: published as it is generated, true of every manifest there is, and strict."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from placo.cli.main import app
from placo.domain.catalogue_schema import schemas

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE, PUBLISHED = ROOT / "catalogue", ROOT / "static" / "schemas"
MANIFESTS = {
    "service": sorted(CATALOGUE.glob("services/*.toml")),
    "machine": sorted(CATALOGUE.glob("machines/*/machine.toml")),
    "software": sorted(CATALOGUE.glob("software/*/software.toml")),
}


def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((PUBLISHED / f"{kind}.json").read_text(encoding="utf-8")))


def read(file: str) -> dict[str, Any]:
    return tomllib.loads((CATALOGUE / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", MANIFESTS)
def test_what_is_published_is_what_the_code_asks_for(kind: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["catalogue", "schema", str(tmp_path)])
    assert done.exit_code == 0, done.output
    remedy = "bin/placo catalogue schema static/schemas"
    assert (tmp_path / f"{kind}.json").read_text() == (PUBLISHED / f"{kind}.json").read_text(), remedy
    Draft202012Validator.check_schema(schemas()[kind])


@pytest.mark.parametrize(
    "kind, file", [(k, f) for k, fs in MANIFESTS.items() for f in fs], ids=lambda v: getattr(v, "stem", v)
)
def test_every_manifest_fits(kind: str, file: Path) -> None:
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    assert [error.message for error in validator(kind).iter_errors(found)] == []


WEB, CHAT = "services/web.toml", "machines/chat/machine.toml"


@pytest.mark.parametrize(
    "kind, file, place, value",
    [
        ("service", WEB, ["machines"], []),
        ("service", WEB, ["machines"], ["../etc"]),
        ("service", WEB, ["tittle"], "a slip of the pen"),
        ("service", WEB, ["title", "fr"], ""),
        ("service", WEB, ["endpoints", 0, "protocol"], "gopher"),
        ("service", WEB, ["endpoints", 0, "host"], "www.example.org"),
        ("machine", CHAT, ["memory_mib"], "384"),
        ("machine", CHAT, ["memory_mib"], 12),
        ("machine", CHAT, ["ports", 0, "port"], 70_000),
        ("machine", CHAT, ["probe", "protocol"], "icmp"),
        ("software", "software/apache/software.toml", ["packages", 0], "apache2; reboot"),
    ],
)
def test_a_mistake_does_not_fit(kind: str, file: str, place: list[str | int], value: object) -> None:
    found = copy.deepcopy(read(file))
    inner: Any = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert not validator(kind).is_valid(found)


def test_what_goes_with_one_protocol_is_not_asked_of_the_others() -> None:
    """A stream's probe has no status to expect: known keys, none of them required."""
    probe = schemas()["machine"]["properties"]["probe"]
    assert "expect_status" in probe["properties"]
    assert "expect_status" not in probe["required"]
    assert "protocol" in probe["required"]
