"""The catalogue: reading it whole, asking it questions, and naming the images that it calls for.

catalogue = load_catalogue(Path("catalogue"))          # CatalogueError with every mistake, or a sound catalogue
catalogue.machines_of(["web", "svn"])                  # ("www", "svn"): the machines of such a platform
catalogue.image_name("www")                            # "placo-www-1f2e3d4c5b6a"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from placo.domain.catalogue_checks import Parts, check_all
from placo.domain.catalogue_errors import CatalogueError, Problem, UnknownServiceError
from placo.domain.catalogue_model import (
    BASE_SOFTWARE,
    DATA_ROOT,
    DNS_LABEL_LENGTH,
    Endpoint,
    FileTemplate,
    Machine,
    Option,
    OptionError,
    OptionType,
    OptionValue,
    Port,
    Probe,
    Route,
    Service,
    Size,
    Software,
    Text,
)
from placo.domain.catalogue_parse import parse_machine, parse_service, parse_software

__all__ = [
    "BASE_SOFTWARE",
    "DATA_ROOT",
    "Catalogue",
    "CatalogueError",
    "Endpoint",
    "FileTemplate",
    "Machine",
    "Option",
    "OptionError",
    "OptionType",
    "OptionValue",
    "Port",
    "Probe",
    "Problem",
    "Route",
    "Service",
    "Size",
    "Software",
    "Text",
    "UnknownServiceError",
    "default_guest_folder",
    "load_catalogue",
]

IMAGE_RECIPE = 1
"""Raise this when the image builder changes what an image contains without the catalogue or guest/ changing."""

SUITE = "bookworm"
"""The Debian release that guests run."""


@dataclass(frozen=True)
class Catalogue:
    """A sound catalogue. `guest_files` are PLACO's own files in every image that it builds, `stock_files` those that a machine on a
    stock image is given besides: path below / -> (mode bits, content)."""

    services: Mapping[str, Service]
    machines: Mapping[str, Machine]
    software: Mapping[str, Software]
    guest_files: Mapping[str, tuple[int, bytes]] = field(default_factory=dict, repr=False)
    stock_files: Mapping[str, tuple[int, bytes]] = field(default_factory=dict, repr=False)

    def services_of(self, ids: Iterable[str]) -> tuple[Service, ...]:
        """These services and all that they need, what is needed first, each once; UnknownServiceError if one is not there."""
        ordered: dict[str, Service] = {}

        def add(name: str) -> None:
            if name not in self.services:
                raise UnknownServiceError(name)
            if name in ordered:
                return
            for needed in self.services[name].needs:
                add(needed)
            ordered[name] = self.services[name]

        for name in ids:
            add(name)
        return tuple(ordered.values())

    def machines_of(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The names of the machines of these services and of all that they need, each once; UnknownServiceError as above."""
        return tuple(dict.fromkeys(name for service in self.services_of(ids) for name in service.machines))

    def software_of(self, machine: str) -> tuple[Software, ...]:
        """All software of a machine in order of installation, the base first."""
        names = (BASE_SOFTWARE, *self.machines[machine].software)
        return tuple(self.software[name] for name in names)

    def sized(
        self, machine: str, services: Iterable[str], options: Mapping[str, Mapping[str, Any]]
    ) -> Machine:
        """A kind of machine in the size that the options of these services choose, by default where nothing is chosen."""
        for service in services:
            for option in self.services[service].options:
                if option.type is OptionType.SIZE and option.machine == machine:
                    value = options.get(service, {}).get(option.name, option.default)
                    return self.machines[machine].sized(str(value))
        return self.machines[machine]

    @cached_property
    def longest_slug(self) -> int:
        """How many characters a slug may have so that every public name and host name is a DNS label."""
        suffixes = [
            len(route.host) - len("{slug}") for machine in self.machines.values() for route in machine.routes
        ]
        suffixes += [len(name) + 1 for name in self.machines]
        return DNS_LABEL_LENGTH - max(suffixes, default=0)

    def is_public_name(self, label: str) -> bool:
        """Whether a label may be a public name of some platform: then it can be no slug, which is one itself (of mail addresses)."""
        endings = {route.host.removeprefix("{slug}") for m in self.machines.values() for route in m.routes}
        return any(ending and label.endswith(ending) for ending in endings)

    def base_recipe(self) -> dict[str, Any]:
        """What the shared first layer of all images is made from."""
        guest = {
            path: [f"{mode:04o}", hashlib.sha256(content).hexdigest()]
            for path, (mode, content) in sorted(self.guest_files.items())
        }
        return {
            "recipe": IMAGE_RECIPE,
            "suite": SUITE,
            "guest": guest,
            "software": [_software_recipe(self.software[BASE_SOFTWARE])],
        }

    def image_recipe(self, machine: str) -> dict[str, Any]:
        """Everything that decides what is in a machine's image, as JSON-able ordered data.

        Configure scripts and file templates are not part of it: they travel in the settings archive of each machine.
        """
        layers = [_software_recipe(self.software[name]) for name in self.machines[machine].software]
        return {"machine": machine, "base": self.base_recipe(), "software": layers}

    def image_hash(self, machine: str) -> str:
        """SHA-256 of the recipe, in hexadecimal."""
        return recipe_hash(self.image_recipe(machine))

    def image_name(self, machine: str) -> str:
        """The identity of a machine's image: ``placo-<machine>-<first 12 digits of the hash>``, or the stock image it names."""
        return self.machines[machine].image or f"placo-{machine}-{self.image_hash(machine)[:12]}"


