"""What people are told: in the portal, in the API, by mail; and that no mail is lost, doubled on purpose, or in the way."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.utils import formats

from placo.platforms.models import Notice, Platform, Project, Run, User
from placo.services import expiry, members, notices, post, renewal
from placo.services.errors import NotFound
from tests import factories
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.ends import end_it, look

SENDER = {"sender": "PLACO <placo@example.org>"}


@pytest.fixture
def alpha(clock: Clock, world: World, optics: Project, emmy: User, admin: User, configured: Any) -> Platform:
    configured(mail=SENDER)
    return factories.ready_platform(world, emmy, admin, title="Wave equations")


@pytest.fixture
def reminded(alpha: Platform, clock: Clock) -> Notice:
    """The first reminder of alpha, not mailed yet."""
    clock.forward(60)
    expiry.attend()
    return Notice.objects.get()


def test_a_mail_says_what_ends_when_and_what_to_do(reminded: Notice, clock: Clock, emmy: User) -> None:
    User.objects.filter(pk=emmy.pk).update(language="en")
    assert post.send_due() == 1
    [letter] = mail.outbox
    assert letter.to == ["emmy@example.org"]
    assert letter.from_email == "PLACO <placo@example.org>"
    assert letter.subject == f"alpha ends on {formats.date_format(reminded.ends_on)}"
    assert "Hello Emmy Noether," in letter.body
    assert "“Wave equations” (alpha)" in letter.body
    assert "one click" in letter.body
    assert letter.body.count("http") == 1
    assert "/platforms/alpha/\n" in letter.body
    assert "Bonjour" not in letter.body
    assert letter.content_subtype == "plain"
    assert letter.attachments == []
    reminded.refresh_from_db()
    assert reminded.mailed_at == clock.time
    assert post.send_due() == 0
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("known", "site", "words"),
    [
        ("fr", "en", {"Bonjour"}),
        ("en", "fr", {"Hello"}),
        ("", "fr", {"Bonjour"}),
        ("", "both", {"Hello", "Bonjour"}),
    ],
)
def test_in_the_language_of_the_reader(
    reminded: Notice, emmy: User, configured: Any, known: str, site: str, words: set[str]
) -> None:
    configured(mail={**SENDER, "language": site})
    User.objects.filter(pk=emmy.pk).update(language=known)
    post.send_due()
    [letter] = mail.outbox
    assert {word for word in ("Hello", "Bonjour") if f"{word} Emmy" in letter.body} == words
    assert ("prend fin" in letter.subject) == ("Bonjour" in words)


def test_the_language_is_that_in_which_somebody_uses_the_portal(
    client: Any, optics: Project, emmy: User
) -> None:
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    client.post("/i18n/setlang/", {"language": "fr", "next": "/"})
    emmy.refresh_from_db()
    assert emmy.language == "fr"
    client.post("/i18n/setlang/", {"language": "xx", "next": "/"})
    emmy.refresh_from_db()
    assert emmy.language == "fr"


def test_what_cannot_leave_waits_longer_and_longer(
    reminded: Notice, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def refused(*args: Any, **kwargs: Any) -> int:
            raise ConnectionRefusedError("nobody listens")

        broken.setattr(EmailMessage, "send", refused)
        waits = []
        for _try in range(14):
            assert post.send_due() == 0
            reminded.refresh_from_db()
            assert reminded.mailed_at is None
            assert reminded.mail_due_at is not None
            waits.append((reminded.mail_due_at - clock.time).total_seconds() / 60)
            assert post.send_due() == 0, "not before its time"
            clock.time = reminded.mail_due_at
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360, 360, 360]
    assert "nobody listens" in reminded.mail_error
    assert reminded.mail_attempts == 14
    assert post.send_due() == 1
    reminded.refresh_from_db()
    assert (reminded.mail_error, reminded.mail_due_at) == ("", None)


def test_one_refused_mail_holds_up_nobody(
    reminded: Notice, optics: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    optics.owners.create(uid="alan")
    optics.owners.create(uid="gone-from-the-directory")
    clock.forward(23)
    expiry.attend()
    send: Callable[..., int] = EmailMessage.send

    def picky(message: EmailMessage, *args: Any, **kwargs: Any) -> int:
        if message.to == ["alan@example.org"]:
            raise smtplib.SMTPRecipientsRefused({"alan@example.org": (550, b"no such mailbox")})
        return send(message, *args, **kwargs)

    monkeypatch.setattr(EmailMessage, "send", picky)
    assert post.send_due() == 1
    assert [m.to for m in mail.outbox] == [["emmy@example.org"]]
    errors = dict(Notice.objects.exclude(pk=reminded.pk).values_list("uid", "mail_error"))
    assert "550" in errors["alan"]
    assert "no mail address" in errors["gone-from-the-directory"]
    waiting = Notice.objects.filter(mail_due_at__isnull=False).values_list("uid", flat=True)
    assert sorted(waiting) == ["alan", "gone-from-the-directory"]
    clock.forward(40)
    optics.platforms.update(expires_on=Notice.objects.latest("id").ends_on)
    post.send_due()
    assert not Notice.objects.filter(mail_due_at__isnull=False).exists()


def test_where_nobody_gets_through_the_look_ends_at_once(
    reminded: Notice, optics: Project, clock: Clock, world: World
) -> None:
    optics.owners.create(uid="alan")
    clock.forward(23)
    expiry.attend()
    world.directory.faults.unreachable = True
    assert post.send_due() == 0
    waiting = Notice.objects.exclude(pk=reminded.pk).values_list("mail_attempts", flat=True)
    assert sorted(waiting) == [0, 1], "one was tried; the older reminder is no longer worth a mail"
    world.directory.faults.unreachable = False
    clock.forward(hours=1)
    assert post.send_due() == 2


def test_what_is_no_longer_true_is_not_mailed(
    reminded: Notice, clock: Clock, emmy: User, optics: Project, sofia: User
) -> None:
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    assert post.send_due() == 0
    assert mail.outbox == []
    reminded.refresh_from_db()
    assert reminded.mail_due_at is None
    assert reminded.mail_error == "no longer true"
    assert reminded.read_at is not None
    clock.forward(90)
    expiry.attend()
    optics.owners.all().delete()
    optics.owners.create(uid="sofia")
    assert post.send_due() == 0, "who owns it no more is told nothing more"


def test_each_mail_bears_its_number(reminded: Notice) -> None:
    post.send_due()
    Notice.objects.update(mailed_at=None, mail_due_at=reminded.at)
    post.send_due()
    first, second = mail.outbox
    assert first.extra_headers["Message-ID"] == second.extra_headers["Message-ID"]
    assert f"placo-notice-{reminded.pk}@" in first.extra_headers["Message-ID"]


def test_a_site_without_mail_tells_in_the_portal_alone(
    clock: Clock, world: World, optics: Project, emmy: User, admin: User, configured: Any
) -> None:
    configured(mail=None)
    factories.ready_platform(world, emmy, admin)
    clock.forward(60)
    expiry.attend()
    assert Notice.objects.get().mail_due_at is None
    assert post.send_due() == 0


def test_mails_as_files(reminded: Notice, settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    assert post.send_due() == 1
    [file] = (tmp_path / "mail").iterdir()
    assert "To: emmy@example.org" in file.read_text()


def test_the_last_words(reminded: Notice, alpha: Platform, world: World, clock: Clock) -> None:
    end_it(world, clock, alpha)
    clock.forward(30)
    look(world)
    Notice.objects.filter(kind=Notice.EXPIRING).update(mail_due_at=None)
    assert post.send_due() == 1, "that it was stopped is no news any more"
    assert "nobody renewed it" in mail.outbox[-1].body
    assert "/platforms/new/\n" in mail.outbox[-1].body


def test_notices_are_read_by_those_whom_they_concern(
    reminded: Notice, alpha: Platform, emmy: User, sofia: User, admin: User, optics: Project
) -> None:
    for other in (sofia, admin):
        with pytest.raises(NotFound):
            notices.mark_read(acting_user=other, notice_id=reminded.pk)
    assert notices.unread(emmy).count() == 1
    read = notices.mark_read(acting_user=emmy, notice_id=reminded.pk)
    assert read.read_at is not None
    assert notices.mark_read(acting_user=emmy, notice_id=reminded.pk).read_at == read.read_at
    assert notices.unread(emmy).count() == 0
    optics.owners.all().delete()
    assert notices.of(emmy).count() == 1, "she is a member still"
    alpha.memberships.all().delete()
    assert notices.of(emmy).count() == 0, "what one may not see any more one is not told"


# --- the API and the command ---


def test_the_end_in_the_api(
    api: Any,
    reminded: Notice,
    alpha: Platform,
    clock: Clock,
    emmy: User,
    sofia: User,
    admin: User,
    world: World,
) -> None:
    owner = api(emmy)
    shown = owner("GET", "/platforms/alpha")
    end = clock.first + timedelta(days=90)
    assert shown["expires_on"] == str(end)
    assert shown["removed_on"] == str(end + timedelta(days=30))
    assert shown["renews_to"] == str(end + timedelta(days=90))
    assert shown["over"] is False
    [notice] = owner("GET", "/notices?unread=true")
    assert notice["platform"] == "alpha"
    assert notice["ends_on"] == str(end)
    assert "one click" in notice["text"]
    assert api(sofia)("GET", "/notices") == []
    api(sofia)("POST", f"/notices/{notice['id']}/read", status=404)
    assert owner("POST", f"/notices/{notice['id']}/read")["read_at"] is not None
    assert owner("GET", "/notices?unread=true") == []
    assert len(owner("GET", "/notices")) == 1

    clock.forward(40)
    assert owner("GET", "/platforms/alpha")["over"] is True
    owner("POST", "/platforms/alpha/actions/restart", status=409)
    api(sofia)("POST", "/platforms/alpha/renew", status=404)
    renewed = owner("POST", "/platforms/alpha/renew", {"expires_on": str(end)})
    assert renewed["expires_on"] == str(clock.today + timedelta(days=90))
    assert (
        owner("POST", "/platforms/alpha/renew", {"expires_on": str(end)})["expires_on"]
        == renewed["expires_on"]
    )
    assert owner("POST", "/platforms/alpha/renew")["expires_on"] == renewed["expires_on"]
    again = owner("POST", "/platforms/alpha/renew", {"expires_on": renewed["expires_on"]}, status=409)
    assert "too early" in again["detail"]
    owner("POST", "/platforms/alpha/renew", {"expires_on": "soon"}, status=422)
    owner("PUT", "/platforms/alpha/end", {"expires_on": "2099-01-01"}, status=403)
    api(admin)("PUT", "/platforms/alpha/end", {"expires_on": "2001-01-01"}, status=422)
    found = api(admin)("PUT", "/platforms/alpha/end", {"expires_on": "2099-01-01"})
    assert found["expires_on"] == "2099-01-01"
    assert found["renews_to"] is None


def test_what_members_are_told(api: Any, reminded: Notice, emmy: User, world: World) -> None:
    members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    world.finish(Run.objects.latest("id").pk)
    shown = api(factories.make_user("alan"))("GET", "/platforms/alpha")
    assert shown["expires_on"] is not None
    assert shown["renews_to"] is None
    api(factories.make_user("alan"))("POST", "/platforms/alpha/renew", status=403)
