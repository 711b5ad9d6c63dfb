"""Proofs of platforms: asking for one, the schedule, and what came of them. Making one: services/proving.py."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import DateTimeField, F, Max, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from placo import wiring
from placo.celery import ring_for
from placo.domain import stand_ins
from placo.domain.lifecycle import ACTIVE_RUNS, PlatformState, RunKind
from placo.drivers.ports import Directory, DriverError
from placo.platforms.models import Notice, Platform, Proof, ProofCase, Run, User
from placo.services import access, auditlog, clock, limits, notices
from placo.services.commits import after_commit
from placo.services.errors import Conflict, TooMany

log = logging.getLogger("placo.proofs")

LEASE = timedelta(minutes=4)
"""Longer than a proof can take: who has not ended one by then has died."""
KEPT = 20
"""How many proofs of a platform are kept."""
FIRST_AFTER = timedelta(hours=1)
"""How long a platform has been ready before the schedule proves it for the first time; the wait after one that broke off."""
MOST_AN_HOUR = 12
VERDICTS = (Proof.PASSED, Proof.FAILED)


# --- asking and looking ----------------------------------------------------------------------------------------------


def ask(*, acting_user: User, slug: str) -> Proof:
    """Have a platform proven soon; the proof that is under way, if one is. Owners and administrators, when the platform is ready."""
    platform = access.get_managed_platform(acting_user, slug)
    with transaction.atomic():
        Platform.objects.select_for_update().get(pk=platform.pk)
        going = platform.proofs.filter(ended_at=None).first()
        if going is not None:
            return going
        if not provable(platform):
            raise Conflict(
                _("Only a platform that is ready, and that nothing is done with, can be tried."),
                _("Try again when it is ready."),
            )
        if not limits.take("proof", str(platform.pk), most=MOST_AN_HOUR, within=timedelta(hours=1)):
            raise TooMany(_("This platform has been tried often enough for now."), _("Try again in an hour."))
        proof = Proof.objects.create(platform=platform, asked_by=acting_user, asked_at=clock.now())
        auditlog.record(acting_user, "proof.ask", platform.slug)
        ring(proof.pk)
    return proof


def provable(platform: Platform) -> bool:
    """Whether trying its doors says something now: its machines are meant to answer."""
    platform.refresh_from_db(fields=["state"])
    if platform.state != PlatformState.READY.value or platform.unknown or platform.lost:
        return False
    return not _disturbing(platform).filter(state__in=[s.value for s in ACTIVE_RUNS]).exists()


def disturbed(platform: Platform, since: datetime) -> bool:
    """Whether something was done with the platform meanwhile that can have kept its machines from answering."""
    later = _disturbing(platform).filter(created_at__gte=since)
    return not provable(platform) or later.exists()


def _disturbing(platform: Platform) -> QuerySet[Run]:
    return platform.runs.exclude(kind=RunKind.MEMBER.value)


def listed(*, acting_user: User, slug: str) -> list[Proof]:
    """The proofs of a platform that somebody manages, the latest first, with their cases."""
    platform = access.get_managed_platform(acting_user, slug)
    return list(platform.proofs.select_related("asked_by").prefetch_related("cases"))


@dataclass(frozen=True)
class Shown:
    """What a platform's page has to say: the latest proof, and the latest that came to a verdict (the same one, mostly)."""

    latest: Proof | None
    verdict: Proof | None
    failed: list[ProofCase]
    tried: int
    possible: bool

    @property
    def going(self) -> bool:
        """A proof is asked for, or under way."""
        return self.latest is not None and not self.latest.over


def shown(platform: Platform) -> Shown:
    """For those who manage it; the caller has asked whether somebody does."""
    latest = platform.proofs.first()
    verdict = platform.proofs.filter(state__in=VERDICTS).first()
    cases = list(verdict.cases.all()) if verdict else []
    return Shown(latest, verdict, [c for c in cases if not c.passed], len(cases), provable(platform))


def ring(proof_id: int) -> None:
    """Have a worker make it, after the commit. A lost ring is repeated by beat."""
    after_commit(_send, proof_id)


def _send(proof_id: int) -> None:
    ring_for("tasks.prove", proof_id, expires=60)


# --- what beat asks for ------------------------------------------------------------------------------------------------


def attend() -> int | None:
    """Each minute: end what died, take away what was left, ring again, and ask for the proof that is due; its number."""
    _bury()
    for pk in Proof.objects.filter(state=Proof.ASKED).values_list("pk", flat=True):
        ring(pk)
    sweep()
    return _ask_due()


def _bury() -> None:
    for proof in Proof.objects.filter(state=Proof.GOING, began_at__lt=clock.now() - LEASE):
        if end(proof.pk, Proof.BROKEN, reason=Proof.DIED):
            log.warning("proof=%s of %s died: it is over", proof.pk, proof.platform.slug)


