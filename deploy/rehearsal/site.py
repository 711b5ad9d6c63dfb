"""A site in a folder: its servers, its workers, and this process as its portal."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.lab import site as lab_site
from deploy.lab.layout import (
    BASE,
    DIRECTORY_ADDRESS,
    DIRECTORY_HOST,
    DNS_DOMAIN,
    EDGE_DOMAIN,
    GATEWAY_HOST,
    REPOSITORY,
)
from deploy.lab.programs import celery
from deploy.lab.shell import write
from deploy.rehearsal.process import Server, short_folder
from deploy.rehearsal.servers import PORTAL_DN, PORTAL_PASSWORD, PrivatePostgres, PrivateRedis, PrivateSlapd
from deploy.rehearsal.stage import READY, VARIABLE, Haste, Stage

_PLENTY = 1_000_000


@dataclass(frozen=True)
class Shape:
    """What a rehearsed site is like.

    `delays`: operation of the hypervisors' contract -> seconds; `app`: the Celery application, which has to import
    `deploy.rehearsal.worker`; without `slapd` the directory is a fake too; `haste`: shorter leases and waits.
    """

    hosts: tuple[str, ...] = ("h1", "h2")
    workers: int = 2
    threads: int = 8
    delays: Mapping[str, float] = field(default_factory=dict)
    slapd: bool = False
    haste: Haste | None = None
    catalogue: Path = REPOSITORY / "catalogue"
    app: str = "deploy.rehearsal.worker"
    environment: Mapping[str, str] = field(default_factory=dict)


class Site:
    """The servers of a rehearsal; `workers` and `beat` may be killed, frozen and started again like all others."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder, self.shape = folder, shape
        folder.chmod(0o711)  # PostgreSQL is another user
        for name in ("run", "state", "logs"):
            (folder / name).mkdir()
        self.stage = Stage(folder, BASE, shape.delays, shape.slapd, shape.haste)
        self.stage.write()
        self.postgres = PrivatePostgres(folder / "pg")
        self.redis = PrivateRedis(folder / "run")
        self.slapd = PrivateSlapd(folder / "ldap") if shape.slapd else None
        self._configure()
        self.workers = [self._celery("worker", number) for number in range(shape.workers)]
        self.beat = self._celery("beat")

    def enter(self) -> None:
        """Make this process a portal of the site: Django is set up, the schema is made, hosts and projects are there."""
        os.environ.update(self._environment())
        os.environ["DJANGO_SETTINGS_MODULE"] = "placo.settings"
        import django

        django.setup()
        from django.core.management import call_command

        self.stage.enter()
        call_command("migrate", verbosity=0)
        with Path(os.devnull).open("w") as nowhere:
            call_command("sync_site", stdout=nowhere)

    def start_workers(self) -> None:
        """All workers, and beat; they take tasks when this returns."""
        for server in (*self.workers, self.beat):
            server.start(wait=False)
        for server in (*self.workers, self.beat):
            server.wait()

    def stop(self) -> None:
        """Everything, at once."""
        for server in (*self.workers, self.beat):
            server.kill()
        for private in (self.slapd, self.redis, self.postgres):
            if private is not None:
                private.server.stop()

    def _environment(self) -> dict[str, str]:
        found = {"PLACO_CONFIG": str(self.folder / "placo.toml"), VARIABLE: str(self.stage.file)}
        return found | dict(self.shape.environment)

    def _celery(self, name: str, number: int = 0) -> Server:
        called = f"{name}{number}" if name == "worker" else name
        ready = self.folder / "run" / f"{called}.ready"
        schedule = self.folder / "state" / "beat-schedule"
        command = celery(
            Path(sys.executable), self.shape.app, name, schedule=schedule, threads=self.shape.threads
        )
        if name == "worker":
            command += ["--hostname", f"{called}@rehearsal"]
        server: list[Server] = []

        def answers() -> bool:
            return name == "beat" or (ready.exists() and ready.read_text() == str(server[0].pid))

        environment = {**os.environ, **self._environment(), READY: str(ready)}
        server.append(
            Server(
                [str(word) for word in command],
                answers,
                self.folder / "logs" / f"{called}.log",
                environment=environment,
                folder=REPOSITORY,
                patience_s=120,
            )
        )
        return server[0]

    def _configure(self) -> None:
        key, password = self.folder / "secret-key", self.folder / "directory-password"
        write(key, secrets.token_hex(32), 0o600)
        write(password, PORTAL_PASSWORD, 0o600)
        nowhere = str(self.folder / "nowhere")
        slapd = self.slapd
        tables: dict[str, dict[str, object]] = {
            "site": {
                "name": "a rehearsal",
                "portal_url": "http://127.0.0.1:1",
                "secret_key_file": str(key),
                "catalogue": str(self.shape.catalogue),
                "image_cache": nowhere,
                "state_dir": str(self.folder / "state"),
            },
            "database": {"host": str(self.postgres.folder), "name": "placo", "user": "placo"},
            "redis": {"url": self.redis.url},
            "directory": {
                "uri": slapd.uri if slapd else "ldapi://nowhere",
                "base": BASE,
                "bind_dn": PORTAL_DN,
                "password_file": str(password),
                "ca_file": str(slapd.ca_file) if slapd else nowhere,
                "guest_host": DIRECTORY_HOST,
                "guest_address": DIRECTORY_ADDRESS,
            },
            "edge": {
                "domain": EDGE_DOMAIN,
                "port": 8443,
                **dict.fromkeys(
                    ("sites_dir", "certificates_dir", "pid_file", "config_file", "socket"), nowhere
                ),
                "address": "127.0.0.1",
            },
            "gateway": {
                "host": GATEWAY_HOST,
                "address": "127.0.0.1",
                **dict.fromkeys(("tables_dir", "queue_dir"), nowhere),
            },
            # The zone is a fake: only what is to be in it is told from here.
            "dns": {
                "server": "127.0.0.1",
                "key_name": "rehearsal",
                "key_file": nowhere,
                "addresses": ["127.0.0.1"],
            },
            "ca": {"certificate_file": nowhere, "key_file": nowhere},
            "network": {"pool": "10.64.0.0/12", "prefix": 28, "dns_domain": DNS_DOMAIN},
        }
        lines = [line for name, values in tables.items() for line in (f"[{name}]", *_pairs(values))]
        for name in self.shape.hosts:
            host = {"name": name, "uri": f"fake://{name}", "hypervisor": "kvm", "storage_pool": "placo"}
            lines += ["[[hosts]]", *_pairs(host | {"domain_type": "qemu"})]
        for project in lab_site.projects():
            quota = dict.fromkeys(("platforms", "machines", "vcpus", "memory_mib", "disk_gib"), _PLENTY)
            known = {"slug": project.slug, "title": project.title, "max_days": 730}
            lines += ["[[projects]]", *_pairs(known), "[projects.quota]", *_pairs(quota)]
        write(self.folder / "placo.toml", "\n".join(lines) + "\n")


def _pairs(values: Mapping[str, object]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]


@contextmanager
def rehearsal(shape: Shape) -> Iterator[Site]:
    """A site, with this process as its portal, until the block ends. One for each process: Django is set up only once.

    Its workers are started by `start_workers`.
    """
    with ExitStack() as stack:
        site = Site(stack.enter_context(short_folder()), shape)
        stack.callback(site.stop)
        site.enter()
        from django.db import connections

        stack.callback(connections.close_all)
        yield site
