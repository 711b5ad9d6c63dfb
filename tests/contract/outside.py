"""Real servers for the contract tests, private to one test session: slapd with the lab's own configuration, nginx with the
lab's edge configuration, and a small HTTPS server that stands for a platform's machine.

They live in short folders below the system's temporary one (UNIX socket paths) and listen there and on loopback.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import ldap
import ldap.sasl

from deploy.lab import site
from deploy.lab.layout import BASE
from deploy.lab.shell import render
from placo.drivers.certificates import issue_from
from placo.drivers.ports import KeyPair

PORTAL_DN = f"cn=portal,ou=system,{BASE}"
PORTAL_PASSWORD = "a password of the portal, for tests"
_LOCAL_ROOT = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll until the condition holds; AssertionError naming what was waited for."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        pause.wait(0.02)


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A private folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="placo-t-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Server:
    """One process that a test starts, stops, freezes and starts again."""

    def __init__(self, command: list[str], answers: Callable[[], bool], log: Path) -> None:
        self._command = command
        self._answers = answers
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self._answers, f"{self._command[0]} answering")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(15)
            self._process = None

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Down in the block, up after it."""
        self.stop()
        yield
        self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """There, but saying nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{self._process.pid}/task")
        # Threads on other processors stop a moment later than the call returns.
        wait_for(lambda: all(_state(task) == "T" for task in tasks.iterdir()), "freezing")
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


def _state(task: Path) -> str:
    """A thread's state as in proc(5): T is stopped."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


class PrivateSlapd:
    """slapd with the lab's configuration, access rules, policies and people (deploy/lab/templates)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"ldapi://{str(folder / 'ldapi').replace('/', '%2F')}"
        self.tls_uri = f"ldaps://127.0.0.1:{free_port()}"
        self.ca_file = folder / "tls" / "ca.pem"
        self.passwords = {person.uid: f"password of {person.uid}" for person in site.people()}
        for name in ("config", "data", "tls"):
            (folder / name).mkdir()
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
        command = [
            "openssl",
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        command += ["-days", "2", "-subj", "/CN=slapd", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(
            [*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
        shutil.copy(certificate, self.ca_file)

    def _configure(self) -> None:
        configuration = render("slapd.ldif.j2", base=BASE, root=_LOCAL_ROOT, portal=PORTAL_DN)
        configuration = configuration.replace("/var/lib/ldap/", f"{self.folder}/")
        configuration = configuration.replace("/run/slapd.", f"{self.folder}/slapd.")
        command = ["/usr/sbin/slapadd", "-n0", "-F", str(self.folder / "config"), "-l", "/dev/stdin"]
        subprocess.run(command, input=configuration, text=True, check=True, capture_output=True)

    def _seed(self) -> None:
        entries = render(
            "entries.ldif.j2",
            base=BASE,
            mail_domain="placo.test",
            people=site.people(),
            projects=site.projects(),
            passwords=self.passwords,
            portal_password=PORTAL_PASSWORD,
            b64=lambda text: base64.b64encode(text.encode()).decode(),
        )
        command = ["ldapadd", "-Q", "-Y", "EXTERNAL", "-H", self.uri]
        subprocess.run(command, input=entries, text=True, check=True, capture_output=True)


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


class Machine:
    """An HTTPS server on loopback that says what it was asked; `name` is in its certificate."""

    def __init__(self, root: KeyPair, name: str, folder: Path) -> None:
        pair = issue_from(root, [name])
        chain = folder / f"{name}.pem"
        chain.write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.name = name
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(name))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(name: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            received = len(self.rfile.read(length))
            said = {"machine": name, "method": self.command, "path": self.path, "received": received}
            body = json.dumps(said | {"headers": dict(self.headers)}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_COPY = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at answers, not at a log."""

    return Handler


class PrivateNginx:
    """nginx as the lab's edge runs, on a UNIX socket and a loopback port of its own."""

    def __init__(self, folder: Path, root: KeyPair) -> None:
        self.folder = folder
        self.socket = folder / "edge.sock"
        self.port = free_port()
        self.pid_file = folder / "edge.pid"
        self.config_file = folder / "nginx.conf"
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(root.certificate)
        for name in ("sites", "certificates", "tls", "pages", "snippets", "tmp"):
            (folder / name).mkdir()
        pair = issue_from(root, ["unknown.placo.localhost"])
        (folder / "tls" / "certificate.pem").write_bytes(pair.certificate)
        (folder / "tls" / "key.pem").write_bytes(pair.key)
        (folder / "pages" / "unknown.html").write_text("no such platform")
        (folder / "pages" / "stopped.html").write_text("stopped or starting")
        lab = SimpleNamespace(run=folder, logs=folder, edge=folder, edge_socket=self.socket)
        self.stopped_snippet = folder / "snippets" / "stopped.conf"
        self.stopped_snippet.write_text(render("stopped.conf.j2", lab=lab))
        configuration = render("edge.conf.j2", lab=lab, address="127.0.0.1")
        self.config_file.write_text(configuration.replace("127.0.0.1:443", f"127.0.0.1:{self.port}"))
        command = ["/usr/sbin/nginx", "-c", str(self.config_file), "-e", str(folder / "errors.log")]
        self.server = Server(command, self._answers, folder / "nginx.log")
        self.server.start()

    def ask(
        self,
        host: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        port: int = 443,
    ) -> httpx.Response:
        """One request over the edge's UNIX socket, with the certificate checked for `host`."""
        trusted = ssl.create_default_context(cafile=str(self.ca_file))
        transport = httpx.HTTPTransport(verify=trusted, uds=str(self.socket))
        with httpx.Client(transport=transport, timeout=10) as client:
            url = f"https://{host}:{port}{path}"
            return client.request(method, url, headers=dict(headers or {}), content=content)

    def serves(self, host: str) -> bool:
        """Whether a machine answers under this name (the default server's certificate is for none of ours)."""
        try:
            return self.ask(host).status_code == 200
        except httpx.ConnectError:
            return False

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return self.pid_file.exists()
