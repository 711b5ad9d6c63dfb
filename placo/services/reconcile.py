"""Reconciliation: what the plans and the journal say, compared with the world, place by place; drift becomes rows.

At most two bulk calls a host (its status and its inventory), one for the directory, three for the edge. A place that does not answer
becomes one row; its other rows stay as they were. Nothing is ever changed in the world from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import connection, transaction
from django.db.models import F, Q, TextField
from django.db.models.functions import Cast, Left
from django.utils import timezone

from placo import wiring
from placo.domain.drift import DIRECTORY_PLACE, EDGE_PLACE, SETTLED, DriftKind, DriftWhat
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RunKind
from placo.domain.plan import from_json
from placo.domain.protocols import SMTP
from placo.drivers.ports import DriverError, Inventory, PlatformNames, Unavailable
from placo.platforms.models import Drift, Host, Platform, Run
from placo.services import comparison, hosts, names, observed, waiting
from placo.services.comparison import Expected, Found, Owner, Owners
from placo.services.work import hypervisor_of

log = logging.getLogger("placo.reconcile")

_LOCKS = 0x64726966  # "drif": the advisory lock of a place's reconciliation
_SITE = 0


def reconcile() -> None:
    """Everything, one place after the other. Workers do it place by place, at the same time."""
    for host_id in hosts.known():
        reconcile_host(host_id)
    reconcile_site()


def reconcile_host(host_id: int) -> None:
    """One host; returns at once while somebody else is at it."""
    with _alone(host_id) as alone:
        if not alone:
            return
        host, began = Host.objects.get(pk=host_id), timezone.now()
        inventory: Inventory | None = None
        error = hosts.refresh(host)
        if error is None:
            waiting.answers(host.name)
            try:
                inventory = hypervisor_of(host).inventory()
            except DriverError as broken:
                error = broken
                hosts.mark_unreachable(host)
        if inventory is None:
            _does_not_answer(host.name, host.name, error)
            return
        world = _world(began, host)
        _write(host.name, _host_drift(host, inventory, world), began, world.flux)
        observed.note_all(world.expected, {d.uuid: d.power for d in inventory.domains})


def reconcile_site() -> None:
    """The directory and the edge."""
    with _alone(_SITE) as alone:
        if not alone:
            return
        for place, look in ((DIRECTORY_PLACE, _directory_drift), (EDGE_PLACE, _edge_drift)):
            began = timezone.now()
            try:
                found, flux = look(began)
            except DriverError as error:
                log.warning("%s unreachable: %s", place, error)
                _does_not_answer(place, place, error)
            else:
                _write(place, found, began, flux)
                waiting.answers(place)


def places() -> list[tuple[str, Callable[[], list[Found]]]]:
    """Every place, with what compares it: everything that differs, looked up when it is called and written nowhere.

    Unavailable is raised by a place that does not answer; of a lost host nothing is expected then, and nothing differs.
    """
    found: list[tuple[str, Callable[[], list[Found]]]] = [
        (host.name, partial(_look_at_host, host)) for host in Host.objects.all()
    ]
    for place, look in ((DIRECTORY_PLACE, _directory_drift), (EDGE_PLACE, _edge_drift)):
        found.append((place, partial(_look_at_site, look)))
    return found


def too_much() -> list[tuple[str, Found]]:
    """What is in the world for no living platform, looked up now and written nowhere, with its place."""
    found = [(place, drift) for place, compare in places() for drift in compare()]
    return [(place, drift) for place, drift in found if drift.kind is DriftKind.EXTRA]


def in_flux() -> frozenset[int]:
    """Platforms that a run is at: their world is not compared."""
    return _world(timezone.now()).flux


def _look_at_host(host: Host) -> list[Found]:
    began = timezone.now()
    try:
        inventory = hypervisor_of(host).inventory()
    except Unavailable:
        if host.lost:
            return []
        raise
    return _host_drift(host, inventory, _world(began, host))


def _look_at_site(look: Callable[[datetime], tuple[list[Found], frozenset[int]]]) -> list[Found]:
    return look(timezone.now())[0]


# --- what the database says ---


@dataclass(frozen=True)
class _World:
    """The settled platforms, and those whose world is in flux (by row and by slug)."""

    expected: list[Expected]
    flux: frozenset[int]
    busy: frozenset[str]


def _world(began: datetime, host: Host | None = None) -> _World:
    """What is to be there, read after the world was looked at since `began`: the platforms first, then the runs, so that
    a run that begins in between is seen."""
    rows = Platform.objects.filter(state__in=[s.value for s in SETTLED])
    if host is not None:
        rows = rows.filter(host=host)
    platforms = list(rows.values_list("pk", "state", "plan_data"))
    active = Q(state__in=[s.value for s in ACTIVE_RUNS]) | Q(ended_at__gte=began)
    runs = Run.objects.filter(active).exclude(kind=RunKind.MEMBER.value)
    flux = dict(runs.values_list("platform", "platform__slug"))
    settled = [Expected(pk, PlatformState(s), from_json(data)) for pk, s, data in platforms if pk not in flux]
    return _World(settled, frozenset(flux), frozenset(flux.values()))


def _owners(uuids: Collection[str], shorts: Collection[str] = ()) -> Owners:
    """The platforms that these belong to, alive or not."""
    if not uuids and not shorts:
        return Owners()
    rows = Platform.objects.annotate(
        text=Cast("uuid", TextField()), short=Left("text", 8), place=F("host__name")
    )
    rows = rows.filter(Q(text__in=list(uuids)) | Q(short__in=list(shorts)))
    return Owners(Owner(p.pk, p.slug, str(p.uuid), p.place) for p in rows.only("pk", "slug", "uuid"))


def _host_drift(host: Host, inventory: Inventory, world: _World) -> list[Found]:
    left = comparison.leftovers_of(inventory, world.expected)
    owners = _owners(left.uuids, left.shorts)
    return comparison.compare_host(host.name, inventory, world.expected, left, owners=owners, flux=world.flux)


def _directory_drift(began: datetime) -> tuple[list[Found], frozenset[int]]:
    there = wiring.directory().platforms()
    world = _world(began)
    owners = _owners(_unexpected(there, world))
    return comparison.compare_sites(
        DriftWhat.DIRECTORY, there, world.expected, owners=owners, flux=world.flux, busy=world.busy
    ), world.flux


def _edge_drift(began: datetime) -> tuple[list[Found], frozenset[int]]:
    there, certificates = wiring.edge().sites(), wiring.edge().certificates()
    gateway = wiring.gateway()
    mail = gateway.domains() if gateway else None
    zone = wiring.zone()
    known = zone.names() if zone else None
    world = _world(began)
    owners = _owners(_unexpected(there, world))
    found = comparison.compare_sites(
        DriftWhat.EDGE, there, world.expected, owners=owners, flux=world.flux, busy=world.busy
    )
    settled = {platform.plan.slug for platform in world.expected}
    spare = [slug for slug in certificates if slug not in settled]
    last: dict[str, Owner] = {}
    ended = Platform.objects.filter(slug__in=spare, state__in=[s.value for s in ENDED]).order_by("pk")
    for pk, slug, uuid in ended.values_list("pk", "slug", "uuid"):
        last[slug] = Owner(pk, slug, str(uuid), "")
    found += comparison.compare_certificates(certificates, world.expected, last, world.busy)
    return found + _mail_drift(mail, world) + _names_drift(known, world), world.flux


def _mail_drift(there: Mapping[str, str] | None, world: _World) -> list[Found]:
    """The mail gateway's platforms; None where the site has no gateway."""
    if there is None:
        return []
    takes_mail = [p for p in world.expected if any(e.protocol == SMTP for e in p.plan.endpoints)]
    owners = _owners({uuid for uuid in there.values() if uuid not in {p.plan.uuid for p in takes_mail}})
    return comparison.compare_sites(
        DriftWhat.MAIL, there, takes_mail, owners=owners, flux=world.flux, busy=world.busy
    )


