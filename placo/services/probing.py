"""Asking a machine whether it works, as a user would."""

from __future__ import annotations

from placo import wiring
from placo.domain.catalogue import Probe
from placo.domain.plan import Plan
from placo.domain.protocols import HTTPS
from placo.drivers.ports import ProbeResult


def ask(probe: Probe, plan: Plan, timeout_s: float) -> ProbeResult:
    """One question through the edge, answered within `timeout_s` seconds; never raises for what the machine does."""
    host, prober = f"{probe.label(plan.slug)}.{wiring.site().edge.domain}", wiring.prober()
    if probe.protocol == HTTPS:
        return prober.https(host, probe.path, probe.expect_status, timeout_s)
    own = {(e.host, e.protocol): e.edge_port for e in plan.endpoints}
    return prober.greeting(host, probe.protocol, timeout_s, own.get((host, probe.protocol)))
