"""The DNS zones that the contract is proved on: the fake, and a private Knot with the lab's configuration."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import dns.message
import dns.query
import dns.rdatatype
import pytest

from deploy.lab.names import driver, write_configuration
from deploy.lab.programs import knot
from deploy.rehearsal.process import Server, free_port, short_folder
from placo.domain.names import Record
from placo.drivers.fake_edge import FakeZone
from placo.drivers.ports import Zone
from placo.drivers.zone_rfc2136 import Rfc2136Zone

ZONE = "placo.localhost"
A, B = str(uuid4()), str(uuid4())


def record(name: str, kind: str = "A", value: str = "192.0.2.1") -> Record:
    """A record of a name in the zone."""
    return Record(f"{name}.{ZONE}", kind, value)


class FakeOutside:
    def __init__(self, folder: Path) -> None:
        self.fake = FakeZone(folder, ZONE)
        self.zone: Zone = self.fake

    def answers(self, name: str, kind: str) -> set[str]:
        """What the world is told of a name."""
        return {r.value for r in self.fake.written() if (r.name, r.type) == (f"{name}.{ZONE}", kind)}

    def add_of_others(self, name: str) -> None:
        """A name that an administrator put into the zone."""
        self.fake.others.add(f"{name}.{ZONE}")

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.fake.faults.unreachable = True
        yield
        self.fake.faults.unreachable = False


class KnotOutside:
    """A running Knot and the driver for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        write_configuration(folder, zone=ZONE, address="127.0.0.1", port=self.port)
        self.driver: Rfc2136Zone = driver(folder, ZONE, "127.0.0.1", self.port)
        self.zone: Zone = self.driver
        self.server = Server(knot(folder), lambda: not self.zone.complaint(), folder / "log")
        self.server.start()

    def answers(self, name: str, kind: str) -> set[str]:
        asked = dns.message.make_query(f"{name}.{ZONE}", kind)
        answer = dns.query.tcp(asked, "127.0.0.1", port=self.port, timeout=5)
        return {
            rdata.to_text()
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.from_text(kind)
            for rdata in rrset
        }

    def add_of_others(self, name: str) -> None:
        update = self.driver._update()
        update.add(f"{name}.{ZONE}.", 60, "A", "192.0.2.99")
        assert self.driver._sent(update)

    def down(self) -> contextlib.AbstractContextManager[None]:
        return self.server.stopped()

    def clear(self) -> None:
        """An empty zone."""
        update = self.driver._update()
        for name in sorted({name for name, _ in self.driver._read()} - {ZONE}):
            update.delete(f"{name}.")
        assert self.driver._sent(update)


ZoneWorld = FakeOutside | KnotOutside


@pytest.fixture(scope="module")
def private_knot() -> Iterator[KnotOutside]:
    if shutil.which("knotd", path="/usr/sbin") is None:
        pytest.fail("Knot is not installed: run deploy/setup")
    with short_folder() as folder:
        world = KnotOutside(folder)
        yield world
        world.server.stop()


@pytest.fixture
def knot_world(private_knot: KnotOutside) -> Iterator[KnotOutside]:
    yield private_knot
    private_knot.clear()


@pytest.fixture(params=["fake", "knot"])
def zone_world(request: pytest.FixtureRequest, tmp_path: Path) -> ZoneWorld:
    if request.param == "fake":
        return FakeOutside(tmp_path)
    world: KnotOutside = request.getfixturevalue("knot_world")
    return world
