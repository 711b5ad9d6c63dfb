"""A worker that is killed at one place: python -m tests.vm.dying_worker DATABASE RUN OPERATION MOMENT EDGE.

Advances the run with the real drivers; at the first call of the hypervisor's OPERATION it gets SIGKILL: `before` anything is
done, `during` it, or `after` it, before anybody heard of it. EDGE is the folder of a fake edge.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import django

DURING_S = 0.12
"""How long an operation may have gone on when its worker dies."""
PATIENCE_S = 120


def without_edge(folder: Path) -> None:
    """The lab's edge and name server are out of reach from here (their addresses are in the portal's namespace): a fake edge in `folder`, always well, and no zone."""
    from placo import wiring
    from placo.drivers.fake_edge import FakeEdge
    from placo.drivers.ports import ProbeResult

    edge = FakeEdge(folder)

    class Well:
        def https(self, *_arguments: object) -> ProbeResult:
            return ProbeResult(True, "answers")

    wiring.edge = lambda: edge  # type: ignore[assignment]
    wiring.prober = Well  # type: ignore[assignment]
    wiring.zone = lambda: None  # type: ignore[assignment]


def main(database: str, run_id: int, operation: str, moment: str, edge: str) -> int:
    """Ends by SIGKILL; returns 1 when the operation was never called."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    django.setup()
    from django.db import connections

    from placo.drivers.libvirt import LibvirtHypervisor
    from placo.services import engine, runs

    without_edge(Path(edge))
    connections["default"].settings_dict["NAME"] = database
    runs._send = lambda _run_id, _after: None  # type: ignore[assignment]
    real = getattr(LibvirtHypervisor, operation)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(self: LibvirtHypervisor, *arguments: Any, **options: Any) -> Any:
        if moment == "before":
            die()
        if moment == "during":
            threading.Timer(DURING_S, die).start()
        answer = real(self, *arguments, **options)
        if answer is not False:  # "not yet": the operation goes on
            die()
        return answer

    setattr(LibvirtHypervisor, operation, dying)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        engine.advance(run_id)
        time.sleep(0.1)  # other steps wait for their time
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
