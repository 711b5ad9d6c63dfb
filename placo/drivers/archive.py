"""The settings archive of a machine: what makes a clone of an image the one machine that it shall be.

A gzipped tar (pax) that is the same, byte for byte, whenever its input is:

    settings.env               PLACO_HOSTNAME='www' ... for the shell, each value quoted
    hooks/NN-<software>        the configure scripts, to be run in this order
    root/...                   files with their modes and owner names, to be laid out at their targets

The guest's /usr/sbin/placo-personalise (guest/ of this project) takes it in. It holds secrets: it goes from memory to the
seed disk and nowhere else.
"""

from __future__ import annotations

import gzip
import io
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from placo.domain.catalogue import Catalogue, FileTemplate
from placo.drivers.ports import Rejected


@dataclass(frozen=True)
class Tls:
    """What a machine proves its name with, and whom it believes; PEM."""

    key: bytes = field(repr=False)
    certificate: bytes
    ca: bytes


@dataclass(frozen=True)
class _Member:
    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root:root"


def render_archive(catalogue: Catalogue, machine: str, context: Mapping[str, Any], tls: Tls) -> bytes:
    """The archive of a machine of the kind `machine`.

    `context` is what file templates may use (docs/adding-a-brick.md); its `platform`, `machine` and `tls` are used here
    as well. Rejected when a template asks for what the context does not have: trying again cannot help.
    """
    members = [_Member("settings.env", _settings(context), 0o600)]
    members += _tls_files(context, tls)
    for number, software in enumerate(catalogue.software_of(machine)):
        members += [_rendered(software.id, file, context) for file in software.files]
        if software.configure is not None:
            members.append(_Member(f"hooks/{number:02d}-{software.id}", software.configure.encode(), 0o755))
    return _pack(sorted(members, key=lambda member: member.path))


def _settings(context: Mapping[str, Any]) -> bytes:
    machine, platform = context["machine"], context["platform"]
    values = {
        "PLACO_HOSTNAME": machine["hostname"],
        "PLACO_FQDN": machine["fqdn"],
        "PLACO_SLUG": platform["slug"],
        "PLACO_MACHINE_UUID": machine["uuid"],
    }
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()).encode()


def _tls_files(context: Mapping[str, Any], tls: Tls) -> list[_Member]:
    places = context["tls"]
    return [
        _Member(f"root{places['key_file']}", tls.key, 0o600),
        _Member(f"root{places['certificate_file']}", tls.certificate),
        _Member(f"root{places['ca_file']}", tls.ca),
    ]


def _rendered(software: str, file: FileTemplate, context: Mapping[str, Any]) -> _Member:
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - configuration files; templates of pages escape by themselves
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        text = environment.from_string(file.text).render(context)
    except TemplateError as error:
        raise Rejected(f"software {software}, files/{file.source}: {error}") from error
    return _Member(f"root{file.target}", text.encode(), file.mode, file.owner)


def _pack(members: list[_Member]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            entry = tarfile.TarInfo(member.path)
            entry.size = len(member.content)
            entry.mode = member.mode
            entry.uname, _, entry.gname = member.owner.partition(":")
            archive.addfile(entry, io.BytesIO(member.content))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)
