"""The edge on nginx: one file per platform in `sites_dir`, its certificate and key in `certificates_dir`.

What is not HTTPS is in a second file, ``<slug>.streams``: lines for the maps by which nginx's stream servers, one for each
protocol, find certificate and machine of the name that a client asks for (deploy/lab/templates/edge.conf.j2 has them). A third
one, ``<slug>.servers``, has a stream server of its own for each port that is the platform's alone (ssh).

Another file, ``.<slug>.json`` in `sites_dir`, is written before the others and removed after them: it names the platform
that a slug's files belong to and the digest of what nginx was last seen to serve for it. So a call that was interrupted
anywhere is finished by the next one, and a repetition that finds nothing changed does not disturb nginx.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from placo.domain.protocols import HTTPS, SSH
from placo.drivers.certificates import check_pair
from placo.drivers.checks import dns_label, edge_routes, platform_uuid
from placo.drivers.nginx_process import Nginx
from placo.drivers.ports import DriverError, EdgeRoute, EdgeStatus, Rejected

_HEADER = re.compile(r"# PLACO platform ([0-9a-f-]{36})\b")
_UNQUOTABLE = re.compile(r'["\\$;{}\s]')
_TEMPLATES = Environment(
    loader=FileSystemLoader(str(Path(__file__).with_name("templates"))),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - nginx's syntax, not HTML: every value is checked before it gets here
)


@dataclass(frozen=True)
class _Owner:
    """Whose a slug's files are, and the digest of what is being served ("" when that is not known)."""

    uuid: str
    served: str


