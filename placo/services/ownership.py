"""Who looks after a platform: the owners of its project, as the directory says, but for those who have handed it over, and those
to whom it was handed. The directory's group of owners follows by the members' runs."""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils.translation import gettext as _

from placo.domain.lifecycle import ENDED, PlatformState
from placo.platforms.models import Guest, Membership, Notice, Platform, ProjectOwner, SteppedDown, User
from placo.services import access, auditlog, clock, members, notices
from placo.services.errors import Conflict, Forbidden, NotFound

log = logging.getLogger("placo.ownership")


def _open(acting_user: User, slug: str) -> Platform:
    platform = access.get_managed_platform(acting_user, slug)
    if platform.state not in members.OPEN:
        raise Conflict(
            _("The platform is %(state)s: people cannot be changed now.")
            % {"state": platform.get_state_display()},
            _("Wait until it is ready."),
        )
    return platform


@transaction.atomic
def hand_over(*, acting_user: User, slug: str, uid: str) -> Membership:
    """Make a member an owner of the platform, beside those whom it has; twice is harmless. Guests own nothing."""
    platform = _open(acting_user, slug)
    Platform.objects.select_for_update(of=("self",)).get(pk=platform.pk)
    if "\x00" in uid:
        raise NotFound(_("This person is not a member."))
    if Guest.objects.filter(uid=uid).exists():
        raise Conflict(
            _("A guest cannot be an owner."), _("Choose somebody who has an account of the laboratory.")
        )
    member = platform.memberships.filter(uid=uid, wanted=True).first()
    if member is None:
        raise NotFound(_("This person is not a member."))
    SteppedDown.objects.filter(platform=platform, uid=uid).delete()
    owns_project = ProjectOwner.objects.filter(project=platform.project_id, uid=uid).exists()
    if member.owner and (member.appointed or owns_project):
        return member
    row = members.set_owner(platform, uid, owner=True, appointed=not owns_project, acting_user=acting_user)
    auditlog.record(acting_user, "owner.add", slug, uid=uid)
    settle(platform)
    return row


@transaction.atomic
def step_down(*, acting_user: User, slug: str, uid: str) -> Membership | None:
    """Somebody is an owner of the platform no more, but stays a member. Owners do that themselves, administrators for others.

    Never the last one. Owning the project, with its quota and its other platforms, is the directory's business and stays.
    """
    platform = _open(acting_user, slug)
    if uid != acting_user.username and not acting_user.is_administrator:
        raise Forbidden(
            _("Nobody but an administrator takes a platform away from another owner."),
            _("Ask the person to step down, or an administrator."),
        )
    Platform.objects.select_for_update(of=("self",)).get(pk=platform.pk)
    owners = access.owners_of(platform)
    if uid not in owners:
        raise NotFound(_("This person is not an owner."))
    if owners == [uid]:
        raise Conflict(
            _("The last owner cannot step down: somebody has to look after the platform."),
            _("Make somebody else an owner first."),
        )
    if ProjectOwner.objects.filter(project=platform.project_id, uid=uid).exists():
        SteppedDown.objects.get_or_create(platform=platform, uid=uid)
    row = platform.memberships.filter(uid=uid, wanted=True).first()
    if row is not None:
        row = members.set_owner(platform, uid, owner=False, appointed=False, acting_user=acting_user)
    auditlog.record(acting_user, "owner.remove", slug, uid=uid)
    return row


# --- platforms that nobody looks after ---


def settle(platform: Platform) -> None:
    """Somebody looks after it again: the notices about that need nobody any more."""
    if platform.ownerless_since is not None and access.owners_of(platform):
        Platform.objects.filter(pk=platform.pk).update(ownerless_since=None)
        notices.settle_kind(platform, Notice.OWNERLESS)


def report() -> int:
    """Tell administrators, once, of each platform that nobody looks after; how many new ones there are."""
    rows = Platform.objects.exclude(
        state__in=[s.value for s in (*sorted(ENDED), PlatformState.REQUESTED, PlatformState.RETIRING)]
    )
    found = 0
    for platform in rows.select_related("project"):
        alone = not access.owners_of(platform)
        if not alone:
            settle(platform)
        elif platform.ownerless_since is None:
            with transaction.atomic():
                now = clock.now()
                if Platform.objects.filter(pk=platform.pk, ownerless_since=None).update(ownerless_since=now):
                    day = platform.expires_on or clock.today()
                    notices.write(platform, Notice.OWNERLESS, ends_on=day, removed_on=day)
                    log.warning("platform=%s has no owner any more", platform.slug)
                    found += 1
    return found


def ownerless() -> list[Platform]:
    """Living platforms that nobody looks after."""
    rows = Platform.objects.filter(ownerless_since__isnull=False).exclude(state__in=[s.value for s in ENDED])
    return list(rows.order_by("slug"))
