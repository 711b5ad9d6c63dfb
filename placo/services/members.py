"""Who may use a platform."""

from __future__ import annotations

from datetime import date, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import expiry as calendar
from placo.domain import saga
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RunKind, RunState
from placo.drivers.ports import DriverError, Person, Rejected
from placo.platforms.models import Guest, Membership, Platform, Run, User
from placo.services import access, auditlog, clock, decisions, renewal, runs
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
        PlatformState.REBUILDING,
        PlatformState.CHANGING,
    )
)
"""States in which people can be added and removed."""
ALIVE = tuple(state.value for state in PlatformState if state not in ENDED)
LEAVING = tuple(state for state in ALIVE if state != PlatformState.REQUESTED.value)
"""States in which people can be removed. Whoever waits for a platform that is not well waits with access, so: all that have a group."""


def search_people(*, acting_user: User, slug: str, text: str) -> list[Person]:
    """People of the directory who could be added; empty below two characters.

    Guests are those who were here before: nobody is told of other platforms' guests.
    """
    platform = access.get_managed_platform(acting_user, slug)
    text = text.strip()
    if len(text) < 2 or len(text) > 100 or "\x00" in text:
        return []
    known = set(platform.memberships.filter(wanted=True).values_list("uid", flat=True))
    own = set(_guests_of(platform).values_list("uid", flat=True))
    others = Guest.objects.exclude(uid__in=own).count()
    try:
        found = wiring.directory().search_people(text, 10 + len(known) + others)
    except DriverError as error:
        raise DirectoryDown from error
    return [p for p in found if p.uid not in known and (not p.guest or p.uid in own)][:10]


def _guests_of(platform: Platform) -> QuerySet[Guest]:
    """Those who have accepted an invitation of this platform, whether they are still members or not."""
    return Guest.objects.filter(
        invitations__platform=platform, invitations__accepted_at__isnull=False
    ).distinct()


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


def _open_platform(acting_user: User, slug: str, states: tuple[str, ...] = OPEN) -> Platform:
    platform = access.get_managed_platform(acting_user, slug)
    if platform.state not in states:
        raise Conflict(
            _("The platform is %(state)s: people cannot be changed now.")
            % {"state": platform.get_state_display()},
            _("Wait until it is ready."),
        )
    return platform


def add_member(*, acting_user: User, slug: str, uid: str) -> Membership:
    """Let a person of the directory use the platform; adding twice is harmless.

    Conflict for a guest who was never here: guests come by an invitation, which they accept themselves.
    """
    platform = _open_platform(acting_user, slug)
    person = _person(uid)
    if person.guest and not _guests_of(platform).filter(uid=person.uid).exists():
        raise Conflict(
            _("%(uid)s is a guest of other platforms: guests come by an invitation.") % {"uid": person.uid},
            _("Invite the address of that person."),
        )
    with transaction.atomic():
        return admit(platform, person, acting_user=acting_user)


def admit(
    platform: Platform, person: Person, *, acting_user: User | None, until: date | None = None
) -> Membership:
    """Somebody uses the platform from now on, until that day; who does already keeps the later of two days.

    The caller is in a transaction, has asked whether that may be, and that the platform is in one of the states OPEN.
    """
    active = _lock(platform, person.uid)
    row = Membership.objects.filter(platform=platform, uid=person.uid).first()
    if row is not None and row.wanted:
        if row.until is not None and (until is None or until > row.until):
            row.until = until
            row.save(update_fields=["until"])
        return row
    if row is None:
        row = Membership(platform=platform, uid=person.uid, version=0)
    row.name, row.wanted, row.settled, row.version = person.name, True, False, row.version + 1
    row.until = until
    row.save()
    auditlog.record(acting_user, "member.add", platform.slug, uid=person.uid)
    _follow(platform, row, acting_user, active)
    return row


def remove_member(*, acting_user: User, slug: str, uid: str) -> Membership:
    """Refuse a person from now on, everywhere on the platform, whatever else is under way there. Owners stay."""
    platform = _open_platform(acting_user, slug, LEAVING)
    if "\x00" in uid:
        raise NotFound(_("This person is not a member."))
    with transaction.atomic():
        active = _lock(platform, uid)
        row = _row(platform, uid)
        if row.appointed:
            raise Conflict(
                _("An owner of the platform cannot be removed from it."),
                _("They can step down; an administrator can remove them from all platforms."),
            )
        if row.owner:
            raise Conflict(
                _("An owner of the project cannot be removed from its platform."),
                _("Ask an administrator to change the project's owners."),
            )
        _dismiss(platform, row, acting_user, active)
        return row


def dismiss(platform: Platform, uid: str, *, acting_user: User | None) -> Membership | None:
    """Refuse somebody from now on, whoever they are; None for who is no member. The directory follows at once, whatever else is
    under way on the platform. The caller is in a transaction and has asked whether that may be."""
    active = _lock(platform, uid)
    row = Membership.objects.filter(platform=platform, uid=uid).first()
    if row is not None:
        _dismiss(platform, row, acting_user, active)
    return row


