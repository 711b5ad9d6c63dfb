"""What administrators do about drift: accept it, or have it repaired by a run."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from placo.domain import saga
from placo.domain.drift import CLEARED, SITE_PLACES, DriftKind, DriftWhat, Remedy
from placo.domain.lifecycle import PlatformState, RunKind
from placo.domain.saga import Mending, StepSpec
from placo.platforms.models import Drift, Platform, Run, User
from placo.services import access, auditlog, runs
from placo.services.errors import Conflict, InvalidInput, NotFound

REASONS = {
    Remedy.WAIT: gettext_lazy("It is compared again every minute, and this goes when it answers."),
    Remedy.RESTORE: gettext_lazy(
        "An empty volume would be no repair: restore it from a backup, or retire the platform."
    ),
    Remedy.LOST: gettext_lazy(
        "What a suspended machine held in memory does not come back: it boots when the platform is resumed."
    ),
    Remedy.FOREIGN: gettext_lazy("It belongs to no platform that PLACO knows: nobody but you may remove it."),
    Remedy.ELSEWHERE: gettext_lazy(
        "It belongs to a platform that lives: look at it before you remove it by hand."
    ),
}
"""Why there is nothing to repair."""


def listed(*, acting_user: User) -> QuerySet[Drift]:
    """All drift, for administrators."""
    access.require_administrator(acting_user)
    return Drift.objects.select_related("platform__host", "accepted_by")


def waiting() -> int:
    """How many pieces of drift nobody has accepted. Hosts that do not answer are told of by themselves."""
    rows = Drift.objects.filter(accepted_at=None)
    return rows.exclude(~Q(where__in=SITE_PLACES), kind=DriftKind.UNREACHABLE.value).count()


def _locked(acting_user: User, drift_id: int) -> Drift:
    access.require_administrator(acting_user)
    row = Drift.objects.select_for_update(of=("self",)).filter(pk=drift_id).first()
    if row is None:
        raise NotFound(_("It has gone: the last comparison found everything in order here."))
    return row


@transaction.atomic
def accept_drift(*, acting_user: User, drift_id: int) -> Drift:
    """It is wanted so: nobody is told of it again, until it changes."""
    row = _locked(acting_user, drift_id)
    if row.accepted_at is None:
        row.accepted_at, row.accepted_by = timezone.now(), acting_user
        row.save(update_fields=["accepted_at", "accepted_by"])
        _record(acting_user, "drift.accept", row)
    return row


@transaction.atomic
def repair_drift(*, acting_user: User, drift_id: int, confirm: str | None = None) -> Run:
    """Start the run that brings the world to what the plan says; of a living platform it touches nothing that was accepted.

    `confirm`, where it is given, has to be the platform's slug if something is removed for good.
    """
    row = _locked(acting_user, drift_id)
    platform = row.platform
    if platform is None or not row.remedy.repairs:
        reason = str(REASONS.get(row.remedy, REASONS[Remedy.FOREIGN]))
        raise Conflict(_("There is nothing that a repair could do here."), reason)
    if row.remedy is Remedy.REMOVE and confirm not in (None, platform.slug):
        raise InvalidInput(
            {"confirm": [_("Type the platform's name, %(slug)s, to confirm.") % {"slug": platform.slug}]}
        )
    _record(acting_user, "drift.repair", row)
    if PlatformState(platform.state) in CLEARED:
        where = row.where if row.what in _ON_HOSTS else ""
        return _start(platform, saga.clear_steps(platform.plan.images), acting_user, where)
    return _start(platform, saga.repair_steps(_mending(platform, row)), acting_user)


_ON_HOSTS = (DriftWhat.DOMAIN.value, DriftWhat.VOLUME.value, DriftWhat.NETWORK.value)


def _start(platform: Platform, steps: tuple[StepSpec, ...], acting_user: User, host: str = "") -> Run:
    return runs.start(platform, RunKind.REPAIR, steps, acting_user=acting_user, subject=host)


def _mending(platform: Platform, asked: Drift) -> Mending:
    """What a repair is about: what was asked for and everything else of the platform that nobody accepted.

    Machines whose volumes are missing are left out: they would not start, or not be what they were.
    """
    rows = list(Drift.objects.filter(platform=platform))
    accepted = [row for row in rows if row.accepted_at is not None and row.pk != asked.pk]
    wanted = [row for row in rows if row not in accepted and row.remedy.repairs]
    plan, state = platform.plan, PlatformState(platform.state)
    names = [machine.name for machine in plan.machines]
    by_volume = {volume: m.name for m in plan.machines for volume in m.volumes}

    def machines(of: list[Drift], *remedies: Remedy) -> set[str]:
        chosen = [row for row in of if not remedies or row.remedy in remedies]
        return {str(row.detail.get("machine") or by_volume.get(row.name, "")) for row in chosen}

    def spared(*whats: DriftWhat) -> bool:
        return any(row.what in [what.value for what in whats] for row in accepted)

    lost = [row for row in rows if row.what == DriftWhat.VOLUME.value and row.kind == DriftKind.MISSING.value]
    left_out = machines(lost) | machines([r for r in accepted if r.what == DriftWhat.DOMAIN.value])
    concerned, restart = machines(wanted), machines(wanted, Remedy.RESTART)
    if any(row.what == DriftWhat.NETWORK.value and row.remedy is Remedy.RESTART for row in wanted):
        concerned, restart = set(names), set(names)  # their cards hang on a bridge that is gone
    subtree = any(row.what == DriftWhat.DIRECTORY.value for row in wanted)
    members = platform.memberships.filter(wanted=True).values_list("uid", flat=True) if subtree else ()
    chosen = tuple(name for name in names if name in concerned - left_out)
    return Mending(
        state=state,
        machines=chosen,
        restart=frozenset(restart - left_out),
        accounts=tuple(names) if subtree else chosen,
        members=tuple(members),
        network=not spared(DriftWhat.NETWORK),
        directory=not spared(DriftWhat.DIRECTORY),
        edge=not spared(DriftWhat.EDGE, DriftWhat.CERTIFICATE, DriftWhat.MAIL, DriftWhat.NAMES),
    )


def _record(acting_user: User, verb: str, row: Drift) -> None:
    subject = row.platform.slug if row.platform else row.where
    detail = {"what": row.what, "where": row.where, "name": row.name, "kind": row.kind}
    auditlog.record(acting_user, verb, subject, **detail)
