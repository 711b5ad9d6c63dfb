"""The end of platforms, driven by the clock: reminders, the stop, the grace period, the removal. Rules: domain/expiry.py.

`attend` is what beat asks for, as often as it likes: it looks up what is due, and treats each platform in a transaction of
its own, under its lock, after having asked the calendar again. What cannot be done now (a run is under way, or stuck) is due
again at the next look; what it does to machines are runs like any other, so a host that is down delays its own platforms alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from placo import wiring
from placo.domain import expiry, saga
from placo.domain.expiry import Duty, Rules, Term
from placo.domain.lifecycle import ENDED, PlatformState, RunKind, RunState
from placo.platforms.models import Notice, Platform, Reminder, Run, User
from placo.services import clock, decisions, notices, runs
from placo.services.errors import Conflict

log = logging.getLogger("placo.expiry")

SUBJECT = "expiry"
"""The subject of a run that is there because its platform's end date has come."""
STILL = (PlatformState.STOPPED.value, PlatformState.SUSPENDED.value)
"""States in which a platform's machines stand still, whoever had them do so."""
REVIVED_AFTER = timedelta(hours=1)
"""How long a stuck run of expiry waits for somebody's choice, or for its host, before it is tried again."""


def rules() -> Rules:
    """The site's choices."""
    site = wiring.site().expiry
    return Rules(tuple(site.reminders), site.grace_days, site.renewal_days)


def term_of(platform: Platform) -> Term | None:
    """The platform's calendar; None while it has no end date."""
    if platform.expires_on is None:
        return None
    began = platform.term_from or platform.expires_on - timedelta(days=platform.plan.days)
    return Term(began, platform.expires_on, platform.removed_on)


def is_over(platform: Platform) -> bool:
    """Whether the platform may not run any more."""
    term = term_of(platform)
    return term is not None and term.over(clock.today())


@dataclass
class Attended:
    """What came of one look at everything that is due."""

    reminded: int = 0
    stopped: int = 0
    kept: int = 0
    retired: int = 0
    started: int = 0
    revived: int = 0
    waiting: int = 0
    failed: int = 0


def attend() -> Attended:
    """Do what the date asks for, for every platform that it asks something for."""
    done = Attended()
    for find, treat in ((_ending, _remind), (_over, _end), (_to_start, _start_again), (_stuck, _revive)):
        for pk in find():
            _one(treat, pk, done)
    return done


def _one(treat: Callable[[int, Attended], None], pk: int, done: Attended) -> None:
    """One platform or run; whatever is wrong with it is its own affair."""
    try:
        with transaction.atomic():
            treat(pk, done)
    except Conflict as refusal:
        done.waiting += 1
        log.info("%s %s waits: %s", treat.__name__.strip("_"), pk, refusal)
    except Exception:  # the others are not to wait for this one
        done.failed += 1
        log.exception("%s %s broke", treat.__name__.strip("_"), pk)


# --- what is due: supersets, found by index; each is decided upon again under its lock ---


def _living() -> QuerySet[Platform]:
    return Platform.objects.exclude(state__in=[s.value for s in sorted(ENDED)])


def _ending() -> list[int]:
    """Living platforms of which a reminder's day has come that was not given, nor a later one."""
    today, due = clock.today(), Q()
    for days in rules().reminders:
        given = Reminder.objects.filter(
            platform=OuterRef("pk"), ends_on=OuterRef("expires_on"), days__lte=days
        )
        long_enough = Q(term_from=None) | Q(expires_on__gt=F("term_from") + timedelta(days=days))
        due |= Q(long_enough, ~Exists(given), expires_on__lte=today + timedelta(days=days))
    if not due:
        return []
    return list(_living().filter(due, expires_on__gt=today).values_list("pk", flat=True))


def _over() -> list[int]:
    """Living platforms beyond their end that run, or stand still and have not been promised a later day."""
    today = clock.today()
    still = Q(state__in=STILL) & (Q(removed_on=None) | Q(removed_on__lte=today))
    found = _living().filter(Q(state=PlatformState.READY.value) | still, expires_on__lte=today)
    return list(found.order_by("expires_on").values_list("pk", flat=True))


def _to_start() -> list[int]:
    return list(Platform.objects.filter(start_again=True).values_list("pk", flat=True))