def sweep() -> int:
    """Take away the stand-ins that no proof under way needs; how many. What cannot be taken away now is later."""
    directory, gone = wiring.directory(), 0
    try:
        found = directory.stand_ins()
        for uid in found.uids:
            if not _needed(uid):
                take_away(directory, uid)
                gone += 1
        for slug, uuid in found.platforms.items():
            if not _needed(slug):
                directory.remove_platform(slug, uuid)
                gone += 1
    except DriverError as error:
        log.warning("stand-ins are taken away later: %s", error)
    if gone:
        log.warning("%d stand-ins that a proof left have been taken away", gone)
    return gone


def take_away(directory: Directory, uid: str) -> None:
    """A stand-in goes, with the key that it may have: first that, for nobody finds the keys of who is gone."""
    directory.set_ssh_keys(uid, ())
    directory.remove_guest(uid)


def _needed(name: str) -> bool:
    """Whether a stand-in belongs to a proof that is under way. The row comes before the stand-in, and ends after it."""
    return Proof.objects.filter(state=Proof.GOING, platform=stand_ins.platform_of(name)).exists()


def _ask_due() -> int | None:
    every = timedelta(hours=wiring.site().proofs.every_hours)
    if not every or Proof.objects.filter(ended_at=None, asked_by=None).exists():
        return None
    for platform in due(clock.now(), every):
        if provable(platform):
            with transaction.atomic():
                Platform.objects.select_for_update().get(pk=platform.pk)
                if platform.proofs.filter(ended_at=None).exists():
                    return None
                proof = Proof.objects.create(platform=platform, asked_at=clock.now())
                ring(proof.pk)
            return proof.pk
    return None


def due(now: datetime, every: timedelta) -> list[Platform]:
    """Platforms that are ready and were not proven for so long, the one that has waited longest first."""
    ready = Platform.objects.filter(state=PlatformState.READY.value).select_related("host")
    found: list[Platform] = []
    rows = ready.annotate(tried_at=Max("proofs__asked_at")).annotate(
        since=Coalesce("tried_at", F("ready_at"), output_field=DateTimeField())
    )
    for platform in rows.order_by("since", "pk"):
        latest = platform.proofs.values_list("state", flat=True).first()
        wait = every if latest in VERDICTS else min(every, FIRST_AFTER)
        if platform.since is None or platform.since <= now - wait:
            found.append(platform)
    return found


# --- the end of a proof ----------------------------------------------------------------------------------------------


def end(proof_id: int, state: str, *, reason: str = "", cases: Iterable[ProofCase] = ()) -> bool:
    """What came of a proof; False if that has been said before, for another worker has."""
    with transaction.atomic():
        proof = Proof.objects.select_for_update(of=("self",)).select_related("platform").get(pk=proof_id)
        if proof.state not in (Proof.ASKED, Proof.GOING):
            return False
        proof.state, proof.reason, proof.ended_at = state, reason, clock.now()
        proof.save(update_fields=["state", "reason", "ended_at"])
        ProofCase.objects.bulk_create(cases)
        auditlog.record(None, f"proof.{state}", proof.platform.slug)
        if state in VERDICTS:
            _tell(proof)
        old = proof.platform.proofs.values_list("pk", flat=True)[KEPT:]
        Proof.objects.filter(pk__in=list(old)).delete()
    return True


def _tell(proof: Proof) -> None:
    """Administrators are told once when proofs of a platform begin to fail, and not any more when one has passed."""
    if proof.state == Proof.PASSED:
        notices.settle_kind(proof.platform, Notice.UNPROVEN)
        return
    before = proof.platform.proofs.filter(state__in=VERDICTS, pk__lt=proof.pk).first()
    if before is None or before.state == Proof.PASSED:
        notices.tell_administrators(proof.platform, Notice.UNPROVEN)


# --- for the doctor and for metrics --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """How the site stands: platforms that are ready and whose last verdict is a failure; since when the one that waited longest is
    unproven (None: there is none that is ready)."""

    failed: list[str]
    oldest: datetime | None
    oldest_slug: str


def standing() -> Standing:
    """In two queries."""
    ready = Platform.objects.filter(state=PlatformState.READY.value)
    verdicts = Proof.objects.filter(platform__in=ready, state__in=VERDICTS).order_by("platform_id", "-id")
    failed = [
        slug
        for slug, state in verdicts.distinct("platform_id").values_list("platform__slug", "state")
        if state == Proof.FAILED
    ]
    waiting = ready.annotate(
        since=Coalesce(
            Max("proofs__ended_at", filter=Q(proofs__state__in=VERDICTS)),
            F("ready_at"),
            output_field=DateTimeField(),
        )
    )
    first = waiting.filter(since__isnull=False).order_by("since").values_list("since", "slug").first()
    return Standing(sorted(failed), *(first or (None, "")))
