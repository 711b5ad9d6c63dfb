"""What the tests about guests share: an invitation, its link, and an account that comes of it."""

from __future__ import annotations

import re
from typing import Any

from django.core import mail

from placo.platforms.models import Guest, Invitation, Membership, Run, User
from placo.services import invitations, joining, letters, links
from tests.fakes import World
from tests.integration.conftest import Clock

SLUG = "alpha"
ADDRESS = "marie@elsewhere.test"
PASSWORD = "seven grey whales sing"
SENDER = {"sender": "PLACO <placo@example.org>", "language": "en"}
LINK = re.compile(r"https?://\S+/(placo_[A-Za-z0-9_-]{43})/")


def open_to_guests(world: World, clock: Clock, configured: Any) -> None:
    """A site that sends invitations, whose directory has the test's time, Emmy as an owner and Ada as administrator."""
    configured(mail=SENDER, people={"guest_grace_days": 10})
    world.directory.now = lambda: clock.time
    world.directory.owners_of, world.directory.admins = {"optics": {"emmy"}}, {"ada"}


def invite(emmy: User, mail_: str = ADDRESS, **more: object) -> Invitation:
    """Emmy invites somebody to alpha."""
    return invitations.invite(acting_user=emmy, slug=SLUG, mail=mail_, **more)


def mailed_token(address: str = ADDRESS) -> str:
    """The token in the last mail to somebody."""
    letters.send_due()
    last = [letter for letter in mail.outbox if letter.to == [address]][-1]
    [token] = set(LINK.findall(str(last.body)))
    return token


def token_of(invitation: Invitation) -> str:
    """The token of an invitation, as its mail has it."""
    invitation.refresh_from_db()
    return links.token_of(invitation)


def join(token: str, **changes: object) -> tuple[Guest, Membership]:
    """Somebody opens a link and makes an account."""
    sound: dict[str, object] = {
        "name": "marie",
        "shown": "Marie Skłodowska",
        "password": PASSWORD,
        "again": changes.get("password", PASSWORD),
    }
    return joining.join(token=token, **{**sound, **changes})  # type: ignore[arg-type]


def member_run(uid: str) -> Run:
    """The latest run about somebody's membership."""
    return Run.objects.filter(kind="member", subject=uid).latest("id")


def guest_of(world: World, emmy: User, **changes: object) -> Guest:
    """A guest who is a member of alpha, in the directory too."""
    guest, _membership = join(token_of(invite(emmy)), **changes)
    assert world.finish(member_run(guest.uid).pk).state == "done"
    return guest


def user_of(guest: Guest) -> User:
    """A guest who has logged in once."""
    user, _made = User.objects.get_or_create(
        username=guest.uid, defaults={"is_guest": True, "last_name": guest.name, "email": guest.mail}
    )
    user.set_unusable_password()
    user.save()
    return user
