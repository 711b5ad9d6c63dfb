"""PostgreSQL, Redis and slapd, each private to a folder and on UNIX sockets there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import ldap
import ldap.sasl
import redis

from deploy.lab import directory, site
from deploy.lab.layout import BASE
from deploy.lab.programs import POSTGRES
from deploy.lab.shell import render
from deploy.rehearsal.process import Server, free_port

PORTAL_DN = f"cn=portal,ou=system,{BASE}"
PORTAL_PASSWORD = "a password of the portal, for rehearsals"  # noqa: S105 - of a directory that lives for minutes
_LOCAL_ROOT = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"


class PrivatePostgres:
    """A cluster with the role and the empty database `placo`; the lab's settings. `folder` is the host to connect to.

    Its files and processes are those of the system's user `postgres` where root starts it, for it refuses to be root.
    """

    def __init__(self, folder: Path, *, connections: int = 120) -> None:
        self.folder = folder
        self._become: list[str] = []
        folder.mkdir()
        if os.getuid() == 0:
            self._become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
            shutil.chown(folder, "postgres", "postgres")
        self._initialise(connections)
        command = [*self._become, str(POSTGRES / "postgres"), "-D", str(folder / "data")]
        # QUIT is PostgreSQL's immediate shutdown: nothing of a rehearsal is worth a farewell.
        self.server = Server(
            command, self.answers, folder.parent / "postgres.log", farewell=signal.SIGQUIT, patience_s=60
        )
        self.server.start()
        for statement in ("create role placo login createdb", "create database placo owner placo"):
            self._query(statement)

    def answers(self) -> bool:
        """Whether it takes connections."""
        return self._psql("select 1").returncode == 0

    def restart(self, number: signal.Signals) -> None:
        """End it by INT (fast), QUIT (immediate) or KILL, and have it recover."""
        self.server.stop(number)
        self.server.start()

    def _initialise(self, connections: int) -> None:
        data = self.folder / "data"
        options = ["--locale=C.UTF-8", "--encoding=UTF8", "--auth=peer", "--username=postgres", "--no-sync"]
        command = [*self._become, str(POSTGRES / "initdb"), "-D", str(data), *options]
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        me = pwd.getpwuid(os.getuid()).pw_name
        settings = render("postgresql.conf.j2").replace("'/run'", f"'{self.folder}'")
        settings += f"max_connections = {connections}\n"
        (data / "postgresql.conf").write_text(settings)
        (data / "pg_ident.conf").write_text(f"here {me} postgres\nhere {me} placo\n")
        (data / "pg_hba.conf").write_text("local all all peer map=here\n")

    def _psql(self, statement: str) -> subprocess.CompletedProcess[str]:
        command = ["psql", "-X", "-q", "-h", str(self.folder), "-U", "postgres", "-d", "postgres"]
        command += ["-v", "ON_ERROR_STOP=1", "-c", statement]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")

    def _query(self, statement: str) -> None:
        done = self._psql(statement)
        if done.returncode != 0:
            raise RuntimeError(f"{statement}: {done.stderr}")


class PrivateRedis:
    """`url` for clients; `server` may be stopped, frozen and started. It keeps nothing."""

    def __init__(self, folder: Path) -> None:
        socket = folder / "redis.sock"
        self.url = f"unix://{socket}?db=0"
        command = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", str(socket)]
        command += ["--save", "", "--dir", str(folder)]
        self.server = Server(command, self._answers, folder / "redis.log")
        self.server.start()

    def client(self) -> redis.Redis:
        """A client that does not wait long."""
        return redis.Redis.from_url(self.url, socket_timeout=2)

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False


class PrivateSlapd:
    """slapd with the lab's configuration, access rules, policies and people (deploy/lab/templates)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"ldapi://{str(folder / 'ldapi').replace('/', '%2F')}"
        self.tls_uri = f"ldaps://127.0.0.1:{free_port()}"
        self.ca_file = folder / "tls" / "ca.pem"
        self.passwords = {person.uid: f"password of {person.uid}" for person in site.people()}
        for name in ("config", "data", "tls"):
            (folder / name).mkdir(parents=True)
        self._certify()
        self._configure()
        listen = f"{self.uri} {self.tls_uri}"
        command = ["/usr/sbin/slapd", "-d", "none", "-F", str(folder / "config"), "-h", listen]
        self.server = Server(command, self._answers, folder / "slapd.log")
        self.server.start()
        self._seed()

    def as_root(self) -> Any:
        """A connection that may do anything: for half-made states and for looking."""
        connection = ldap.initialize(self.uri)
        connection.sasl_interactive_bind_s("", ldap.sasl.external())
        return connection

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        """uids that an account sees below the base; None if it cannot bind."""
        return uids_visible(self.uri, dn, password)

    def _answers(self) -> bool:
        try:
            self.as_root().unbind_s()
        except ldap.SERVER_DOWN:
            return False
        return True

    def _certify(self) -> None:
        """Signed by itself, for the address: libldap replaces the name localhost by the machine's own."""
        certificate, key = self.folder / "tls" / "certificate.pem", self.folder / "tls" / "key.pem"
        command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec"]
        command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2", "-subj", "/CN=slapd"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        shutil.copy(certificate, self.ca_file)

    def _configure(self) -> None:
        configuration = render("slapd.ldif.j2", base=BASE, root=_LOCAL_ROOT, portal=PORTAL_DN)
        configuration = configuration.replace("/var/lib/ldap/", f"{self.folder}/")
        configuration = configuration.replace("/run/slapd.", f"{self.folder}/slapd.")
        command = ["/usr/sbin/slapadd", "-n0", "-F", str(self.folder / "config"), "-l", "/dev/stdin"]
        subprocess.run(command, input=configuration, text=True, check=True, capture_output=True)

    def _seed(self) -> None:
        command = ["ldapadd", "-Q", "-Y", "EXTERNAL", "-H", self.uri]
        content = directory.entries(self.passwords, PORTAL_PASSWORD)
        subprocess.run(command, input=content, text=True, check=True, capture_output=True)


def uids_visible(uri: str, dn: str, password: str) -> set[str] | None:
    """uids that an account finds in the whole directory behind `uri`; None if it cannot bind."""
    connection = ldap.initialize(uri)
    try:
        connection.simple_bind_s(dn, password)
    except ldap.INVALID_CREDENTIALS:
        return None
    found = connection.search_s(f"ou=people,{BASE}", ldap.SCOPE_SUBTREE, "(uid=*)", ["uid"])
    connection.unbind_s()
    return {entry["uid"][0].decode() for _dn, entry in found}