def _stuck() -> list[int]:
    """Stuck runs of expiry about which nobody has decided for a while."""
    stuck = Run.objects.filter(state=RunState.STUCK.value, subject=SUBJECT).exclude(kind=RunKind.MEMBER.value)
    since = timezone.now() - REVIVED_AFTER  # the engine's clock, by which the journal goes
    lately = Run.objects.filter(pk=OuterRef("pk"), journal__at__gt=since)
    return list(stuck.filter(~Exists(lately)).values_list("pk", flat=True))


# --- what is done ---


def _locked(pk: int) -> tuple[Platform, Term | None]:
    platform = Platform.objects.select_for_update(of=("self",)).select_related("project").get(pk=pk)
    return platform, term_of(platform) if platform.alive else None


def _remind(pk: int, done: Attended) -> None:
    platform, term = _locked(pk)
    if term is None or platform.state == PlatformState.RETIRING.value:
        return
    site, today = rules(), clock.today()
    given = set(platform.reminders.filter(ends_on=term.ends_on).values_list("days", flat=True))
    due = expiry.reminder(term, site, given, today)
    if due is None:
        return
    Reminder.objects.create(platform=platform, ends_on=term.ends_on, days=due, at=clock.now())
    removed_on = term.removal(site, today)
    notices.write(platform, Notice.EXPIRING, ends_on=term.ends_on, removed_on=removed_on)
    done.reminded += 1


def _end(pk: int, done: Attended) -> None:
    platform, term = _locked(pk)
    if term is None:
        return
    today = clock.today()
    what = expiry.duty(term, still=platform.state in STILL, today=today)
    if what is Duty.STOP:
        platform.removed_on = None
        platform.save(update_fields=["removed_on"])
        _run(platform, RunKind.STOP, saga.power_steps(RunKind.STOP, machines_of(platform)))
        done.stopped += 1
    elif what is Duty.KEEP:
        platform.removed_on = term.removal(rules(), today)
        platform.save(update_fields=["removed_on"])
        notices.write(platform, Notice.STOPPED, ends_on=term.ends_on, removed_on=platform.removed_on)
        done.kept += 1
    elif what is Duty.RETIRE:
        _run(platform, RunKind.RETIRE, saga.retire_steps(platform.plan.images))
        notices.write(platform, Notice.RETIRED, ends_on=term.ends_on, removed_on=today)
        done.retired += 1


def _run(platform: Platform, kind: RunKind, steps: tuple[saga.StepSpec, ...]) -> None:
    runs.start(platform, kind, steps, acting_user=None, subject=SUBJECT)


def machines_of(platform: Platform) -> list[str]:
    """The names of its machines."""
    return [machine.name for machine in platform.plan.machines]


def stopped_by_expiry(platform: Platform) -> bool:
    """Whether the platform's machines stand still, or are about to, because its end had come, and for no other reason."""
    if platform.state not in (PlatformState.STOPPED.value, PlatformState.STOPPING.value):
        return False
    latest = platform.runs.exclude(kind=RunKind.MEMBER.value).order_by("-id").first()
    return latest is not None and latest.kind == RunKind.STOP.value and latest.subject == SUBJECT


def start_again(platform: Platform, *, acting_user: User | None) -> None:
    """Start a platform that expiry had stopped; while that is not possible (it is still stopping), a later look does it.

    The caller holds the platform's lock and has given it another end date.
    """
    try:
        with transaction.atomic():
            steps = saga.power_steps(RunKind.START, machines_of(platform))
            runs.start(platform, RunKind.START, steps, acting_user=acting_user)
            platform.start_again = False
    except Conflict:
        platform.start_again = True
    platform.save(update_fields=["start_again"])


def _start_again(pk: int, done: Attended) -> None:
    platform, term = _locked(pk)
    if term is None or term.over(clock.today()) or not stopped_by_expiry(platform):
        platform.start_again = False
        platform.save(update_fields=["start_again"])
    elif platform.state == PlatformState.STOPPED.value:
        start_again(platform, acting_user=None)
        done.started += not platform.start_again


def _revive(pk: int, done: Attended) -> None:
    """Try a stuck run again; a stop whose platform was renewed meanwhile is undone instead."""
    run = runs.lock_run(pk)
    if run.state != RunState.STUCK.value:
        return
    platform, term = _locked(run.platform_id)
    if run.kind == RunKind.STOP.value and term is not None and not term.over(clock.today()):
        steps = list(run.steps.all())
        runs.begin_unwinding(run, steps, f"{platform.slug} was renewed")
        runs.settle(run, steps)
        runs.ring(run.pk)
    else:
        decisions.revive(run)
    done.revived += 1
