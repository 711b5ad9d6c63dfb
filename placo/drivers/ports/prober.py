"""Asking services for a sign of life, as their users would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ProbeResult:
    """`answer` says in words what came back (for the screen)."""

    healthy: bool
    answer: str


class Prober(Protocol):
    def https(self, host: str, path: str, expect_status: Iterable[int], timeout_s: float) -> ProbeResult:
        """Ask through the edge, as a user would, checking the certificate."""

    def greeting(
        self, host: str, protocol: str, timeout_s: float, edge_port: int | None = None
    ) -> ProbeResult:
        """Whether a server greets in a protocol other than HTTPS, through the edge, checking the certificate; in ssh, which has
        none, at `edge_port`."""
