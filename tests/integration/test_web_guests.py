"""The screens of people: an owner invites, somebody from outside joins, resets a password, keeps an account; in both languages."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from placo.platforms.models import Guest, Invitation, Membership, Platform, Project, SshKey, User
from placo.services import invitations, letters, members
from tests.factories import make_user, ready_platform
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import (
    ADDRESS,
    LINK,
    PASSWORD,
    SENDER,
    SLUG,
    guest_of,
    invite,
    member_run,
    token_of,
    user_of,
)

BACKEND = "placo.web.auth.DirectoryBackend"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM0oiFD2Lh7TdUbsbpJTR2vKYszOixl+IRp4643lZeJU laptop"
JOIN = {"shown": "Marie Skłodowska", "name": "marie", "password": PASSWORD, "password_again": PASSWORD}
PEOPLE = f"/platforms/{SLUG}/people/"


@pytest.fixture
def alpha(world: World, clock: Clock, optics: Project, emmy: User, admin: User, configured: Any) -> Platform:
    configured(mail=SENDER, people={"password_help": "https://password.example.org/"})
    world.directory.now = lambda: clock.time
    world.directory.owners_of, world.directory.admins = {"optics": {"emmy"}}, {"ada"}
    return ready_platform(world, emmy, admin, title="Wave equations")


@pytest.fixture
def owner(alpha: Platform, emmy: User) -> Client:
    client = Client()
    client.force_login(emmy, backend=BACKEND)
    return client


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def test_from_the_owners_page_to_the_guests(
    world: World, alpha: Platform, owner: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = owner.post(f"{PEOPLE}invite/", {"mail": ADDRESS, "language": "en", "until": ""}, follow=True)
    page = text_of(answer)
    assert f"The invitation to {ADDRESS} is on its way." in page
    assert "its mail is about to leave" in page
    letters.send_due()
    [token] = set(LINK.findall(str(mail.outbox[-1].body)))
    assert token not in text_of(owner.get(PEOPLE))

    guest = Client()
    answer = guest.get(f"/invitation/{token}/")
    assert (answer.status_code, answer["Location"]) == (302, "/invitation/")
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]
    answer = guest.get("/invitation/")
    page = text_of(answer)
    assert "You are invited to Wave equations" in page
    assert "Emmy Noether" in page
    assert token not in page
    # From a page without any referrer browsers post with the origin "null", which is refused as forged.
    assert answer["Referrer-Policy"] == "same-origin"

    answer = guest.post("/invitation/", {**JOIN, "name": "root", "password_again": "x"})
    page = text_of(answer)
    assert answer.status_code == 422
    assert "reserved" in page
    assert "not the same password" in page
    assert 'value="Marie Skłodowska"' in page, "what was typed is kept"
    assert PASSWORD not in page

    answer = guest.post("/invitation/", JOIN, follow=True)
    assert answer.redirect_chain[-1][0] == f"/platforms/{SLUG}/"
    assert "Your account is g-marie" in text_of(answer)
    world.finish(member_run("g-marie").pk)
    page = text_of(owner.get(PEOPLE))
    assert "Marie Skłodowska" in page
    assert "guest" in page
    assert ADDRESS not in page, "an accepted invitation is no open one"
    lines = caplog.text + " ".join(
        str(vars(record)) for record in caplog.records if record.name == "placo.web"
    )
    assert token not in _redacted(lines)

    late = Client()
    late.get(f"/invitation/{token}/")
    answer = late.get("/invitation/")
    assert answer.status_code == 410
    assert "works once" in text_of(answer)
    assert "Password forgotten?" in text_of(answer)


def _redacted(text: str) -> str:
    """As the site's logs would have it."""
    from placo import logs

    return logs.Redaction().text(text)


def test_somebody_who_is_logged_in_accepts_with_one_click(world: World, alpha: Platform, emmy: User) -> None:
    token = token_of(invite(emmy))
    alan = Client()
    alan.force_login(make_user("alan", name="Alan Turing"), backend=BACKEND)
    alan.get(f"/invitation/{token}/")
    assert "Accept as Alan Turing (alan)" in text_of(alan.get("/invitation/"))
    answer = alan.post("/invitation/")
    assert answer["Location"] == f"/platforms/{SLUG}/"
    assert Membership.objects.filter(uid="alan", wanted=True).exists()
    assert not Guest.objects.exists()


