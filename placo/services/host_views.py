"""One host as administrators see it: what is on it, what waits for it, and what is kept for it while it is lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from placo.platforms.models import Host, Platform, User
from placo.services import access, lost, waiting
from placo.services.errors import NotFound
from placo.services.waiting import WaitingRun


@dataclass(frozen=True)
class Reservation:
    """What of an ended platform stays its own for as long as a lost host may still have something of it."""

    platform: Platform

    @property
    def subnet(self) -> str:
        """Its addresses."""
        return self.platform.plan.network.subnet

    @property
    def bridge(self) -> str:
        """The name of its bridge."""
        return self.platform.plan.network.bridge

    @property
    def macs(self) -> tuple[str, ...]:
        """Of its network and of its machines."""
        plan = self.platform.plan
        return (plan.network.mac, *(machine.mac for machine in plan.machines))


@dataclass(frozen=True)
class HostView:
    """A host. `left_behind`: how much the last comparison found there that is no living platform's."""

    host: Host
    platforms: tuple[Platform, ...]
    waiting: tuple[WaitingRun, ...]
    reserved: tuple[Reservation, ...]
    left_behind: int


def host_view(*, acting_user: User, name: str) -> HostView:
    """For administrators."""
    access.require_administrator(acting_user)
    host = None if "\x00" in name else Host.objects.filter(name=name).select_related("lost_by").first()
    if host is None:
        raise NotFound
    return HostView(
        host=host,
        platforms=tuple(lost.platforms_on(host).select_related("project", "host").order_by("slug")),
        waiting=tuple(row for row in waiting.waiting_runs() if row.wait.place == host.name),
        reserved=reservations([host]).get(host.pk, ()),
        left_behind=lost.left_behind(host),
    )


def reservations(hosts: Iterable[Host]) -> dict[int, tuple[Reservation, ...]]:
    """What is kept for what lost hosts may still have, by host."""
    rows = Platform.objects.filter(left_on__in=list(hosts)).select_related("left_on").order_by("slug")
    found: dict[int, list[Reservation]] = {}
    for row in rows:
        if row.left_on_id is not None:
            found.setdefault(row.left_on_id, []).append(Reservation(row))
    return {pk: tuple(kept) for pk, kept in found.items()}


def all_reservations(*, acting_user: User) -> list[Reservation]:
    """Of all lost hosts, for administrators."""
    access.require_administrator(acting_user)
    rows = Platform.objects.filter(left_on__isnull=False).select_related("left_on")
    return [Reservation(row) for row in rows.order_by("left_on__name", "slug")]