def _names_drift(there: Mapping[str, PlatformNames] | None, world: _World) -> list[Found]:
    """The zone's platforms; None where the portal writes no zone."""
    if there is None:
        return []
    uuids = {slug: found.uuid for slug, found in there.items()}
    found = comparison.compare_sites(
        DriftWhat.NAMES,
        uuids,
        world.expected,
        owners=_owners(_unexpected(uuids, world)),
        flux=world.flux,
        busy=world.busy,
    )
    wanted = names.names_of_all(p.plan for p in world.expected)
    return found + comparison.compare_names(there, wanted, world.expected)


def _unexpected(there: Mapping[str, str], world: _World) -> set[str]:
    wanted = {platform.plan.uuid for platform in world.expected}
    return {uuid for uuid in there.values() if uuid not in wanted}


# --- what is written ---


@transaction.atomic
def _write(place: str, found: Iterable[Found], now: datetime, flux: Collection[int]) -> None:
    """The rows of a place as this reconciliation saw it. Those of platforms in flux stay as they were."""
    rows = {(row.what, row.name): row for row in Drift.objects.select_for_update().filter(where=place)}
    new: list[Drift] = []
    changed: list[Drift] = []
    for drift in found:
        row = rows.pop((drift.what.value, drift.name), None)
        values = (drift.kind.value, drift.platform, dict(drift.detail))
        if row is None:
            row = Drift(what=drift.what.value, where=place, name=drift.name, found_at=now)
            new.append(row)
        else:
            changed.append(row)
            if (row.kind, row.platform_id, row.detail) != values:
                row.found_at, row.accepted_at, row.accepted_by = now, None, None
        row.kind, row.platform_id, row.detail = values
        row.seen_at = now
    gone = [row.pk for row in rows.values() if row.platform_id is None or row.platform_id not in flux]
    Drift.objects.filter(pk__in=gone).delete()
    Drift.objects.bulk_create(new)
    fields = ["kind", "platform", "detail", "found_at", "seen_at", "accepted_at", "accepted_by"]
    Drift.objects.bulk_update(changed, fields, batch_size=500)
    if new or gone:
        log.info("place=%s drift: %d new, %d gone, %d as before", place, len(new), len(gone), len(changed))


@transaction.atomic
def _does_not_answer(place: str, name: str, error: Exception | None) -> None:
    """One row that says so. Everything else that is known of the place stays."""
    now, kind = timezone.now(), DriftKind.UNREACHABLE.value
    Drift.objects.get_or_create(
        what=DriftWhat.HOST.value,
        where=place,
        name=name,
        defaults={"kind": kind, "found_at": now, "seen_at": now},
    )
    rows = Drift.objects.filter(what=DriftWhat.HOST.value, where=place, name=name)
    # What it says differs from time to time ("refused", "did not answer within 10 s"): that is no other drift.
    rows.update(seen_at=now, detail={"error": str(error)[:500]})


@contextmanager
def _alone(place: int) -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, place])
        alone = cursor.fetchone() == (True,)
        try:
            yield alone
        finally:
            if alone:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, place])
