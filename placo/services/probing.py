"""Asking a machine whether it works, as a user would."""

from __future__ import annotations

from placo import wiring
from placo.domain.catalogue import Probe
from placo.domain.protocols import HTTPS
from placo.drivers.ports import ProbeResult


def ask(probe: Probe, slug: str, timeout_s: float) -> ProbeResult:
    """One question through the edge, answered within `timeout_s` seconds; never raises for what the machine does."""
    host, prober = f"{probe.label(slug)}.{wiring.site().edge.domain}", wiring.prober()
    if probe.protocol == HTTPS:
        return prober.https(host, probe.path, probe.expect_status, timeout_s)
    return prober.greeting(host, probe.protocol, timeout_s)
