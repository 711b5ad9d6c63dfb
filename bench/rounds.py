"""One machine made one way: through the engine, from a template (`warm`) or by booting (`cold`), or the classic way."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cost import Cost, Meter
from bench.login import Link, Login
from bench.platforms import Platforms, began, members_page, moment
from bench.probe import first_answer_from
from bench.ways import Classic, Place
from deploy.lab.layout import Host

WARM, COLD, CLASSIC = "warm", "cold", "virt-clone"
ANSWER_TIMEOUT_S = 600


@dataclass(frozen=True)
class Sample:
    """Seconds from the first step to the first answer, and what it cost. `steps`: name -> from and to, after the first one
    began. `fell_back`: why a machine that should have been resumed was booted.
    """

    way: str
    seconds: float
    cost: Cost
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)
    fell_back: str = ""


class Ours:
    """PLACO's ways: a platform with a web site alone, asked for and approved through the portal."""

    def __init__(self, platforms: Platforms, host: Host, place: Place) -> None:
        self.platforms, self.host, self.place = platforms, host, place

    @contextmanager
    def switched(self) -> Iterator[None]:
        """Whether the host has templates: afterwards as it was before."""
        before = next(h["warm"] for h in self.platforms.admin("GET", "/hosts") if h["name"] == self.host.name)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, on: bool) -> None:
        self.platforms.admin("POST", f"/hosts/{self.host.name}/warm", on=on)

    def templates(self) -> list[dict[str, Any]]:
        """The host's templates, all ready; RuntimeError or TimeoutError if they are not."""
        self._switch(True)
        self.platforms.admin.wait_for_templates(ANSWER_TIMEOUT_S)
        hosts = self.platforms.admin("GET", "/hosts")
        found: list[dict[str, Any]] = next(h["templates"] for h in hosts if h["name"] == self.host.name)
        poor = [f"{t['image']} is {t['state']} {t['reason']}" for t in found if t["state"] != "ready"]
        if poor:
            raise RuntimeError(f"templates of {self.host.name}: {'; '.join(poor)}")
        return found

    def make(self, way: str) -> Sample:
        """One machine, retired again."""
        self._switch(way == WARM)
        request = self.platforms.ask_on(self.host.name, ["web"])
        (machine,) = request["plan"]["machines"]
        link = Link(self.place.host.uri, machine["domain"])
        login = Login(self.platforms.lab, members_page(request), "owner", link)
        os.sync()  # nobody's machine shall pay for what the one before it wrote
        meter = Meter(self.host)
        run_id = self.platforms.approve(request)
        login.start()
        try:
            first = login.wait(ANSWER_TIMEOUT_S)
            cost = meter.read(machine["domain"])
            memory = self.place.written(machine["domain"], "-memory.save")
            cost = replace(cost, volumes=self.place.written(machine["domain"]) - memory)
        finally:
            login.stop()
        run = self.platforms.finished(run_id)
        start = began(run)
        (made,) = self.platforms.machines(request["slug"])
        self.platforms.retire([request["slug"]])
        return Sample(
            way,
            first.answered - start,
            cost,
            {
                step["action"]: (moment(step["started_at"]) - start, moment(step["finished_at"]) - start)
                for step in run["steps"]
            },
            f"{made['way_reason']} {made['way_detail']}".strip()
            if way == WARM and made["way"] != WARM
            else "",
        )


def make_classic(classic: Classic, namespace: str, host: Host) -> Sample:
    """A full copy, until Apache shows its first page."""
    place = classic.place
    os.sync()
    meter = Meter(host)
    started = time.monotonic()
    classic.clone()
    classic.start()
    answered = first_answer_from(namespace, classic.target, ANSWER_TIMEOUT_S)
    cost = replace(meter.read(classic.prefix), volumes=place.written(classic.prefix))
    place.remove(classic.prefix)
    return Sample(CLASSIC, answered - started, cost)
