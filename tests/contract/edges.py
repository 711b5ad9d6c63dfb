"""The edges that the contract is proved on: the fake, and a private nginx with the lab's edge configuration."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.rehearsal.process import short_folder
from placo.drivers.certificates import create_root, issue_from
from placo.drivers.edge_nginx import NginxEdge
from placo.drivers.fake_edge import FakeEdge
from placo.drivers.ports import Edge, EdgeRoute, KeyPair
from tests.contract.outside import Greeter, Machine, PlainGreeter, PrivateNginx

ROOT = create_root("PLACO test root")
A, B = str(uuid4()), str(uuid4())
WEB, SVN, OTHER = (f"{label}.placo.localhost" for label in ("alpha-web", "alpha-svn", "beta-web"))
MAIL, OTHER_MAIL = "alpha-mail.placo.localhost", "beta-mail.placo.localhost"
SSH, OTHER_SSH = "alpha-gateway.placo.localhost", "beta-gateway.placo.localhost"
UPSTREAM = "www.alpha.placo.internal"


class FakeOutside:
    def __init__(self, folder: Path) -> None:
        self.fake = FakeEdge(folder)
        self.edge: Edge = self.fake
        self.port = self.greeter_port = self.plain_port = 443

    def serves(self, host: str) -> bool:
        return self.routes(host, "https")

    def routes(self, host: str, protocol: str) -> bool:
        routes = [route for site in self.fake.served.values() for route in site.routes]
        return (host, protocol) in {(route.host, route.protocol) for route in routes}

    def passes(self, edge_port: int) -> bool:
        return edge_port in {route.edge_port for site in self.fake.served.values() for route in site.routes}

    @contextmanager
    def down(self) -> Iterator[None]:
        """Not running in the block."""
        self.fake.faults.unreachable = True
        yield
        self.fake.faults.unreachable = False

    @contextmanager
    def spoilt(self) -> Iterator[None]:
        """Somebody has broken its configuration in the block."""
        self.fake.complaint = "unexpected end of file"
        yield
        self.fake.complaint = ""


class NginxOutside:
    """A running nginx, the driver for it, and one machine behind it."""

    def __init__(self, nginx: PrivateNginx, machine: Machine, greeter: Greeter, plain: PlainGreeter) -> None:
        self.nginx = nginx
        self.machine = machine
        self.port, self.greeter_port, self.plain_port = machine.port, greeter.port, plain.port
        self.edge = self.driver()

    def driver(self, *includes: Path) -> NginxEdge:
        return NginxEdge(
            sites_dir=self.nginx.folder / "sites",
            certificates_dir=self.nginx.folder / "certificates",
            pid_file=self.nginx.pid_file,
            config_file=self.nginx.config_file,
            ca_file=self.nginx.ca_file,
            addresses=("127.0.0.1", "::1"),
            listens=(
                f"127.0.0.1:{self.nginx.port} ssl",
                f"[::1]:{self.nginx.port} ssl",
                f"unix:{self.nginx.socket} ssl",
            ),
            includes=(self.nginx.stopped_snippet, *includes),
        )

    def serves(self, host: str) -> bool:
        return self.nginx.serves(host)

    def routes(self, host: str, protocol: str) -> bool:
        """Whether somebody greets in a protocol other than HTTPS."""
        try:
            return self.nginx.says(host, protocol) != b""
        except ssl.SSLCertVerificationError:
            return False

    def passes(self, edge_port: int) -> bool:
        """Whether somebody greets at a port of a platform's own, and hears what is said."""
        try:
            with socket.create_connection(("127.0.0.1", edge_port), timeout=10) as client:
                if not client.recv(100).startswith(b"SSH-2.0-"):
                    return False
                client.sendall(b"hello")
                return client.recv(100) == b"hello"
        except ConnectionRefusedError:
            return False

    def down(self) -> AbstractContextManager[None]:
        """Not running in the block."""
        return self.nginx.server.stopped()

    @contextmanager
    def spoilt(self) -> Iterator[None]:
        """Somebody has broken its configuration in the block."""
        stray = self.nginx.folder / "sites" / "stray.conf"
        stray.write_text("server { listen")
        yield
        stray.unlink()

    def files(self) -> set[str]:
        found = [*(self.nginx.folder / "sites").iterdir(), *(self.nginx.folder / "certificates").iterdir()]
        return {path.name for path in found} - {".lock"}

    def workers(self) -> str:
        """The pids of nginx's workers: they change with each reload."""
        master = self.nginx.pid_file.read_text().strip()
        return Path(f"/proc/{master}/task/{master}/children").read_text()


EdgeWorld = FakeOutside | NginxOutside
Servers = tuple[PrivateNginx, Machine, Greeter, PlainGreeter]


@pytest.fixture(scope="module")
def edge_servers() -> Iterator[Servers]:
    with short_folder() as folder:
        nginx, machine = PrivateNginx(folder, ROOT), Machine(ROOT, UPSTREAM, folder)
        greeter = Greeter(ROOT, UPSTREAM, folder)
        plain = PlainGreeter()
        yield nginx, machine, greeter, plain
        plain.stop()
        greeter.stop()
        machine.stop()
        nginx.server.stop()


@pytest.fixture
def nginx_world(edge_servers: Servers) -> Iterator[NginxOutside]:
    world = NginxOutside(*edge_servers)
    yield world
    for slug, uuid in world.edge.sites().items():
        world.edge.remove_site(slug, uuid)
    assert world.files() == set()


@pytest.fixture(params=["fake", "nginx"])
def edge_world(request: pytest.FixtureRequest, tmp_path: Path) -> EdgeWorld:
    if request.param == "fake":
        return FakeOutside(tmp_path)
    world: NginxOutside = request.getfixturevalue("nginx_world")
    return world


def pair(*names: str) -> KeyPair:
    return issue_from(ROOT, names or (WEB, SVN))


def route(port: int, host: str = WEB, address: str = "127.0.0.1", name: str = UPSTREAM) -> EdgeRoute:
    return EdgeRoute(host, address, port, name)


def stream(port: int, protocol: str = "imaps", host: str = MAIL) -> EdgeRoute:
    return EdgeRoute(host, "127.0.0.1", port, UPSTREAM, protocol)


def ssh(port: int, edge_port: int | None, host: str = SSH) -> EdgeRoute:
    return EdgeRoute(host, "127.0.0.1", port, UPSTREAM, "ssh", edge_port)


def serve(world: EdgeWorld, *hosts: str, slug: str = "alpha", uuid: str = A) -> KeyPair:
    """A site with these hosts, all of them the one machine."""
    issued = pair(*hosts)
    routes = [route(world.port, host) for host in hosts]
    world.edge.ensure_site(slug, uuid, routes, issued.certificate, issued.key)
    return issued
