"""The mail gateway on Postfix: a file per platform in `tables`, and what Postfix reads, made from all of them.

``<slug>.json`` is what the portal said of a platform. From these come ``transport.db`` (domain -> machine: also the domains that
are taken in at all), ``tls.db`` (machine -> the name in its certificate) and ``clients.json`` (who may send as which domain, for
deploy/gateway/policy.py). Each is replaced whole, and Postfix notices by itself: nothing has to be running for a change, and a
call that was interrupted is finished by the next one.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from placo.drivers.checks import dns_label, mail_domains, platform_uuid
from placo.drivers.ports import DriverError, MailDomain, Rejected

_ENDING = ".platform"
_POSTMAP = "/usr/sbin/postmap"
_ANSWER_TIMEOUT_S = 3.0
_POSTMAP_TIMEOUT_S = 30
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
"""The folders of Postfix's queue in which mails wait, one a file (qmgr(8))."""


class PostfixGateway:
    """`ports.MailGateway`; safe from several threads and processes (one lock file)."""

    def __init__(self, *, tables: Path, config: Path, queue: Path, address: str, port: int) -> None:
        self._tables = tables
        self._config = config
        self._queue = queue
        self._where = (address, port)

    def answers(self) -> bool:
        try:
            with socket.create_connection(self._where, timeout=_ANSWER_TIMEOUT_S) as connection:
                return connection.recv(64).startswith(b"220")
        except OSError:
            return False

    def queued(self) -> int | None:
        """Some of the folders are split into folders by the first digit of the mail's id."""
        if not os.access(self._queue / QUEUES[-1], os.R_OK | os.X_OK):
            return None
        return sum(len(files) for name in QUEUES for _, _, files in os.walk(self._queue / name))

    def ensure_domains(self, slug: str, uuid: str, domains: Iterable[MailDomain]) -> None:
        checked = mail_domains(slug, domains)
        platform_uuid(uuid)
        if not checked:
            self.remove_domains(slug, uuid)
            return
        with self._locked():
            platforms = self._platforms()
            holder = platforms.get(slug)
            if holder is not None and holder["uuid"] != uuid:
                raise Rejected(f"the mail gateway already knows {slug!r} as another platform ({holder['uuid']})")
            taken = {d["domain"]: name for name, other in platforms.items() for d in other["domains"]}
            for domain in checked:
                if taken.get(domain.domain, slug) != slug:
                    raise Rejected(f"{domain.domain} is the mail domain of {taken[domain.domain]} already")
            platforms[slug] = {"uuid": uuid, "domains": [asdict(domain) for domain in checked]}
            _write(self._file(slug), json.dumps(platforms[slug]))
            self._publish(platforms)

    def remove_domains(self, slug: str, uuid: str) -> None:
        """The platform's file goes last, so that an interrupted removal is seen and finished."""
        dns_label(slug, "slug")
        with self._locked():
            platforms = self._platforms()
            if slug in platforms and platforms[slug]["uuid"] == uuid:
                del platforms[slug]
                self._publish(platforms)
                self._file(slug).unlink(missing_ok=True)

    def domains(self) -> Mapping[str, str]:
        return {slug: platform["uuid"] for slug, platform in self._platforms().items()}

    def publish(self) -> None:
        """Make what Postfix reads anew from all platforms' files: before its first start, when there are none."""
        with self._locked():
            self._publish(self._platforms())

    # --- inside ---

    def _file(self, slug: str) -> Path:
        return self._tables / f"{slug}{_ENDING}"

    def _platforms(self) -> dict[str, dict[str, Any]]:
        try:
            return {path.stem: json.loads(path.read_text()) for path in sorted(self._tables.glob(f"[!.]*{_ENDING}"))}
        except (OSError, ValueError) as error:
            raise DriverError(f"the mail gateway's tables cannot be read: {error}") from error

    def _publish(self, platforms: Mapping[str, Mapping[str, Any]]) -> None:
        """What is needed to deliver first, what has mail taken in last. (The other way round for what goes: that mail waits.)"""
        domains = [MailDomain(**domain) for _, platform in sorted(platforms.items()) for domain in platform["domains"]]
        clients: dict[str, list[str]] = {}
        for d in domains:
            clients.setdefault(d.address, []).append(d.domain)
        self._compile("tls", {f"[{d.address}]:{d.port}": f"secure match={d.upstream_name}" for d in domains})
        self._compile("transport", {d.domain: f"platform:[{d.address}]:{d.port}" for d in domains})
        _write(self._tables / "clients.json", json.dumps(clients, indent=1))

    def _compile(self, name: str, rows: Mapping[str, str]) -> None:
        fresh = self._tables / f".{name}"
        _write(fresh, "".join(f"{key} {value}\n" for key, value in rows.items()))
        command = [_POSTMAP, "-c", str(self._config), f"hash:{fresh}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_POSTMAP_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DriverError(f"postmap cannot be run: {error}") from error
        if done.returncode:
            raise DriverError(f"postmap ended with {done.returncode}: {done.stderr.strip()}")
        fresh.with_name(f".{name}.db").rename(self._tables / f"{name}.db")
        fresh.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with (self._tables / ".lock").open("a", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise DriverError(f"the mail gateway's tables cannot be changed: {error}") from error


def _write(path: Path, text: str) -> None:
    """The whole file or the one before, also after a power cut. Not secret: Postfix reads it as a user of its own."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(0o644)
    fresh.rename(path)
