"""Preparing PostgreSQL, Redis, the edge and the front, and asking whether they answer."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from deploy.lab import identity
from deploy.lab.layout import PORTAL_ADDRESS, Lab
from deploy.lab.programs import POSTGRES, environment, postgres_binds, private_command
from deploy.lab.shell import render, run, write
from deploy.lab.state import State
from placo.domain.protocols import STREAMS

_PAGES = Path(__file__).with_name("pages")
_PSQL = ("psql", "-X", "-q", "-A", "-t")


def prepare(lab: Lab, state: State) -> None:
    """Write configurations, make folders, create the database cluster; harmless when done."""
    for name in ("postgres", "redis", "slapd"):
        (lab.run / name).mkdir(parents=True, exist_ok=True)
        (lab.run / name).chmod(0o700)
    _prepare_postgres(lab)
    (lab.root / "redis").mkdir(parents=True, exist_ok=True)
    write(lab.root / "redis" / "redis.conf", render("redis.conf.j2"))
    for folder in (lab.root / "redis", lab.run / "redis"):
        identity.owned_by(folder, "redis")
    identity.owned_by(lab.run / "slapd", "openldap")
    for name in ("sites", "certificates", "tmp", "pages", "snippets"):
        (lab.edge / name).mkdir(parents=True, exist_ok=True)
    for page in _PAGES.glob("*.html"):
        write(lab.edge / "pages" / page.name, page.read_bytes())
    write(lab.edge / "snippets" / "stopped.conf", render("stopped.conf.j2", lab=lab))
    key = lab.edge / "tls" / "certificate.key"  # where a stream server looks for it: one name, two endings
    if not key.is_symlink():
        key.symlink_to("key.pem")
    edge = render(
        "edge.conf.j2",
        lab=lab,
        address=PORTAL_ADDRESS,
        address6=None,
        streams=STREAMS,
        ca=lab.edge / "tls" / "ca.pem",
    )
    write(lab.edge / "nginx.conf", edge)
    write(lab.root / "front" / "nginx.conf", render("front.conf.j2", lab=lab, state=state))


def forget_stale_postgres(lab: Lab) -> None:
    """Remove the lock file of a server that is known to be dead: its pid may be somebody else's by now."""
    (lab.root / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)


def ensure_database(lab: Lab) -> None:
    """The portal's role and database; the role may create databases, for the tests."""
    if not _query(lab, "select 1 from pg_roles where rolname = 'placo'"):
        _query(lab, "create role placo login createdb")
    if not _query(lab, "select 1 from pg_database where datname = 'placo'"):
        _query(lab, "create database placo owner placo encoding 'UTF8' template template0")


def postgres_answers(lab: Lab) -> bool:
    """Whether PostgreSQL takes connections."""
    if not _accepts(lab.database_socket_folder / ".s.PGSQL.5432"):
        return False
    command = [*_PSQL, "-h", lab.database_socket_folder, "-U", "postgres", "-d", "postgres"]
    return run([*command, "-c", "select 1"], accept=(0, 2)).strip() == "1"


def redis_answers(lab: Lab) -> bool:
    """Whether Redis says PONG."""
    return "PONG" in run(["redis-cli", "-s", lab.redis_socket, "ping"], accept=(0, 1))


def edge_answers(lab: Lab) -> bool:
    """Whether nginx accepts connections on its UNIX socket."""
    return _accepts(lab.edge_socket)


def portal_answers(lab: Lab) -> bool:
    """Whether the portal accepts connections on its UNIX socket."""
    return _accepts(lab.portal_socket)


def front_answers(state: State) -> bool:
    """Whether both ports on the loopback are open."""
    for port in (state.portal_port, state.edge_port):
        with socket.socket() as attempt:
            attempt.settimeout(2)
            if attempt.connect_ex(("127.0.0.1", port)) != 0:
                return False
    return True


def _prepare_postgres(lab: Lab) -> None:
    folder = lab.root / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    data = folder / "data"
    identity.owned_by(lab.run / "postgres", "postgres")
    shutil.chown(folder, "postgres", "postgres")
    if not (folder / "complete").exists():
        shutil.rmtree(data, ignore_errors=True)
        options = [
            "--locale=C.UTF-8",
            "--encoding=UTF8",
            "--auth=peer",
            "--username=postgres",
            "--data-checksums",
        ]
        command = [POSTGRES / "initdb", "-D", "/var/lib/postgresql/data", *options]
        run(private_command(postgres_binds(lab), "postgres", command), env=environment(lab))
        (folder / "complete").touch()
    # root (the portal's programs, in a lab) may be any role; nobody else may be anybody.
    write(data / "pg_ident.conf", "lab root postgres\nlab root placo\nlab postgres postgres\n", 0o600)
    write(data / "pg_hba.conf", "local all all peer map=lab\n", 0o600)
    write(data / "postgresql.conf", render("postgresql.conf.j2"), 0o600)
    for name in ("pg_ident.conf", "pg_hba.conf", "postgresql.conf"):
        shutil.chown(data / name, "postgres", "postgres")


def _query(lab: Lab, statement: str) -> str:
    command = [*_PSQL, "-h", lab.database_socket_folder, "-U", "postgres", "-d", "postgres"]
    return run([*command, "-v", "ON_ERROR_STOP=1", "-c", statement]).strip()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(2)
        return attempt.connect_ex(str(path)) == 0
