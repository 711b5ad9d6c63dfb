"""What people are told of their platforms: writing it, reading it in the portal. Mails: services/post.py."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from django.db import transaction
from django.db.models import QuerySet

from placo import wiring
from placo.platforms.models import Notice, Platform, User
from placo.services import access, clock
from placo.services.errors import NotFound


def recipients(platform: Platform) -> list[str]:
    """The uids of those who are told: the owners of the platform; administrators where it has none."""
    owners = access.owners_of(platform)
    if owners:
        return owners
    return administrators()


def administrators() -> list[str]:
    """The uids of the administrators who have logged in."""
    known = User.objects.filter(is_administrator=True, is_active=True, is_break_glass=False)
    return sorted(known.values_list("username", flat=True))


def write(platform: Platform, kind: str, *, ends_on: date, removed_on: date) -> list[Notice]:
    """Tell everybody concerned, in the caller's transaction; what they were told before of the same platform is read by that."""
    told = Notice.objects.filter(platform=platform, read_at=None).exclude(kind=Notice.UNPROVEN)
    told.update(read_at=clock.now())
    return _write(platform, kind, recipients(platform), ends_on=ends_on, removed_on=removed_on)


def tell_administrators(platform: Platform, kind: str) -> list[Notice]:
    """Tell all administrators, in the caller's transaction, of something that has nothing to do with the end date."""
    day = platform.expires_on or clock.today()
    return _write(platform, kind, administrators(), ends_on=day, removed_on=day)


def _write(
    platform: Platform, kind: str, uids: Iterable[str], *, ends_on: date, removed_on: date
) -> list[Notice]:
    now = clock.now()
    due = now if wiring.site().mail is not None else None
    return Notice.objects.bulk_create(
        Notice(
            uid=uid,
            platform=platform,
            kind=kind,
            ends_on=ends_on,
            removed_on=removed_on,
            at=now,
            mail_due_at=due,
        )
        for uid in uids
    )


def settle(platform: Platform) -> None:
    """The platform was given another end date: nothing that was said about the old one needs anybody any more."""
    told = Notice.objects.filter(platform=platform, read_at=None).exclude(
        kind__in=(Notice.OWNERLESS, Notice.UNPROVEN)
    )
    told.update(read_at=clock.now())


def settle_kind(platform: Platform, kind: str) -> None:
    """What was said of this kind is over."""
    Notice.objects.filter(platform=platform, kind=kind, read_at=None).update(read_at=clock.now())


def of(user: User) -> QuerySet[Notice]:
    """What somebody was told about platforms that they may still see, latest first."""
    visible = access.visible_platforms(user).values("pk")
    return Notice.objects.filter(uid=user.username, platform__in=visible).select_related("platform__project")


def unread(user: User) -> QuerySet[Notice]:
    """What somebody was told and has not read."""
    return of(user).filter(read_at=None)


@transaction.atomic
def mark_read(*, acting_user: User, notice_id: int) -> Notice:
    """The person has read it; twice is harmless. NotFound for what others were told."""
    notice = of(acting_user).filter(pk=notice_id).select_for_update(of=("self",)).first()
    if notice is None:
        raise NotFound
    if notice.read_at is None:
        notice.read_at = clock.now()
        notice.save(update_fields=["read_at"])
    return notice


@transaction.atomic
def mark_all_read(*, acting_user: User) -> int:
    """The person has read everything; how many notices that were."""
    return Notice.objects.filter(uid=acting_user.username, read_at=None).update(read_at=clock.now())
