"""Runs that wait for a place that does not answer: ringing for them when it does, and telling what they wait for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from placo.domain.drift import DIRECTORY_PLACE, SITE_PLACES
from placo.platforms.models import Host, Run, Step
from placo.services import runs


@dataclass(frozen=True)
class Wait:
    """What a run waits for: a host, or directory or edge, and since when that is known not to answer."""

    place: str
    since: datetime

    @property
    def is_host(self) -> bool:
        """Not a place of the whole site."""
        return self.place not in SITE_PLACES


def answers(place: str) -> int:
    """A place answers: all runs that wait for it are rung for at once; how many these were."""
    return sum(_wake(run_id, place) for run_id in _waiting(place))


def _waiting(place: str) -> list[int]:
    rows = Step.objects.filter(waits_for=place, run__ended_at=None).order_by("run")
    return list(rows.values_list("run", flat=True).distinct())


@transaction.atomic
def _wake(run_id: int, place: str) -> bool:
    run = runs.lock_run(run_id)
    steps = list(run.steps.all())
    concerned = [step for step in steps if step.waits_for == place]
    for step in concerned:
        step.not_before = None  # says that it was rung for (outcomes.away)
    Step.objects.bulk_update(concerned, ["not_before"])
    if concerned:
        runs.keep(run, runs.due_steps(run, steps))
        runs.ring(run.pk)
    return bool(concerned)


def waits_of(steps: Iterable[Step]) -> tuple[Wait, ...]:
    """What the run of these steps waits for."""
    return _waits((0, step) for step in steps).get(0, ())


def waits_of_runs(run_ids: Iterable[int]) -> dict[int, tuple[Wait, ...]]:
    """The same for many runs, in two queries; those that wait for nothing are left out."""
    steps = Step.objects.filter(run__in=list(run_ids), run__ended_at=None).exclude(waits_for="")
    return _waits((step.run_id, step) for step in steps)


@dataclass(frozen=True)
class WaitingRun:
    """A run and one of the places that it waits for."""

    run: Run
    wait: Wait


def waiting_runs() -> list[WaitingRun]:
    """All runs that wait for something, by place, the oldest first."""
    steps = Step.objects.filter(run__ended_at=None).exclude(waits_for="")
    listed = list(steps.select_related("run__platform").order_by("run"))
    runs_by_id = {step.run_id: step.run for step in listed}
    waits = _waits((step.run_id, step) for step in listed)
    found = [WaitingRun(runs_by_id[run_id], wait) for run_id, own in waits.items() for wait in own]
    return sorted(found, key=lambda row: (row.wait.place, row.run.pk))


def counted() -> dict[str, int]:
    """How many runs wait for each place; places that are not waited for with 0."""
    steps = Step.objects.filter(run__ended_at=None).exclude(waits_for="").order_by()
    found = dict(
        steps.values("waits_for").annotate(n=Count("run", distinct=True)).values_list("waits_for", "n")
    )
    names = (*Host.objects.values_list("name", flat=True), *SITE_PLACES)
    return dict.fromkeys(names, 0) | found


def words(wait: Wait) -> str:
    """What a run does that waits: "waits for host h2, which has not answered since 10:12"."""
    local = timezone.localtime(wait.since)
    time = formats.date_format(local, "H:i")
    if local.date() != timezone.localdate():
        time = f"{formats.date_format(local, 'DATE_FORMAT')} {time}"
    if wait.is_host:
        text = _("waits for host %(place)s, which has not answered since %(time)s")
    elif wait.place == DIRECTORY_PLACE:
        text = _("waits for the directory, which has not answered since %(time)s")
    else:
        text = _("waits for the edge, which has not answered since %(time)s")
    return text % {"place": wait.place, "time": time}


def _waits(steps: Iterable[tuple[int, Step]]) -> dict[int, tuple[Wait, ...]]:
    found: defaultdict[int, dict[str, datetime]] = defaultdict(dict)
    for run_id, step in steps:
        if step.waits_for and step.away_since is not None:
            known = found[run_id].get(step.waits_for, step.away_since)
            found[run_id][step.waits_for] = min(known, step.away_since)
    places = {place for run in found.values() for place in run}
    silent = dict(Host.objects.filter(name__in=places).values_list("name", "silent_since")) if places else {}
    return {
        run_id: tuple(
            Wait(place, min(since, silent.get(place) or since)) for place, since in sorted(run.items())
        )
        for run_id, run in found.items()
    }
