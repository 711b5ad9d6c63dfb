"""The files that describe the lab's site: placo.toml for the portal, credentials.json for tools and people."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.lab import identity, names
from deploy.lab.layout import (
    BASE,
    DIRECTORY_ADDRESS,
    DIRECTORY_HOST,
    DNS_DOMAIN,
    EDGE_DOMAIN,
    GATEWAY_HOST,
    PLATFORM_POOL,
    PLATFORM_PREFIX,
    PORTAL_ADDRESS,
    REPOSITORY,
    STORAGE_POOL,
    Lab,
)
from deploy.lab.shell import render, write
from deploy.lab.state import State

_PEOPLE_FILE = Path(__file__).with_name("people.toml")
BREAK_GLASS = "break-glass"
DEFAULT_IMAGE_CACHE = "/var/cache/placo/images"
PORTAL_PASSWORD = "directory-portal"  # noqa: S105 - the name of its file


@dataclass(frozen=True)
class Person:
    """Somebody in the lab's directory; `role` names an account of credentials.json or is empty."""

    uid: str
    given: str
    family: str
    role: str = ""

    @property
    def name(self) -> str:
        return f"{self.given} {self.family}"


@dataclass(frozen=True)
class Project:
    """A research project that the lab starts with; quota as in placo.toml."""

    slug: str
    title: str
    owners: tuple[str, ...]
    quota: dict[str, int] = field(default_factory=dict)


def people() -> tuple[Person, ...]:
    """Everybody in the lab's directory."""
    return tuple(Person(**row) for row in _cast()["people"])


def projects() -> tuple[Project, ...]:
    """The projects the lab starts with."""
    return tuple(Project(**row | {"owners": tuple(row["owners"])}) for row in _cast()["projects"])


def passwords(lab: Lab) -> dict[str, str]:
    """Everybody's password by uid, drawn the first time and kept in secrets/people.json (0600)."""
    path = lab.secrets / "people.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for person in people():
        known.setdefault(person.uid, identity.random_password())
    write(path, json.dumps(known, indent=2) + "\n", 0o600)
    return known


def write_files(lab: Lab, state: State) -> None:
    """placo.toml and credentials.json, from the lab's state; the same state gives the same bytes."""
    identity.secret(lab, PORTAL_PASSWORD)
    identity.secret(lab, BREAK_GLASS)
    known = passwords(lab)
    write(
        lab.configuration,
        render(
            "placo.toml.j2",
            lab=lab,
            state=state,
            repository=REPOSITORY,
            base=BASE,
            directory_host=DIRECTORY_HOST,
            directory_address=DIRECTORY_ADDRESS,
            portal_address=PORTAL_ADDRESS,
            edge_domain=EDGE_DOMAIN,
            gateway_host=GATEWAY_HOST,
            names_port=names.PORT,
            names_key=names.KEY_NAME,
            pool=PLATFORM_POOL,
            prefix=PLATFORM_PREFIX,
            dns_domain=DNS_DOMAIN,
            storage_pool=STORAGE_POOL,
            portal_password=PORTAL_PASSWORD,
            projects=projects(),
            quote=json.dumps,
            image_cache=os.environ.get("PLACO_IMAGE_CACHE") or DEFAULT_IMAGE_CACHE,
        ),
    )
    accounts = {
        person.role: {"uid": person.uid, "password": known[person.uid]} for person in people() if person.role
    }
    credentials = {
        "portal": state.portal_url,
        "edge": f"127.0.0.1:{state.edge_port}",
        "ca": str(lab.ca_certificate),
        "project": projects()[0].slug,
        "accounts": accounts,
    }
    write(lab.credentials, json.dumps(credentials, indent=2) + "\n", 0o600)


def _cast() -> dict[str, Any]:
    return tomllib.loads(_PEOPLE_FILE.read_text())
