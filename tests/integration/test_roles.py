"""Roles follow the directory, whatever sessions and tokens say."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from placo.drivers.ports import Unavailable
from placo.platforms.models import Membership, Project, ProjectOwner, User
from placo.services import accounts, members
from tests.factories import ready_platform
from tests.fakes import World


@pytest.fixture
def known(world: World, optics: Project, emmy: User, admin: User) -> World:
    """The directory says what the portal believes."""
    world.directory.admins = {admin.username}
    world.directory.owners_of = {"optics": {emmy.username}}
    return world


def test_nothing_changes_where_nothing_changed(
    known: World, optics: Project, emmy: User, admin: User
) -> None:
    accounts.refresh_roles()
    assert User.objects.get(pk=admin.pk).is_administrator
    assert list(ProjectOwner.objects.filter(project=optics).values_list("uid", flat=True)) == [emmy.username]


def test_a_former_administrator_loses_the_role_in_session_and_token(
    known: World, api: Any, admin: User, client: Client
) -> None:
    client.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    caller = api(admin)
    assert client.get("/operations/hosts/").status_code == 200
    caller("GET", "/hosts", status=200)
    known.directory.admins = set()
    accounts.refresh_roles()
    assert client.get("/operations/hosts/").status_code in (403, 404)
    caller("GET", "/hosts", status=403)


def test_who_left_the_directory_is_out_at_once(known: World, api: Any, emmy: User, client: Client) -> None:
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    caller = api(emmy)
    assert client.get("/account/").status_code == 200
    known.directory.remove_person(emmy.username)
    accounts.refresh_roles()
    assert client.get("/account/").status_code == 302, "to the login"
    caller("GET", "/platforms", status=401)
    assert not ProjectOwner.objects.filter(uid=emmy.username).exists()


def test_a_former_owner_can_be_removed_from_the_platform(
    known: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(known, emmy, admin)
    known.directory.owners_of = {"optics": {"alan"}}
    accounts.refresh_roles()
    assert not Membership.objects.get(uid=emmy.username).owner
    removal = members.remove_member(acting_user=admin, slug="alpha", uid=emmy.username)
    assert not removal.wanted


def test_a_silent_directory_changes_nothing(known: World, optics: Project, emmy: User, admin: User) -> None:
    known.directory.faults.fail_next("people", Unavailable("restarting"))
    with pytest.raises(Unavailable):
        accounts.refresh_roles()
    assert User.objects.get(pk=admin.pk).is_administrator
    assert ProjectOwner.objects.filter(project=optics, uid=emmy.username).exists()


def test_failures_without_an_address_are_counted_under_one_name(db: None) -> None:
    """Behind a UNIX socket there is no address, and the directory takes these for the same name."""
    names = ["emmy", "EMMY ", "em\u00admy", "\uff45mmy", " Emmy"]
    answers = [
        Client(REMOTE_ADDR="").post("/login/", {"username": name, "password": "wrong"}).status_code
        for name in names
    ]
    assert answers[-1] == 429, answers


def test_a_form_without_its_token_is_refused(known: World, emmy: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    assert client.post("/platforms/new/", {"go": "next", "step": "1"}).status_code == 403


def test_what_people_type_is_never_markup(known: World, optics: Project, emmy: User, admin: User) -> None:
    from placo.services import requests

    hostile = "<script>alert(1)</script>"
    request = requests.submit_request(
        acting_user=emmy,
        project_slug="optics",
        slug="alpha",
        services=["web"],
        days=30,
        justification=hostile,
        title=hostile,
    )
    run = requests.approve_request(acting_user=admin, request_id=request.pk, comment=hostile)
    client = Client()
    client.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    for page in (
        f"/requests/{request.pk}/",
        f"/runs/{run.pk}/",
        "/platforms/alpha/",
        "/",
        "/operations/audit/",
    ):
        text = client.get(page).content.decode()
        assert hostile not in text, page
    assert "&lt;script&gt;" in client.get(f"/requests/{request.pk}/").content.decode()
