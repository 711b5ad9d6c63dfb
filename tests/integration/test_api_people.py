"""People through the API and the command: everything that the screens do."""

from __future__ import annotations

from typing import Any

import pytest

from placo.platforms.models import Guest, Membership, Platform, Project, User
from placo.services import members
from tests.factories import make_user, ready_platform
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import ADDRESS, PASSWORD, SENDER, guest_of, mailed_token, member_run, user_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM0oiFD2Lh7TdUbsbpJTR2vKYszOixl+IRp4643lZeJU laptop"
INVITATIONS = "/platforms/alpha/invitations"


@pytest.fixture
def alpha(world: World, clock: Clock, optics: Project, emmy: User, admin: User, configured: Any) -> Platform:
    configured(mail=SENDER)
    world.directory.now = lambda: clock.time
    return ready_platform(world, emmy, admin)


def test_from_the_invitation_to_the_departure(
    world: World, alpha: Platform, emmy: User, admin: User, api: Any
) -> None:
    owner, desk, anybody = api(emmy), api(admin), api(None)
    made = owner("POST", INVITATIONS, {"mail": ADDRESS}, status=201)
    assert (made["state"], made["mailed"], made["invited_by"]) == ("open", "waiting", "emmy")
    first = mailed_token()
    assert [row["mailed"] for row in owner("GET", INVITATIONS)] == ["sent"]
    owner("POST", f"/invitations/{made['id']}/resend", status=200)
    token = mailed_token()
    body = {"token": token, "name": "marie", "shown": "Marie Curie", "password": PASSWORD}
    anybody("POST", "/guests", {**body, "token": first}, status=409)
    wrong = anybody("POST", "/guests", {**body, "name": "root", "password": "short"}, status=422)
    assert {error["field"] for error in wrong["errors"]} == {"name", "password"}
    assert anybody("POST", "/guests", body, status=201)["uid"] == "g-marie"
    anybody("POST", "/guests", body, status=409)
    owner("DELETE", f"/invitations/{made['id']}", status=409)
    world.finish(member_run("g-marie").pk)

    guest = api(User.objects.get_or_create(username="g-marie", defaults={"is_guest": True})[0])
    assert guest("GET", "/account")["guest"] is True
    assert [p["slug"] for p in guest("GET", "/platforms")] == ["alpha"]
    assert guest("GET", "/projects") == []
    guest("GET", INVITATIONS, status=403)
    guest("PUT", "/account/name", {"name": "M. Curie"}, status=200)
    key = guest("POST", "/account/keys", {"key": KEY}, status=201)
    assert guest("GET", "/account/keys")[0]["fingerprint"] == key["fingerprint"]
    guest("POST", "/account/keys", {"key": "rubbish"}, status=422)
    guest("PUT", "/account/password", {"old": "x", "new": PASSWORD}, status=422)

    guest("GET", "/people/g-marie", status=403)
    owner("POST", "/people/g-marie/leave", status=403)
    person = desk("GET", "/people/g-marie")
    assert (person["member_of"], person["ssh_keys"], person["guest"]) == (["alpha"], 1, True)
    assert desk("POST", "/people/g-marie/leave")["platforms"] == ["alpha"]
    world.finish(member_run("g-marie").pk)
    assert world.directory.members("alpha") == {"emmy": True}
    guest("GET", "/account", status=401)


def test_handing_over(world: World, alpha: Platform, emmy: User, api: Any) -> None:
    owner = api(emmy)
    members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    world.finish(member_run("alan").pk)
    owner("DELETE", "/platforms/alpha/owners/emmy", status=409)
    assert owner("PUT", "/platforms/alpha/owners/alan", status=200)["owner"] is True
    assert owner("DELETE", "/platforms/alpha/owners/emmy", status=200) == {"uid": "emmy", "member": True}
    owner("GET", "/platforms/alpha/members", status=403)
    alan = api(make_user("alan"))
    assert (
        alan("PUT", "/platforms/alpha/members/emmy/until", {"until": "2099-01-01"})["until"] == "2099-01-01"
    )
    alan("PUT", "/platforms/alpha/members/emmy/until", {"until": "2001-01-01"}, status=422)
    assert alan("PUT", "/platforms/alpha/members/emmy/until", {"until": None})["until"] is None


def test_an_account_that_exists_accepts(world: World, alpha: Platform, emmy: User, api: Any) -> None:
    api(emmy)("POST", INVITATIONS, {"mail": ADDRESS}, status=201)
    alan, token = api(make_user("alan")), mailed_token()
    alan("POST", "/invitations/accept", {"token": token + "x"}, status=409)
    assert alan("POST", "/invitations/accept", {"token": token})["uid"] == "alan"
    assert Membership.objects.filter(uid="alan", wanted=True).exists()
    assert not Guest.objects.exists()


def test_a_forgotten_password_says_the_same_to_everybody(
    world: World, alpha: Platform, emmy: User, api: Any
) -> None:
    guest_of(world, emmy)
    anybody = api(None)
    answers = [anybody("POST", "/account/forgotten", {"mail": m}, status=202) for m in (ADDRESS, "x@y.test")]
    assert answers[0] == answers[1]
    assert user_of(Guest.objects.get()).is_guest
