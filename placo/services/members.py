"""Who may use a platform."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import saga
from placo.domain.lifecycle import ACTIVE_RUNS, PlatformState, RunKind, RunState
from placo.drivers.ports import DriverError, Person, Rejected
from placo.platforms.models import Membership, Platform, Run, User
from placo.services import access, auditlog, runs
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound

OPEN = tuple(
    state.value
    for state in (
        PlatformState.READY,
        PlatformState.STOPPED,
        PlatformState.SUSPENDED,
        PlatformState.SUSPENDING,
        PlatformState.RESUMING,
        PlatformState.STARTING,
        PlatformState.STOPPING,
        PlatformState.RESTARTING,
    )
)
"""States in which people can be added and removed."""


def search_people(*, acting_user: User, slug: str, text: str) -> list[Person]:
    """People of the directory who could be added; empty below two characters."""
    platform = access.get_managed_platform(acting_user, slug)
    text = text.strip()
    if len(text) < 2 or len(text) > 100 or "\x00" in text:
        return []
    known = set(platform.memberships.filter(wanted=True).values_list("uid", flat=True))
    try:
        return [p for p in wiring.directory().search_people(text, 10 + len(known)) if p.uid not in known][:10]
    except DriverError as error:
        raise DirectoryDown from error


def _person(uid: str) -> Person:
    unknown = InvalidInput({"uid": [_("There is nobody with this account in the directory.")]})
    if not isinstance(uid, str) or not 0 < len(uid) <= 128:
        raise unknown
    try:
        person = wiring.directory().person(uid)
    except Rejected:
        raise unknown from None
    except DriverError as error:
        raise DirectoryDown from error
    if person is None:
        raise unknown
    return person


def _open_platform(acting_user: User, slug: str) -> Platform:
    platform = access.get_managed_platform(acting_user, slug)
    if platform.state not in OPEN:
        raise Conflict(
            _("The platform is %(state)s: people cannot be changed now.")
            % {"state": platform.get_state_display()},
            _("Wait until it is ready."),
        )
    return platform


def add_member(*, acting_user: User, slug: str, uid: str) -> Membership:
    """Let a person of the directory use the platform; adding twice is harmless."""
    platform = _open_platform(acting_user, slug)
    person = _person(uid)
    with transaction.atomic():
        active = _lock(platform, person.uid)
        row = Membership.objects.filter(platform=platform, uid=person.uid).first()
        if row is not None and row.wanted:
            return row
        if row is None:
            row = Membership(platform=platform, uid=person.uid, version=0)
        row.name, row.wanted, row.settled, row.version = person.name, True, False, row.version + 1
        row.save()
        auditlog.record(acting_user, "member.add", slug, uid=person.uid)
        _follow(platform, row, acting_user, active)
        return row


def remove_member(*, acting_user: User, slug: str, uid: str) -> Membership:
    """Refuse a person from now on, everywhere on the platform. Owners of the project stay."""
    platform = _open_platform(acting_user, slug)
    if "\x00" in uid:
        raise NotFound(_("This person is not a member."))
    with transaction.atomic():
        active = _lock(platform, uid)
        row = Membership.objects.filter(platform=platform, uid=uid).first()
        if row is None:
            raise NotFound(_("This person is not a member."))
        if row.owner:
            raise Conflict(
                _("An owner of the project cannot be removed from its platform."),
                _("Ask an administrator to change the project's owners."),
            )
        if not row.wanted:
            return row
        row.wanted, row.settled, row.version = False, False, row.version + 1
        row.save()
        auditlog.record(acting_user, "member.remove", slug, uid=uid)
        _follow(platform, row, acting_user, active)
        return row


def _lock(platform: Platform, uid: str) -> Run | None:
    """Lock this person's run, if one is under way, and then the platform: in the order in which workers do."""
    under_way = Run.objects.filter(
        platform=platform, kind=RunKind.MEMBER.value, subject=uid, state__in=[s.value for s in ACTIVE_RUNS]
    )
    active = under_way.first()
    if active is not None:
        runs.lock_run(active.pk)
    Platform.objects.select_for_update().get(pk=platform.pk)
    return (
        under_way.first()
    )  # the one found before may have ended, and another one begun, before it was locked


def _follow(platform: Platform, row: Membership, acting_user: User, active: Run | None) -> None:
    """Have the directory follow the wish; a run that is under way for this person notices the new version."""
    if active is not None and active.state == RunState.STUCK.value:
        runs.revive(active)
    elif active is not None:
        runs.ring(active.pk)
    else:
        steps = saga.member_steps(row.uid)
        runs.start(platform, RunKind.MEMBER, steps, acting_user=acting_user, subject=row.uid)
