"""What the database knows, as Prometheus's metrics, read whenever somebody scrapes: a few bounded queries.

Without the database there is `placo_database_up 0` and nothing else of this: what is not known is not said to be nought.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import redis
from django.db import DatabaseError, transaction
from django.db.models import Count, Max, Min
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from placo import logs, wiring
from placo.domain.lifecycle import ACTIVE_RUNS, RunKind, RunState
from placo.domain.quota import RESOURCES
from placo.platforms.models import Drift, Host, LedgerEntry, Project, Run, Step, Template
from placo.services import agreement, books, heartbeat, proofs, quota, waiting

log = logs.get_logger("placo.metrics")

_ACTIVE = [state.value for state in ACTIVE_RUNS]
BOOKS_AGE_S = 60.0
"""How old the answer of the check of the books may be."""
Rows = Iterable[tuple[tuple[str, ...], float]]


def _family(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, amount in rows:
        family.add_metric(values, amount)
    return family


def _runs() -> Iterator[GaugeMetricFamily]:
    counted = {
        (row["kind"], row["state"]): row["n"]
        for row in Run.objects.order_by().values("kind", "state").annotate(n=Count("pk"))
    }
    # Every series is there from the start, so that the first stuck run is an increase.
    rows = [((k.value, s.value), counted.get((k.value, s.value), 0)) for k in RunKind for s in RunState]
    yield _family("placo_runs", "Runs by kind and state.", ("kind", "state"), rows)
    steps = Step.objects.filter(run__state__in=_ACTIVE).order_by().values("state").annotate(n=Count("pk"))
    found = [((row["state"],), row["n"]) for row in steps]
    yield _family("placo_active_steps", "Steps of runs that have not ended, by state.", ("state",), found)


def _waiting() -> Iterator[GaugeMetricFamily]:
    rows = [((place,), n) for place, n in waiting.counted().items()]
    text = "Runs that wait for a place that does not answer: a host, directory or edge."
    yield _family("placo_waiting_runs", text, ("place",), rows)


def _lag() -> Iterator[GaugeMetricFamily]:
    now = timezone.now()
    oldest = Run.objects.filter(state__in=_ACTIVE, due_at__lt=now).aggregate(at=Min("due_at"))["at"]
    lag = (now - oldest).total_seconds() if oldest else 0.0
    yield _family("placo_sweep_lag_seconds", "By how long the oldest due run is overdue.", (), [((), lag)])


def _sweep() -> Iterator[GaugeMetricFamily]:
    try:
        last = heartbeat.last()
    except redis.RedisError:
        return
    if last is not None:
        rows: Rows = [((), last.timestamp())]
        yield _family("placo_last_sweep_timestamp_seconds", "When the last sweep was made.", (), rows)


class _Books:
    """The check of the books, done again only when the last answer is old."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.counted: Counter[str] = Counter()
        self.parts: Counter[agreement.Part] = Counter()

    def __call__(self) -> Iterator[GaugeMetricFamily]:
        if self.at is None or time.monotonic() - self.at > BOOKS_AGE_S:
            wrong = books.check()
            self.counted, self.parts = Counter(one.code for one in wrong), agreement.counted(wrong)
            self.at = time.monotonic()
        rows = [((code,), self.counted[code]) for code in books.CODES]
        text = "What ledger, journal and plans say in two ways, by code; checked at most once a minute."
        yield _family("placo_ledger_discrepancies", text, ("code",), rows)
        rows = [((part.value,), self.parts[part]) for part in agreement.Part]
        text = "Where ledger, journal, plans and world do not say the same, by part: nought all over when the promise holds."
        yield _family("placo_invariant_discrepancies", text, ("part",), rows)