class NginxEdge:
    """`ports.Edge`; safe from several threads and processes (one lock file for all sites).

    `listens` are the words of each site's ``listen`` directives, the same as the default server's (``"unix:... ssl"``);
    `addresses` are the IP addresses at which platforms' own ports are opened;
    `includes` are snippets put into each site, like the page shown while a machine does not answer; `ca_file` is what
    machines' certificates are checked with.
    """

    def __init__(
        self,
        *,
        sites_dir: Path,
        certificates_dir: Path,
        pid_file: Path,
        config_file: Path,
        ca_file: Path,
        listens: Sequence[str],
        addresses: Sequence[str],
        includes: Sequence[Path] = (),
        binary: str = "/usr/sbin/nginx",
    ) -> None:
        for path in (certificates_dir, ca_file, *includes):
            if _UNQUOTABLE.search(str(path)):
                raise ValueError(
                    f"{path}: nginx cannot be given a path with spaces, quotes or any of $ ; {{ }}"
                )
        self._sites = sites_dir
        self._certificates = certificates_dir
        self._ca_file = ca_file
        self._listens = tuple(listens)
        self._addresses = tuple(_in_url(address) for address in addresses)
        self._includes = tuple(includes)
        self._nginx = Nginx(config_file, pid_file, binary)

    def status(self) -> EdgeStatus:
        """Only root can have nginx test a configuration that names keys and log files of root's."""
        complaint = self._nginx.test() or ""
        may_not_ask = os.geteuid() != 0 and "Permission denied" in complaint
        return EdgeStatus(self._nginx.running(), None if may_not_ask else complaint)

    def ensure_site(
        self, slug: str, uuid: str, routes: Iterable[EdgeRoute], certificate: bytes, key: bytes
    ) -> None:
        checked = edge_routes(slug, routes)
        check_pair(certificate, key)
        wanted = {
            self._key(slug): key,
            self._certificate(slug): certificate,
            self._site(slug): self._rendered(slug, platform_uuid(uuid), checked),
            self._streams(slug): self._stream_lines(slug, checked),
            self._servers(slug): self._server_lines(slug, checked),
        }
        digest = _digest(wanted.values())
        with self._locked():
            owner = self._owner(slug)
            if owner is not None and owner.uuid != uuid:
                raise Rejected(
                    f"the edge already has a site {slug!r} of another platform ({owner.uuid or 'unmarked'})"
                )
            before = {path: _content(path) for path in wanted}
            if before == wanted and owner is not None and owner.served == digest:
                return
            self._mark(slug, _Owner(uuid, ""))
            _write_all(wanted)
            self._check(before, new_site=owner is None, mark=self._mark_file(slug))
            self._nginx.reload()
            self._mark(slug, _Owner(uuid, digest))

    def remove_site(self, slug: str, uuid: str) -> None:
        """The site, then its certificate and key; another platform's are left alone."""
        dns_label(slug, "slug")
        with self._locked():
            owner = self._owner(slug)
            leftover = self._certificate(slug).exists() or self._key(slug).exists()
            if (owner is None and not leftover) or (owner is not None and owner.uuid != uuid):
                return
            self._site(slug).unlink(missing_ok=True)
            self._streams(slug).unlink(missing_ok=True)
            self._servers(slug).unlink(missing_ok=True)
            self._nginx.reload()
            for path in (self._certificate(slug), self._key(slug), self._mark_file(slug)):
                path.unlink(missing_ok=True)

    def sites(self) -> Mapping[str, str]:
        """slug -> platform uuid ("" for a file that PLACO did not write); half-made sites too."""
        marked = {path.name[1:-5] for path in self._sites.glob(".*.json")}
        named = {path.stem for path in self._sites.glob("*.conf") if not path.name.startswith(".")}
        owners = {slug: self._owner(slug) for slug in sorted(marked | named)}
        return {slug: owner.uuid for slug, owner in owners.items() if owner is not None}

    def certificate(self, slug: str) -> bytes | None:
        return _content(self._certificate(dns_label(slug, "slug")))

    def certificates(self) -> list[str]:
        found = [*self._certificates.glob("*.pem"), *self._certificates.glob("*.key")]
        return sorted({path.stem for path in found if not path.name.startswith(".")})

    # --- inside ---

    def _site(self, slug: str) -> Path:
        return self._sites / f"{slug}.conf"

    def _streams(self, slug: str) -> Path:
        return self._sites / f"{slug}.streams"

    def _servers(self, slug: str) -> Path:
        return self._sites / f"{slug}.servers"

    def _certificate(self, slug: str) -> Path:
        return self._certificates / f"{slug}.pem"

    def _key(self, slug: str) -> Path:
        return self._certificates / f"{slug}.key"

    def _mark_file(self, slug: str) -> Path:
        return self._sites / f".{slug}.json"

    def _mark(self, slug: str, owner: _Owner) -> None:
        _write(self._mark_file(slug), json.dumps({"uuid": owner.uuid, "served": owner.served}).encode())

    def _owner(self, slug: str) -> _Owner | None:
        """From the mark; without one (an edge restored by hand) from the site's first line."""
        mark = _content(self._mark_file(slug))
        if mark is not None:
            try:
                return _Owner(**json.loads(mark))
            except (ValueError, TypeError) as error:
                raise DriverError(f"{self._mark_file(slug)}: not readable as a mark of PLACO") from error
        site = _content(self._site(slug))
        if site is None:
            return None
        header = _HEADER.match(site.decode("utf-8", "replace"))
        return _Owner(header[1] if header else "", "")

    def _rendered(self, slug: str, uuid: str, routes: Sequence[EdgeRoute]) -> bytes:
        targets = [
            {"host": route.host, "upstream_name": route.upstream_name, "target": _target(route)}
            for route in routes
            if route.protocol == HTTPS
        ]
        return (
            _TEMPLATES.get_template("edge_site.conf.j2")
            .render(
                slug=slug,
                uuid=uuid,
                routes=targets,
                listens=self._listens,
                includes=self._includes,
                certificate=self._certificate(slug),
                key=self._key(slug),
                ca=self._ca_file,
            )
            .encode()
        )

    def _stream_lines(self, slug: str, routes: Sequence[EdgeRoute]) -> bytes:
        """Per name the certificate's path without its ending and the machine's name, per protocol the machine's address."""
        lines = [f"# PLACO platform {slug}: written by the portal, changes made here are lost.\n"]
        streams = [route for route in routes if route.protocol not in (HTTPS, SSH)]
        for host, upstream in {route.host: route.upstream_name for route in streams}.items():
            lines.append(f'"pair:{host}" "{self._certificate(slug).with_suffix("")}";\n')
            lines.append(f'"name:{host}" "{upstream}";\n')
        lines += [f'"{route.protocol}:{route.host}" "{_target(route)}";\n' for route in streams]
        return "".join(lines).encode()

    def _server_lines(self, slug: str, routes: Sequence[EdgeRoute]) -> bytes:
        """A server for each port of the platform's own, which passes on what comes. It is never TLS to us."""
        lines = [f"# PLACO platform {slug}: written by the portal, changes made here are lost.\n"]
        for route in routes:
            if route.protocol == SSH:
                lines.append(f"# {route.host}\nserver {{\n")
                lines += [f"    listen {address}:{route.edge_port};\n" for address in self._addresses]
                lines.append(f"    proxy_pass {_target(route)};\n    proxy_ssl off;\n}}\n")
        return "".join(lines).encode()

    def _check(self, before: Mapping[Path, bytes | None], *, new_site: bool, mark: Path) -> None:
        """Put everything back and raise if nginx does not accept what was written.

        Rejected when that was what it did not accept; DriverError when it does not accept the rest of its
        configuration either.
        """
        complaint = self._nginx.test()
        if complaint is None:
            return
        for path, content in reversed(list(before.items())):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                _write(path, content)
        if new_site:
            mark.unlink(missing_ok=True)
        others = self._nginx.test()
        if others is not None:
            raise DriverError(f"the edge's own configuration is broken: {others}")
        raise Rejected(f"the edge does not accept the site: {complaint}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time: nginx tests and loads all sites together."""
        try:
            with (self._sites / ".lock").open("a", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise DriverError(f"the edge's files cannot be changed: {error}") from error


def _target(route: EdgeRoute) -> str:
    return f"{_in_url(route.address)}:{route.port}"


def _in_url(address: str) -> str:
    """An IP address as it stands before a port; ValueError for anything else."""
    parsed = ip_address(address)
    return f"[{parsed}]" if parsed.version == 6 else str(parsed)


def _digest(contents: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for content in contents:
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Key and certificate first: no site ever names what is not there."""
    for path, content in files.items():
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    """The whole file or the one before, also after a power cut; readable by its owner alone from the first byte."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
