"""Real servers for the contract tests, private to one test session: nginx with the lab's edge configuration, and a small
HTTPS server that stands for a platform's machine.

They live in short folders below the system's temporary one (UNIX socket paths) and listen there and on loopback.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from deploy.lab.layout import REPOSITORY
from deploy.lab.shell import render
from deploy.rehearsal.process import Server, free_port
from placo.domain.protocols import STREAMS
from placo.drivers.certificates import issue_from
from placo.drivers.ports import KeyPair

PAGES = REPOSITORY / "deploy" / "lab" / "pages"


def understandable(page: str) -> bool:
    """Whether a page says to people, in each of the two languages and marked as such, that a machine is stopped and who starts it."""
    _before, found, french = page.partition('lang="fr"')
    english = page.removesuffix(french)
    return bool(
        found
        and '<html lang="en">' in english
        and re.search(r"machine is stopped or starting", english)
        and re.search(r"owner can start it in PLACO", english)
        and re.search(r"machine est arrêtée ou en cours de démarrage", french)
        and re.search(r"personne responsable de la plateforme peut la démarrer dans PLACO", french)
    )


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


class Greeter:
    """A TLS server on loopback that says one line to whoever comes; `name` is in its certificate."""

    def __init__(self, root: KeyPair, name: str, folder: Path, line: bytes = b"* OK here I am\r\n") -> None:
        pair = issue_from(root, [name])
        chain = folder / f"{name}-greeter.pem"
        chain.write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(self.request, server_side=True) as secured,
                ):
                    secured.sendall(line)
                    while secured.recv(100):  # closing with something unread would cut the line off
                        pass

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class PlainGreeter:
    """A TCP server on loopback that says one line to whoever comes, without TLS, and then what it is told."""

    def __init__(self, line: bytes = b"SSH-2.0-here-I-am\r\n") -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self.request.sendall(line)
                    while said := self.request.recv(100):
                        self.request.sendall(said)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
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
        for page in PAGES.glob("*.html"):
            (folder / "pages" / page.name).write_bytes(page.read_bytes())
        lab = SimpleNamespace(run=folder, logs=folder, edge=folder, edge_socket=self.socket)
        self.stopped_snippet = folder / "snippets" / "stopped.conf"
        self.stopped_snippet.write_text(render("stopped.conf.j2", lab=lab))
        (folder / "tls" / "certificate.key").symlink_to("key.pem")
        self.stream_ports = {name: free_port() for name in STREAMS}
        configuration = render(
            "edge.conf.j2",
            lab=lab,
            address="127.0.0.1",
            address6="::1",
            streams=self.stream_ports,
            ca=self.ca_file,
        )
        self.plain_port = free_port()
        for known, mine in ((443, self.port), (80, self.plain_port)):
            for address in ("127.0.0.1", "[::1]"):
                configuration = configuration.replace(f"{address}:{known} ", f"{address}:{mine} ")
        self.config_file.write_text(configuration)
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

    def says(self, host: str, protocol: str, *, address: str = "127.0.0.1", source: str = "") -> bytes:
        """What a server says first in a protocol that is not HTTPS; b"" when it hangs up. The certificate is checked for `host`."""
        trusted = ssl.create_default_context(cafile=str(self.ca_file))
        plain = socket.create_connection(
            (address, self.stream_ports[protocol]),
            timeout=10,
            source_address=(source, 0) if source else None,
        )
        with plain, trusted.wrap_socket(plain, server_hostname=host) as secured:
            try:
                return secured.recv(100)
            except ConnectionResetError:
                return b""

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