def _software_recipe(software: Software) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "id": software.id,
        "packages": sorted(software.packages),
        "build": software.build or "",
    }
    if software.answers:
        recipe["answers"] = sorted(software.answers)
    if software.locales:
        recipe["locales"] = sorted(software.locales)
    return recipe


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of the recipe as canonical JSON."""
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def default_guest_folder() -> Path:
    """guest/ of this checkout: what PLACO itself puts into every image."""
    return Path(__file__).resolve().parents[2] / "guest"


def default_stock_folder() -> Path:
    """guest-stock/ of this checkout: what machines on a stock image are given besides. It is in no image, so it has no part in their names."""
    return default_guest_folder().with_name("guest-stock")


def load_catalogue(path: Path, guest: Path | None = None) -> Catalogue:
    """Read and check the catalogue in the folder `path`; `guest` is a folder like guest/ of this checkout.

    Raises CatalogueError with *all* mistakes, each with its file, key and remedy.
    """
    problems: list[Problem] = []
    for level in ("services", "machines", "software"):
        if not (path / level).is_dir():
            problems.append(Problem(level, "", "is not there.", f"Create the folder {level} in {path}."))
    services = [parse_service(file, path, problems) for file in sorted((path / "services").glob("*.toml"))]
    machines = [parse_machine(folder, path, problems) for folder in _folders(path / "machines")]
    software = [parse_software(folder, path, problems) for folder in _folders(path / "software")]
    parts = Parts(
        services={service.id: service for service in services if service},
        machines={machine.name: machine for machine in machines if machine},
        software={item.id: item for item in software if item},
    )
    if not parts.services:
        problems.append(
            Problem("services", "", "has no service.", "Add at least one, for instance web.toml.")
        )
    problems += check_all(parts)
    if problems:
        raise CatalogueError(problems)
    files, stock = _guest_files(guest or default_guest_folder()), _guest_files(default_stock_folder())
    offered = {name: _with_sizes(service, parts) for name, service in parts.services.items()}
    return Catalogue(offered, parts.machines, parts.software, files, stock)


def _with_sizes(service: Service, parts: Parts) -> Service:
    """The service, its options of type size with the sizes of their machines to choose from."""

    def chosen_from(option: Option) -> Option:
        titles = {size.name: size.title for size in parts.machines[option.machine].sizes}
        return replace(option, choices=tuple(titles), titles=titles)

    options = (chosen_from(o) if o.type is OptionType.SIZE else o for o in service.options)
    return replace(service, options=tuple(options))


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _guest_files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files below guest/, with 0755 for the executable ones and 0644 for the others."""
    found = {}
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
        found["/" + path.relative_to(folder).as_posix()] = (mode, path.read_bytes())
    return found
