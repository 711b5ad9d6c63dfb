"""What a lab remembers between two starts: its two ports, how its hosts make machines, and from which catalogue."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deploy.lab.layout import Lab
from deploy.lab.shell import LabError, write

_FIRST_PORTS = (8000, 8443)
_ATTEMPTS = 50


@dataclass(frozen=True)
class State:
    """`portal_port` and `edge_port` are on 127.0.0.1; `kvm`: guests use hardware virtualization; `warm`: hosts keep templates,
    `ahead`: of all kinds of machine, before anybody asks.

    `catalogue` is the folder of a catalogue; empty: that of the checkout.
    """

    portal_port: int
    edge_port: int
    kvm: bool = False
    warm: bool = True
    ahead: bool = True
    catalogue: str = ""

    @property
    def portal_url(self) -> str:
        return f"http://127.0.0.1:{self.portal_port}"


def load(lab: Lab) -> State | None:
    """The remembered state; None for a lab that never started."""
    path = _path(lab)
    return State(**json.loads(path.read_text())) if path.exists() else None


@dataclass(frozen=True)
class Choices:
    """What whoever starts a lab may choose, as in `State`; None keeps what was chosen the last time."""

    kvm: bool | None = None
    warm: bool | None = None
    ahead: bool | None = None
    catalogue: str | None = None


def settle(lab: Lab, choices: Choices, *, ports_in_use_are_ours: bool) -> State:
    """The state of this start, saved.

    The ports stay those of the last start unless somebody else has taken them meanwhile. KVM is refused on a machine whose
    processors have no virtualization (/dev/kvm alone proves nothing).
    """
    last = load(lab)
    if choices.kvm and not processors_virtualize():
        raise LabError("KVM was asked for, but /proc/cpuinfo shows neither vmx nor svm", "leave --kvm out")
    ports = (last.portal_port, last.edge_port) if last else None
    if ports is None or not (ports_in_use_are_ours or _free(ports)):
        ports = _choose()
    chosen = {name: value for name, value in asdict(choices).items() if value is not None}
    state = replace(last or State(*ports), portal_port=ports[0], edge_port=ports[1], **chosen)
    write(_path(lab), json.dumps(asdict(state)) + "\n")
    return state


def processors_virtualize() -> bool:
    """Whether the processors have Intel's or AMD's virtualization, by their flags."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return bool({"vmx", "svm"} & set(line.split()))
    return False


def _path(lab: Lab) -> Path:
    return lab.root / "state.json"


def _choose() -> tuple[int, int]:
    for attempt in range(_ATTEMPTS):
        ports = (_FIRST_PORTS[0] + 10 * attempt, _FIRST_PORTS[1] + 10 * attempt)
        if _free(ports):
            return ports
    raise LabError("no free pair of ports from 8000 and 8443 on", "stop what listens there")


def _free(ports: tuple[int, int]) -> bool:
    for port in ports:
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