def _dismiss(platform: Platform, row: Membership, acting_user: User | None, active: Run | None) -> None:
    if row.wanted:
        row.owner = row.appointed = False
        _change(platform, row, acting_user, active, wanted=False)
        auditlog.record(acting_user, "member.remove", platform.slug, uid=row.uid)


def set_until(*, acting_user: User, slug: str, uid: str, until: object) -> Membership:
    """The day on which a membership ends, refused from then on; none: for as long as the platform is there."""
    platform = access.get_managed_platform(acting_user, slug)
    day = check_until(until)
    if "\x00" in uid:
        raise NotFound(_("This person is not a member."))
    with transaction.atomic():
        _lock(platform, uid)
        row = _row(platform, uid)
        if not row.wanted:
            raise NotFound(_("This person is not a member."))
        if row.owner and day is not None:
            raise Conflict(
                _("An owner's membership has no end."), _("They have to step down first, then set the day.")
            )
        if row.until != day:
            row.until = day
            row.save(update_fields=["until"])
            auditlog.record(acting_user, "member.until", slug, uid=uid, until=str(day or ""))
    return row


def check_until(value: object) -> date | None:
    """A day after today, as YYYY-MM-DD; nothing for no end."""
    if value is None or value == "":
        return None
    try:
        day = renewal.check_date(value)
    except InvalidInput:
        day = None
    if day is None or not clock.today() < day <= clock.today() + timedelta(days=calendar.LONGEST):
        raise InvalidInput({"until": [_("A day after today, like 2027-03-31, or nothing.")]})
    return day


def set_owner(platform: Platform, uid: str, *, owner: bool, appointed: bool, acting_user: User) -> Membership:
    """Make a member an owner, or an owner a member, and have the directory follow. The caller is in a transaction and has
    asked whether that may be. NotFound for who is no member."""
    active = _lock(platform, uid)
    row = _row(platform, uid)
    if not row.wanted:
        raise NotFound(_("This person is not a member."))
    row.until = None if owner else row.until
    if (row.owner, row.appointed) != (owner, appointed):
        row.owner, row.appointed = owner, appointed
        _change(platform, row, acting_user, active, wanted=True)
    return row


def follow_up() -> int:
    """Have the directory follow wishes that nothing is under way for: those of platforms that were busy; how many."""
    under_way = Run.objects.filter(
        platform=OuterRef("platform"),
        subject=OuterRef("uid"),
        kind=RunKind.MEMBER.value,
        state__in=[s.value for s in ACTIVE_RUNS],
    )
    possible = Q(platform__state__in=OPEN) | Q(platform__state__in=LEAVING, wanted=False)
    rows = Membership.objects.filter(~Exists(under_way), possible, settled=False)
    count = 0
    for pk in rows.values_list("pk", flat=True):
        with transaction.atomic():
            row = Membership.objects.filter(pk=pk).select_related("platform").first()
            if row is None:
                continue
            active = _lock(row.platform, row.uid)
            row = Membership.objects.filter(pk=pk, settled=False).first()
            if row is not None and active is None:
                _follow(row.platform, row, None, active)
                count += 1
    return count


def end_those_over() -> int:
    """Refuse those whose last day has passed; how many."""
    over = Membership.objects.filter(wanted=True, until__lte=clock.today(), platform__state__in=ALIVE)
    count = 0
    for pk in over.values_list("pk", flat=True):
        with transaction.atomic():
            row = Membership.objects.filter(pk=pk).select_related("platform").first()
            if row is None:
                continue
            active = _lock(row.platform, row.uid)
            row = Membership.objects.filter(pk=pk, wanted=True, until__lte=clock.today()).first()
            if row is not None:
                _dismiss(row.platform, row, None, active)
                count += 1
    return count


def _row(platform: Platform, uid: str) -> Membership:
    row = Membership.objects.filter(platform=platform, uid=uid).first()
    if row is None:
        raise NotFound(_("This person is not a member."))
    return row


def _change(
    platform: Platform, row: Membership, acting_user: User | None, active: Run | None, *, wanted: bool
) -> None:
    """A new wish, which the directory follows: now, or when the platform is there. The caller holds its lock."""
    row.wanted, row.settled, row.version = wanted, False, row.version + 1
    row.save()
    platform.refresh_from_db(fields=["state"])
    if platform.state in (OPEN if wanted else LEAVING) or active is not None:
        _follow(platform, row, acting_user, active)


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


def _follow(platform: Platform, row: Membership, acting_user: User | None, active: Run | None) -> None:
    """Have the directory follow the wish; a run that is under way for this person notices the new version."""
    if active is not None and active.state == RunState.STUCK.value:
        decisions.revive(active)
    elif active is not None:
        runs.ring(active.pk)
    else:
        steps = saga.member_steps(row.uid)
        runs.start(platform, RunKind.MEMBER, steps, acting_user=acting_user, subject=row.uid)