def _quotas() -> Iterator[GaugeMetricFamily]:
    sums = {f"sum_{name}": quota.TAKEN[name] for name in RESOURCES}
    rows = LedgerEntry.objects.order_by().values_list("project").annotate(**sums)
    used = {pk: dict(zip(RESOURCES, amounts, strict=True)) for pk, *amounts in rows}
    projects = list(Project.objects.order_by("slug"))
    limits = [((p.slug, name), getattr(p.quota, name)) for p in projects for name in RESOURCES]
    taken = [((p.slug, name), used.get(p.pk, {}).get(name) or 0) for p in projects for name in RESOURCES]
    labels = ("project", "resource")
    yield _family(
        "placo_quota_used", "What each project's platforms take, reserved or committed.", labels, taken
    )
    yield _family("placo_quota_limit", "What each project may take.", labels, limits)


def _hosts() -> Iterator[GaugeMetricFamily]:
    hosts = list(Host.objects.all())
    reachable = [((host.name,), float(host.reachable)) for host in hosts]
    yield _family(
        "placo_host_reachable", "Whether a host answered when it was last asked.", ("host",), reachable
    )
    yield _family(
        "placo_host_lost",
        "Whether a host was declared lost.",
        ("host",),
        [((host.name,), float(host.lost)) for host in hosts],
    )
    disk = [((host.name,), host.disk_free_gib * 2**30) for host in hosts if host.checked_at]
    yield _family("placo_host_disk_free_bytes", "Free space of a host's pool.", ("host",), disk)
    counted = Template.objects.order_by().values("host__name", "state").annotate(n=Count("pk"))
    templates = [((row["host__name"], row["state"]), row["n"]) for row in counted]
    yield _family("placo_templates", "Templates by host and state.", ("host", "state"), templates)


def _activity() -> Iterator[GaugeMetricFamily]:
    ended = Run.objects.aggregate(at=Max("ended_at"))["at"]
    if ended is not None:
        rows: Rows = [((), ended.timestamp())]
        yield _family("placo_last_run_ended_timestamp_seconds", "When a run last ended.", (), rows)


def _proofs() -> Iterator[GaugeMetricFamily]:
    """Whether platforms let in who may come in, and nobody else: as it was tried last."""
    standing = proofs.standing()
    rows: Rows = [((), len(standing.failed))]
    yield _family(
        "placo_failed_proofs", "Platforms that are ready and whose last proof has failed.", (), rows
    )
    age = (timezone.now() - standing.oldest).total_seconds() if standing.oldest else 0.0
    text = "For how long the platform that waited longest has not been proven; 0 without any that is ready."
    yield _family("placo_oldest_proof_age_seconds", text, (), [((), age)])


def _drift() -> Iterator[GaugeMetricFamily]:
    """Differences between journal and world that nobody has accepted or repaired: one row a kind and place."""
    open_ = Drift.objects.filter(accepted_at=None).order_by()
    counted = open_.values_list("kind", "where").annotate(n=Count("pk"))
    rows: Rows = [((kind, where), n) for kind, where, n in counted]
    yield _family("placo_drift", "Open differences between journal and world.", ("kind", "host"), rows)


def _mail() -> Iterator[GaugeMetricFamily]:
    """Files in a folder: nothing is asked of Postfix."""
    gateway = wiring.gateway()
    queued = gateway.queued() if gateway else None
    if queued is not None:
        yield _family("placo_mail_queue", "Mails that wait in the mail gateway.", (), [((), queued)])


READERS: list[Callable[[], Iterator[GaugeMetricFamily]]] = [
    _runs,
    _waiting,
    _lag,
    _Books(),
    _quotas,
    _hosts,
    _activity,
    _proofs,
    _drift,
    _mail,
]


class Gauges(Collector):
    """All of it."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is read before somebody scrapes."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found: list[GaugeMetricFamily] = []
        try:
            for reader in READERS:
                found += reader()
        except DatabaseError as error:
            if transaction.get_connection().in_atomic_block:
                raise
            log.warning("metrics without the database", why=str(error).strip())
            found = []
        up: Rows = [((), float(bool(found)))]
        yield _family("placo_database_up", "Whether PostgreSQL answered this scrape.", (), up)
        yield from found
        yield from _sweep()