def test_who_has_an_account_is_sent_to_the_login(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    guest_of(world, emmy)
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    token = token_of(invitations.invite(acting_user=emmy, slug="beta", mail=ADDRESS))
    browser = Client()
    browser.get(f"/invitation/{token}/")
    page = text_of(browser.get("/invitation/"))
    assert 'href="/login/?next=/invitation/"' in page
    assert 'name="password"' not in page


def test_what_is_wrong_with_an_invitation_is_said_beside_it(owner: Client, alpha: Platform) -> None:
    answer = owner.post(f"{PEOPLE}invite/", {"mail": "Marie <m@elsewhere.test>", "until": "soon"})
    page = text_of(answer)
    assert answer.status_code == 422
    assert "One plain mail address" in page
    assert "A day after today" in page
    assert "Marie &lt;m@elsewhere.test&gt;" in page
    answer = owner.post(f"{PEOPLE}invite/", {"mail": "alan@example.org"})
    assert "Alan Turing (alan) has this address" in text_of(answer)
    assert not Invitation.objects.exists()


def test_invitations_are_sent_again_and_taken_back(owner: Client, alpha: Platform, emmy: User) -> None:
    row = invite(emmy)
    before = token_of(row)
    page = text_of(owner.post(f"{PEOPLE}invitations/{row.pk}/resend/", follow=True))
    assert "on its way again" in page
    assert token_of(row) != before
    page = text_of(owner.post(f"{PEOPLE}invitations/{row.pk}/revoke/", follow=True))
    assert "has been taken back" in page
    assert f'id="invitation-{row.pk}"' not in page
    assert owner.post(f"{PEOPLE}invitations/{row.pk}/resend/").status_code == 409
    assert owner.post(f"{PEOPLE}invitations/{row.pk}/forget/").status_code == 404


def test_a_platform_is_handed_over_in_the_browser(
    world: World, owner: Client, alpha: Platform, emmy: User, clock: Clock
) -> None:
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.finish(member_run("alan").pk)
    page = text_of(owner.get(PEOPLE))
    assert "The last owner stays" in page
    assert owner.post(f"{PEOPLE}owners/step-down/", {"uid": "emmy"}).status_code == 409
    page = text_of(owner.post(f"{PEOPLE}owners/hand-over/", {"uid": "alan"}, follow=True))
    assert "alan is an owner of this platform from now on" in page
    answer = owner.post(f"{PEOPLE}owners/step-down/", {"uid": "emmy"})
    assert answer["Location"] == f"/platforms/{SLUG}/"
    assert owner.get(PEOPLE).status_code == 403
    last = (clock.today + timedelta(days=9)).isoformat()
    alan = Client()
    alan.force_login(make_user("alan"), backend=BACKEND)
    alan.post(f"{PEOPLE}until/", {"uid": "emmy", "until": last})
    assert str(Membership.objects.get(uid="emmy").until) == last
    assert alan.post(f"{PEOPLE}until/", {"uid": "emmy", "until": "x"}).status_code == 422


def test_a_guest_keeps_the_account(world: World, alpha: Platform, emmy: User) -> None:
    marie = guest_of(world, emmy)
    browser = Client()
    browser.force_login(user_of(marie), backend=BACKEND)
    page = text_of(browser.get("/account/"))
    assert "This account was made here" in page
    assert browser.post("/account/name/", {"shown": "Marie Curie"}).status_code == 302
    assert "Marie Curie" in text_of(browser.get("/account/"))
    answer = browser.post("/account/password/", {"old": "x", "new": PASSWORD, "new_again": PASSWORD})
    assert answer.status_code == 422
    assert "not your present password" in text_of(answer)
    answer = browser.post("/account/keys/add/", {"key": "rubbish", "title": "laptop"})
    assert answer.status_code == 422
    assert "rubbish" in text_of(answer)
    assert browser.post("/account/keys/add/", {"key": KEY}).status_code == 302
    row = SshKey.objects.get()
    assert row.fingerprint in text_of(browser.get("/account/"))
    assert browser.post(f"/account/keys/{row.pk}/remove/").status_code == 302
    assert not SshKey.objects.exists()


def test_people_of_the_laboratory_are_told_where_their_password_is(owner: Client) -> None:
    for path in ("/account/", "/password/forgotten/"):
        assert 'href="https://password.example.org/"' in text_of(owner.get(path))
    page = text_of(owner.get("/account/"))
    assert 'name="old"' not in page
    assert 'name="shown"' not in page


def test_a_password_is_reset_in_the_browser(world: World, alpha: Platform, emmy: User) -> None:
    marie = guest_of(world, emmy)
    browser, new = Client(), "nine red foxes dance"
    assert "is on its way" in text_of(browser.post("/password/forgotten/", {"mail": ADDRESS}))
    letters.send_due()
    [token] = LINK.findall(str(mail.outbox[-1].body))
    answer = browser.get(f"/password/reset/{token}/")
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "g-marie" in text_of(browser.get("/password/reset/"))
    assert browser.post("/password/reset/", {"new": new, "new_again": "x"}).status_code == 422
    answer = browser.post("/password/reset/", {"new": new, "new_again": new}, follow=True)
    assert "Log in as g-marie" in text_of(answer)
    assert world.directory.opens(marie.uid, new)
    browser.get(f"/password/reset/{token}/")
    answer = browser.get("/password/reset/")
    assert answer.status_code == 410
    assert "Ask for another link" in text_of(answer)


def test_an_administrator_removes_somebody_from_everything(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    guest = guest_of(world, emmy)
    desk = Client()
    desk.force_login(admin, backend=BACKEND)
    page = text_of(desk.get("/operations/people/?q=marie"))
    assert f"/operations/people/{guest.uid}/" in page
    page = text_of(desk.get(f"/operations/people/{guest.uid}/"))
    assert SLUG in page
    assert desk.post(f"/operations/people/{guest.uid}/leave/", {"confirm": "x"}).status_code == 422
    page = text_of(desk.post(f"/operations/people/{guest.uid}/leave/", {"confirm": guest.uid}, follow=True))
    assert "is being removed from 1 platform" in page
    world.finish(member_run(guest.uid).pk)
    assert world.directory.members(SLUG) == {"emmy": True}
    world.directory.faults.unreachable = True
    assert desk.get("/operations/people/?q=marie").status_code == 200
    assert "does not answer" in text_of(desk.get(f"/operations/people/{guest.uid}/"))
    assert desk.get("/operations/people/nobody-at-all/").status_code == 404


def test_the_pages_speak_french(world: World, alpha: Platform, emmy: User, owner: Client) -> None:
    token = token_of(invite(emmy))
    french = {"HTTP_ACCEPT_LANGUAGE": "fr"}
    guest = Client(**french)  # type: ignore[arg-type]
    guest.get(f"/invitation/{token}/")
    page = text_of(guest.get("/invitation/"))
    assert "Vous êtes invité à Wave equations" in page
    assert "Au moins" not in page
    assert "Créez votre compte" in page
    assert "Mot de passe oublié" in text_of(guest.get("/password/forgotten/"))
    page = text_of(owner.get(PEOPLE, headers={"accept-language": "fr"}))
    assert "Inviter quelqu’un de l’extérieur" in page
    assert "Clés SSH" in text_of(owner.get("/account/", headers={"accept-language": "fr"}))


def test_a_silent_directory_is_said_to_be_silent(world: World, alpha: Platform, emmy: User) -> None:
    token = token_of(invite(emmy))
    guest = Client()
    guest.get(f"/invitation/{token}/")
    world.directory.faults.unreachable = True
    for answer in (guest.get("/invitation/"), guest.post("/invitation/", JOIN)):
        assert answer.status_code == 503
        assert "does not answer" in text_of(answer)
    world.directory.faults.clear()
    assert guest.post("/invitation/", JOIN).status_code == 302
