"""Hosts that are gone for good: an administrator declares one lost, and takes it back if it answers again after all.

On a lost host nothing is made any more, and what a run would remove there counts as gone ("given up"), so that everything that
waits for the host comes to an end. What may still be there keeps its name and addresses: should the host ever come back, nothing
new collides with it.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from placo.domain.drift import DriftKind, DriftWhat
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RunKind, RunState, StepState
from placo.domain.places import Place, place_of
from placo.platforms.models import Drift, Host, JournalEntry, Platform, Run, Step, User
from placo.services import auditlog, hosts, runs
from placo.services.errors import Conflict, InvalidInput
from placo.services.work import host_of


@transaction.atomic
def declare_lost(*, acting_user: User, host_name: str, confirm: str) -> Host:
    """The host will not come back: nothing waits for it any more. Only while it does not answer; `confirm` has to be its name."""
    host = hosts.locked(acting_user, host_name)
    if confirm != host.name:
        raise InvalidInput(
            {"confirm": [_("Type the host's name, %(name)s, to confirm.") % {"name": host.name}]}
        )
    if host.lost:
        return host
    if host.reachable or host.checked_at is None:
        raise Conflict(
            _("The host %(host)s answers: only one that does not can be declared lost.")
            % {"host": host.name},
            _("Retire what is on it if the machine is to be given up."),
        )
    host.lost_at, host.lost_by = timezone.now(), acting_user
    host.save(update_fields=["lost_at", "lost_by"])
    _not_compared(host)
    slugs = sorted(platforms_on(host).values_list("slug", flat=True))
    auditlog.record(acting_user, "host.lost", host.name, platforms=slugs)
    for run in _under_way(host):
        _release(run.pk, acting_user)
    return host


def _not_compared(host: Host) -> None:
    """Whatever its last comparison found, another one is needed before it can be taken back."""
    now = timezone.now()
    Drift.objects.get_or_create(
        what=DriftWhat.HOST.value,
        where=host.name,
        name=host.name,
        defaults={"kind": DriftKind.UNREACHABLE.value, "found_at": now, "seen_at": now},
    )


def _release(run_id: int, acting_user: User) -> None:
    """Have the steps of a run that wait for its host, or failed there, done again: they are given up or refused now."""
    run = runs.lock_run(run_id)
    steps = list(run.steps.all())
    for step in steps:
        if place_of(step.action) is not Place.HOST:
            continue
        if step.state == StepState.FAILED.value:
            going = StepState.UNDOING if run.state == RunState.UNWINDING.value else StepState.PENDING
            step.state, step.failures, step.started_at = going.value, 0, None
        if step.lease_until is None:
            step.not_before = None
    Step.objects.bulk_update(steps, ["state", "failures", "not_before", "started_at"])
    JournalEntry.objects.create(run=run, event="host lost", message=acting_user.username)
    runs.settle(run, steps)
    runs.ring(run.pk)


@transaction.atomic
def take_back(*, acting_user: User, host_name: str) -> Host:
    """A lost host that answers again is used as before, once nothing is left there of platforms that have ended."""
    host = hosts.locked(acting_user, host_name)
    if not host.lost:
        return host
    if not host.reachable:
        raise Conflict(
            _("The host %(host)s does not answer.") % {"host": host.name},
            _("It is asked every minute. It can be taken back when it answers."),
        )
    if going := sorted({run.platform.slug for run in _under_way(host)}):
        raise Conflict(
            _("Runs are under way on this host: %(platforms)s.") % {"platforms": ", ".join(going)},
            _("Wait until they have ended."),
        )
    if Drift.objects.filter(what=DriftWhat.HOST.value, where=host.name).exists():
        raise Conflict(
            _("What is on the host has not been looked at since it answers again."), _("Wait a minute.")
        )
    if count := left_behind(host):
        text = ngettext("%(n)d thing was left there.", "%(n)d things were left there.", count)
        raise Conflict(
            text % {"n": count}, _("Remove it or accept it in Operations / Drift, then take the host back.")
        )
    host.lost_at = host.lost_by = None
    host.save(update_fields=["lost_at", "lost_by"])
    freed = sorted(host.left_behind.values_list("slug", flat=True))
    host.left_behind.update(left_on=None, subnet_index=None)
    auditlog.record(acting_user, "host.taken-back", host.name, freed=freed)
    return host


def left_behind(host: Host) -> int:
    """How much is there, as the last comparison found, that is no living platform's and that nobody has accepted."""
    return Drift.objects.filter(where=host.name, kind=DriftKind.EXTRA.value, accepted_at=None).count()


def platforms_on(host: Host) -> QuerySet[Platform]:
    """Platforms that have something on a host."""
    over = [*(state.value for state in ENDED), PlatformState.REQUESTED.value]
    return Platform.objects.filter(host=host).exclude(state__in=over)


def _under_way(host: Host) -> list[Run]:
    """Active runs that do their work on a host."""
    active = Run.objects.filter(state__in=[s.value for s in ACTIVE_RUNS]).exclude(kind=RunKind.MEMBER.value)
    there = Q(platform__host=host) | Q(kind=RunKind.REPAIR.value, subject=host.name)
    rows = active.filter(there).select_related("platform__host").order_by("pk")
    return [run for run in rows if host_of(run).pk == host.pk]
