"""Looks at the database and what it says: hosts, clocks, books, runs, templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from placo import wiring
from placo.domain.drift import DriftKind
from placo.domain.lifecycle import ACTIVE_RUNS, RunState, StepState
from placo.drivers.ports import DriverError
from placo.platforms.models import Drift, Host, Run
from placo.services import books, departures, heartbeat, hosts, ownership, waiting
from placo.services.doctor.report import DEAD, LATE, Level, Result, site_file

CLOCKS_APART_S = 2.0
SHOWN = 20


@dataclass
class Records:
    """What the database says, read first: hosts, and by how much its clock is ahead. `there`: whether it answers at all."""

    there: bool = False
    ahead_s: float = 0
    hosts: list[Host] = field(default_factory=list)

    def read(self) -> Iterator[Result]:
        """The look at the database."""
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())"
                )
                version, now = cursor.fetchone()
                self.ahead_s = float(now) - datetime.now(UTC).timestamp()
            executor = MigrationExecutor(connection)
            behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if not behind:
                self.hosts = list(Host.objects.all())
                self.there = True
        except DatabaseError as error:
            yield Result(
                "database",
                Level.FAILURE,
                _("PostgreSQL does not answer: %(why)s") % {"why": str(error).strip().splitlines()[0]},
                _("Start it, and check [database] in %(file)s. Nothing works without it.")
                % {"file": site_file()},
            )
            return
        if behind:
            text = ngettext(
                "%(count)d migration has not been applied.",
                "%(count)d migrations have not been applied.",
                len(behind),
            )
            yield Result(
                "database",
                Level.FAILURE,
                text % {"count": len(behind)},
                _("Run manage.py migrate, then restart portal and workers."),
            )
            return
        yield Result(
            "database",
            Level.OK,
            _("PostgreSQL %(version)s answers, every migration is applied.") % {"version": version},
        )

    def known_hosts(self) -> list[Host]:
        """The hosts of the database, else those of the site configuration."""
        if self.there:
            return self.hosts
        return [
            Host(
                name=host.name,
                uri=host.uri,
                hypervisor=host.hypervisor,
                storage_pool=host.storage_pool,
                domain_type=host.domain_type,
            )
            for host in wiring.site().hosts
        ]


def look_at_clocks(records: Records) -> Iterator[Result]:
    try:
        redis_ahead = heartbeat.try_out()
    except redis.RedisError:
        redis_ahead = 0.0  # said elsewhere
    clocks = {"PostgreSQL": records.ahead_s, "Redis": redis_ahead}
    wrong = {name: ahead for name, ahead in clocks.items() if abs(ahead) > CLOCKS_APART_S}
    for name, ahead in wrong.items():
        yield Result(
            "clocks",
            Level.WARNING,
            _("The clock of %(name)s differs from this machine's by %(seconds).0f seconds.")
            % {"name": name, "seconds": ahead},
            _(
                "Let both machines follow the same time servers (chrony, systemd-timesyncd): leases and waits depend on it."
            ),
        )
    if not wrong:
        yield Result("clocks", Level.OK, _("The clocks agree."))


def look_at_books() -> Iterator[Result]:
    wrong = books.check()
    for discrepancy in wrong[:SHOWN]:
        yield Result(
            "books", Level.FAILURE, f"{discrepancy.subject}: {discrepancy.wrong}", discrepancy.remedy
        )
    if len(wrong) > SHOWN:
        yield Result("books", Level.FAILURE, _("%(count)d more of these.") % {"count": len(wrong) - SHOWN})
    if not wrong:
        yield Result("books", Level.OK, _("Ledger, journal and plans agree."))


def look_at_world() -> Iterator[Result]:
    """Whether the world is as the books say, by the last comparison of each place; manage.py books looks for itself."""
    rows = Drift.objects.filter(accepted_at=None).exclude(kind=DriftKind.UNREACHABLE.value)
    open_ = dict(rows.order_by("where").values_list("where").annotate(count=Count("pk")))
    if not open_:
        yield Result("world", Level.OK, _("The world is as ledger, journal and plans say."))
        return
    total = sum(open_.values())
    text = ngettext(
        "The world differs from the plans in %(count)d thing: %(places)s.",
        "The world differs from the plans in %(count)d things: %(places)s.",
        total,
    )
    places = ", ".join(f"{place} ({count})" for place, count in open_.items())
    remedy = _("See Operations / Drift, or placo drift: accept it or repair it there.")
    yield Result("world", Level.WARNING, text % {"count": total, "places": places}, remedy)


def look_at_runs() -> Iterator[Result]:
    active = Run.objects.filter(state__in=[s.value for s in ACTIVE_RUNS]).select_related("platform")
    concerns = [*_stuck_runs(active), *_waiting_runs(), *_overdue_runs(active)]
    yield from concerns
    if not concerns:
        count = active.count()
        text = ngettext(
            "%(count)d run is under way, none is stuck.",
            "%(count)d runs are under way, none is stuck.",
            count,
        )
        yield Result("runs", Level.OK, text % {"count": count})


def _stuck_runs(active: QuerySet[Run]) -> Iterator[Result]:
    failed = active.filter(state=RunState.UNWINDING.value, steps__state=StepState.FAILED.value)
    stuck = sorted(
        {(run.pk, run.platform.slug) for run in (*active.filter(state=RunState.STUCK.value), *failed)}
    )
    if stuck:
        text = ngettext(
            "%(count)d run is stuck: %(runs)s.", "%(count)d runs are stuck: %(runs)s.", len(stuck)
        )
        yield Result(
            "runs",
            Level.WARNING,
            text % {"count": len(stuck), "runs": _listed(stuck)},
            _("Open each one, read what failed and why, then retry, skip or undo it."),
        )


def _waiting_runs() -> Iterator[Result]:
    """Those that wait for a host or a server that does not answer."""
    by_place: dict[str, list[waiting.WaitingRun]] = {}
    for row in waiting.waiting_runs():
        by_place.setdefault(row.wait.place, []).append(row)
    for place, rows in by_place.items():
        since = min(row.wait.since for row in rows)
        text = ngettext(
            "%(count)d run waits for %(place)s, which has not answered since %(time)s: %(runs)s.",
            "%(count)d runs wait for %(place)s, which has not answered since %(time)s: %(runs)s.",
            len(rows),
        )
        values = {
            "count": len(rows),
            "place": place,
            "time": timezone.localtime(since).isoformat(" ", "minutes"),
            "runs": _listed((row.run.pk, row.run.platform.slug) for row in rows),
        }
        remedy = _(
            "Bring it back: they go on by themselves, however long that takes. A host that will never come back is declared lost: placo host lost %(place)s."
        )
        if not rows[0].wait.is_host:
            remedy = _("Bring it back: they go on by themselves, however long that takes.")
        yield Result("runs", Level.WARNING, text % values, remedy % {"place": place})


def _overdue_runs(active: QuerySet[Run]) -> Iterator[Result]:
    """Those that no worker takes up."""
    now = timezone.now()
    overdue = list(active.filter(due_at__lt=now - LATE).order_by("due_at"))
    if overdue:
        first = overdue[0].due_at or now
        text = ngettext(
            "%(count)d run waits for a worker, for up to %(seconds)d seconds: %(runs)s.",
            "%(count)d runs wait for a worker, for up to %(seconds)d seconds: %(runs)s.",
            len(overdue),
        )
        runs = _listed((run.pk, run.platform.slug) for run in overdue)
        yield Result(
            "runs",
            Level.FAILURE if now - first > DEAD else Level.WARNING,
            text % {"count": len(overdue), "seconds": (now - first).total_seconds(), "runs": runs},
            _(
                "See that workers and beat run; if they do, they are too few for what there is to do: start another worker."
            ),
        )


def look_at_people() -> Iterator[Result]:
    """Platforms that nobody looks after, and people who are missing in the directory in numbers that cannot be right."""
    alone = ownership.ownerless()
    if alone:
        text = ngettext(
            "%(count)d platform has no owner any more: %(slugs)s.",
            "%(count)d platforms have no owner any more: %(slugs)s.",
            len(alone),
        )
        yield Result(
            "people",
            Level.WARNING,
            text % {"count": len(alone), "slugs": ", ".join(platform.slug for platform in alone[:SHOWN])},
            _("Make one of its members an owner, on its page of people, or retire it."),
        )
    try:
        missing, known = departures.missing()
    except DriverError:
        return  # said of the directory
    if departures.too_many(missing, known):
        yield Result(
            "people",
            Level.FAILURE,
            _("%(missing)d of %(known)d members are missing in the directory: too many to have left at once.")
            % {"missing": missing, "known": known},
            _(
                "See whether the directory lost entries, or shows fewer of them to the portal. Nothing is done meanwhile."
            ),
        )
    elif not alone:
        yield Result("people", Level.OK, _("Every platform has an owner, every member is in the directory."))


def _listed(runs: Iterable[tuple[int, str]]) -> str:
    listed = [f"{pk} ({slug})" for pk, slug in runs]
    return ", ".join([*listed[:SHOWN], *(["..."] if len(listed) > SHOWN else [])])


def look_at_templates() -> Iterator[Result]:
    troubled = hosts.troubled_templates()
    for view in troubled:
        yield Result(
            "templates",
            Level.WARNING,
            _("The template %(image)s of host %(host)s is %(state)s: %(why)s")
            % {"image": view.image, "host": view.host.name, "state": view.trouble, "why": view.reason or "?"},
            _(
                "Machines of this kind boot meanwhile. It is made again by itself; if not, look at the host's log."
            ),
        )
    if not troubled:
        yield Result("templates", Level.OK, _("No template is in trouble."))
