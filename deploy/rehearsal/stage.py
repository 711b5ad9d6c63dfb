"""What stands behind PLACO's drivers in every process of a rehearsal: the fakes in folders that all of them share.

A process enters the stage before it does anything else; what the stage looks like is in the file that the environment
variable PLACO_REHEARSAL names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.lab import site
from deploy.lab.layout import EDGE_DOMAIN
from deploy.rehearsal.trouble import SharedFaults, TroubleFile
from placo.domain import saga
from placo.drivers import ports
from placo.drivers.fake_directory import FakeDirectory
from placo.drivers.fake_edge import FakeCertificateAuthority, FakeEdge, FakeGateway, FakeZone
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.fake_images import FakeImages

VARIABLE = "PLACO_REHEARSAL"
READY = "PLACO_REHEARSAL_READY"
"""The environment variable that names a file which a worker makes when it takes tasks."""


@dataclass(frozen=True)
class Haste:
    """How patient the engine is here, where it is not as it is in production (`saga.POLICIES`). Seconds."""

    lease: float
    first_wait: float
    longest_wait: float


@dataclass(frozen=True)
class Stage:
    """`delays` are those of the fake hosts (operation -> seconds); the directory is a fake one unless `slapd`."""

    folder: Path
    base: str
    delays: Mapping[str, float] = field(default_factory=dict)
    slapd: bool = False
    haste: Haste | None = None

    @property
    def file(self) -> Path:
        return self.folder / "stage.json"

    @property
    def trouble(self) -> TroubleFile:
        return TroubleFile(self.folder / "trouble.json")

    def write(self) -> None:
        """For other processes."""
        self.file.write_text(json.dumps(asdict(self) | {"folder": str(self.folder)}))

    @classmethod
    def read(cls, file: Path) -> Stage:
        read = json.loads(file.read_text())
        haste = Haste(**read["haste"]) if read["haste"] else None
        return cls(Path(read["folder"]), read["base"], read["delays"], read["slapd"], haste)

    def enter(self) -> None:
        """From now on this process sees the fakes."""
        from placo import wiring

        trouble = self.trouble
        hosts: dict[str, StagedHypervisor] = {}

        def hypervisor(name: str, *_more: str) -> StagedHypervisor:
            if name not in hosts:
                hosts[name] = StagedHypervisor(self.folder / "hosts" / name, name, self.delays, trouble)
            return hosts[name]

        edge, authority = FakeEdge(self.folder / "edge"), FakeCertificateAuthority()
        edge.faults, authority.faults = SharedFaults("edge", trouble), SharedFaults("authority", trouble)
        gateway = FakeGateway(self.folder / "gateway")
        gateway.faults = SharedFaults("gateway", trouble)
        zone = FakeZone(self.folder / "names", EDGE_DOMAIN)
        zone.faults = SharedFaults("zone", trouble)
        images = _Images(self.folder / "images")
        prober: ports.Prober = _Prober(edge)
        doubles: dict[str, Callable[..., object]] = {
            "hypervisor": hypervisor,
            "edge": lambda: edge,
            "gateway": lambda: gateway,
            "zone": lambda: zone,
            "authority": lambda: authority,
            "images": lambda: images,
            "prober": lambda: prober,
        }
        if not self.slapd:
            people = [ports.Person(p.uid, p.name, f"{p.uid}@placo.test") for p in site.people()]
            directory = FakeDirectory(self.folder / "directory", people, self.base)
            directory.faults = SharedFaults("directory", trouble)
            directory.owners_of = {p.slug: set(p.owners) for p in site.projects()}
            directory.admins = {p.uid for p in site.people() if p.role == "admin"}
            doubles["directory"] = lambda: directory
        for name, double in doubles.items():
            setattr(wiring, name, double)
        if self.haste is not None:
            _hurry(self.haste)


def enter() -> Stage:
    """Enter the stage that the environment names."""
    stage = Stage.read(Path(os.environ[VARIABLE]))
    stage.enter()
    return stage


def _hurry(haste: Haste) -> None:
    patient = saga.policy

    def policy(action: str) -> saga.Policy:
        usual = patient(action)
        return saga.Policy(lease=haste.lease, attempts=usual.attempts, deadline=usual.deadline)

    def backoff(attempt: int) -> float:
        return min(haste.first_wait * 2.0 ** (attempt - 1), haste.longest_wait)

    saga.policy, saga.backoff = policy, backoff


class StagedHypervisor(FakeHypervisor):
    """A fake host whose operations take their time after the effect: a host goes on by itself once it has been asked, and
    what takes long is its answer. Whoever asked may be killed or frozen meanwhile."""

    def __init__(self, directory: Path, name: str, delays: Mapping[str, float], trouble: TroubleFile) -> None:
        self._shared = SharedFaults(name, trouble)
        super().__init__(directory, name, delays, self._shared)

    @contextmanager
    def _operation(self, operation: str) -> Iterator[None]:
        self.faults.check(operation)
        with self._shelf.locked():
            yield
        time.sleep(self.delays.get(operation, 0))
        self._shared.check_after(operation)


class _Images(FakeImages):
    """How often an image was built anew is the length of a file: every process sees the same one."""

    def name_for(self, machine: str) -> str:
        file = self._file(machine)
        self.versions[machine] = file.stat().st_size if file.exists() else 0
        return super().name_for(machine)

    def build_anew(self, machine: str) -> None:
        """From now on the image of this kind of machine is another one."""
        with self._file(machine).open("ab") as file:
            file.write(b".")

    def _file(self, machine: str) -> Path:
        return self._directory / f"{machine}.built"


def build_anew(machine: str) -> None:
    """In a process that has entered the stage: this kind of machine gets another image."""
    from placo import wiring

    images = wiring.images()
    if not isinstance(images, _Images):
        raise TypeError("this process is not on the stage")
    images.build_anew(machine)


class _Prober:
    """`ports.Prober`: a machine answers as it should once the edge has a route to it."""

    def __init__(self, edge: FakeEdge) -> None:
        self._edge = edge

    def https(
        self, host: str, _path: str, expect_status: Iterable[int], _timeout_s: float
    ) -> ports.ProbeResult:
        return self._told(host, "https", f"answers {min(expect_status)}")

    def greeting(
        self, host: str, protocol: str, _timeout_s: float, edge_port: int | None = None
    ) -> ports.ProbeResult:
        return self._told(host, protocol, "greets", edge_port)

    def _told(self, host: str, protocol: str, well: str, edge_port: int | None = None) -> ports.ProbeResult:
        routed = self._edge.routed(host, protocol, edge_port)
        return ports.ProbeResult(routed, well if routed else "nobody is there")
