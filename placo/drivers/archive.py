"""The settings archive of a machine: what makes a clone of an image the one machine that it shall be.

A tar (ustar) that is the same, byte for byte, whenever its input is:

    settings.env               PLACO_HOSTNAME=www ... one value a line, as it is; the hooks' environment
    entropy                    random bytes for the kernel's generator: a clone starts with its template's
    hooks/NN-<software>        the configure scripts, to be run in this order
    root/...                   files with their modes and owner names, to be laid out at their targets
    first/...                  the same, but only where the file's folder is not there yet

The guest's /usr/sbin/placo-personalise (guest/ of this project) takes it in. It holds secrets: it goes from memory to the
seed disk or to the guest agent, and nowhere else.

A machine on a stock image gets a second archive, without secrets, with what such an image lacks (`stock_archive`).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from placo.domain.catalogue import Catalogue, FileTemplate
from placo.drivers.ports import Rejected

SSH_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
"""Where sshd looks for it, in machines that have one (sshd_config(5))."""


@dataclass(frozen=True)
class Identity:
    """What is a machine's own: TLS key and certificate and whom it believes (PEM), its SSH host key (OpenSSH), random bytes."""

    tls_key: bytes = field(repr=False)
    tls_certificate: bytes
    ca: bytes
    ssh_host_key: bytes = field(repr=False)
    ssh_host_key_public: bytes
    entropy: bytes = field(repr=False)


@dataclass(frozen=True)
class _Member:
    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root:root"


def render_archive(
    catalogue: Catalogue, machine: str, context: Mapping[str, Any], identity: Identity
) -> bytes:
    """The archive of a machine of the kind `machine`.

    `context` is what file templates may use (docs/adding-a-brick.md); its `platform`, `machine`, `network` and `tls` are
    used here as well. Rejected when a template asks for what the context does not have: trying again cannot help.
    """
    members = [_Member("entropy", identity.entropy, 0o600), *_identity_files(context, identity)]
    for number, software in enumerate(catalogue.software_of(machine)):
        members += [_rendered(software.id, file, context) for file in software.files]
        if software.configure is not None:
            members.append(_Member(f"hooks/{number:02d}-{software.id}", software.configure.encode(), 0o755))
    members.sort(key=lambda member: member.path)
    id_ = hashlib.sha256(_pack(members)).hexdigest()
    return _pack([_Member("settings.env", _settings(context, id_), 0o600), *members])


STOCK_SHARED = ("/usr/sbin/placo-personalise", "/usr/lib/placo/data", "/usr/lib/placo/owners")
"""The programs of PLACO's own images that a machine on a stock image needs as well."""
STOCK_PACKAGES = ("busybox-static", "e2fsprogs")
"""What these, and the configure scripts, are run by; the plain busybox knows fewer commands by itself."""


def stock_archive(catalogue: Catalogue, machine: str) -> bytes:
    """What a stock image lacks for a machine of this kind, to be laid out below / at its first boot, before any service starts:

    programs, the packages that have to be there, and the build scripts of its software, to be run in this order. The packages
    are not brought: a machine reaches no mirror. guest-stock/usr/lib/placo/stock goes on from here.
    """
    files = {path: catalogue.guest_files[path] for path in STOCK_SHARED} | dict(catalogue.stock_files)
    members = [_Member(path.lstrip("/"), content, mode) for path, (mode, content) in files.items()]
    own = catalogue.software_of(machine)[1:]  # not the base, which is about images of PLACO's
    packages = sorted({*STOCK_PACKAGES, *(package for software in own for package in software.packages)})
    members.append(_Member("usr/lib/placo/packages", "".join(f"{name}\n" for name in packages).encode()))
    for number, software in enumerate(own):
        if software.build is not None:
            path = f"usr/lib/placo/build/{number:02d}-{software.id}"
            members.append(_Member(path, software.build.encode(), 0o755))
    return _pack(sorted(members, key=lambda member: member.path))


def _settings(context: Mapping[str, Any], id_: str) -> bytes:
    machine, platform, network = context["machine"], context["platform"], context["network"]
    values = {
        "PLACO_SETTINGS_ID": id_,
        "PLACO_HOSTNAME": machine["hostname"],
        "PLACO_FQDN": machine["fqdn"],
        "PLACO_SLUG": platform["slug"],
        "PLACO_MACHINE_UUID": machine["uuid"],
        "PLACO_ADDRESS": machine["address"],
        "PLACO_PREFIX": network["prefix"],
        "PLACO_GATEWAY": network["gateway"],
        "PLACO_DOMAIN": platform["domain"],
    }
    for name, value in values.items():
        if not str(value).isprintable():
            raise Rejected(f"{name} of machine {machine['name']} is not one line of text")
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def _identity_files(context: Mapping[str, Any], identity: Identity) -> list[_Member]:
    places = context["tls"]
    return [
        _Member(f"root{places['key_file']}", identity.tls_key, 0o600),
        _Member(f"root{places['certificate_file']}", identity.tls_certificate),
        _Member(f"root{places['ca_file']}", identity.ca),
        _Member(f"root{SSH_HOST_KEY}", identity.ssh_host_key, 0o600),
        _Member(f"root{SSH_HOST_KEY}.pub", identity.ssh_host_key_public),
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
    place = "first" if file.first else "root"
    return _Member(f"{place}{file.target}", text.encode(), file.mode, file.owner)


def _pack(members: list[_Member]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member in members:
            entry = tarfile.TarInfo(member.path)
            entry.size = len(member.content)
            entry.mode = member.mode
            entry.uname, _, entry.gname = member.owner.partition(":")
            archive.addfile(entry, io.BytesIO(member.content))
        end = archive.offset
    # Nobody needs the padding to whole records, and a guest agent takes its time over each byte.
    return plain.getvalue()[:end] + bytes(2 * tarfile.BLOCKSIZE)
