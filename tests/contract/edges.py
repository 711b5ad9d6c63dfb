"""The edges that the contract is proved on: the fake, and a private nginx with the lab's edge configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from placo.drivers.certificates import create_root, issue_from
from placo.drivers.edge_nginx import NginxEdge
from placo.drivers.fake_edge import FakeEdge
from placo.drivers.ports import Edge, EdgeRoute, KeyPair
from tests.contract.outside import Machine, PrivateNginx, short_folder

ROOT = create_root("PLACO test root")
A, B = str(uuid4()), str(uuid4())
WEB, SVN, OTHER = (f"{label}.placo.localhost" for label in ("alpha-web", "alpha-svn", "beta-web"))
UPSTREAM = "www.alpha.placo.internal"


class FakeOutside:
    def __init__(self, folder: Path) -> None:
        self.fake = FakeEdge(folder)
        self.edge: Edge = self.fake
        self.port = 443

    def serves(self, host: str) -> bool:
        return any(route.host == host for site in self.fake.served.values() for route in site.routes)

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

    def __init__(self, nginx: PrivateNginx, machine: Machine) -> None:
        self.nginx = nginx
        self.machine = machine
        self.port = machine.port
        self.edge = self.driver()

    def driver(self, *includes: Path) -> NginxEdge:
        return NginxEdge(
            sites_dir=self.nginx.folder / "sites",
            certificates_dir=self.nginx.folder / "certificates",
            pid_file=self.nginx.pid_file,
            config_file=self.nginx.config_file,
            ca_file=self.nginx.ca_file,
            listens=(f"127.0.0.1:{self.nginx.port} ssl", f"unix:{self.nginx.socket} ssl"),
            includes=(self.nginx.stopped_snippet, *includes),
        )

    def serves(self, host: str) -> bool:
        return self.nginx.serves(host)

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


@pytest.fixture(scope="module")
def edge_servers() -> Iterator[tuple[PrivateNginx, Machine]]:
    with short_folder() as folder:
        nginx, machine = PrivateNginx(folder, ROOT), Machine(ROOT, UPSTREAM, folder)
        yield nginx, machine
        machine.stop()
        nginx.server.stop()


@pytest.fixture
def nginx_world(edge_servers: tuple[PrivateNginx, Machine]) -> Iterator[NginxOutside]:
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


def serve(world: EdgeWorld, *hosts: str, slug: str = "alpha", uuid: str = A) -> KeyPair:
    """A site with these hosts, all of them the one machine."""
    issued = pair(*hosts)
    routes = [route(world.port, host) for host in hosts]
    world.edge.ensure_site(slug, uuid, routes, issued.certificate, issued.key)
    return issued
