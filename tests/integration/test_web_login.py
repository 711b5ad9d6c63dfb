"""Logging in: by the directory, by the break-glass account, when the directory is down, after too many failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ldap
import pytest
from django.test import Client

from placo.platforms.models import Project, ProjectOwner, User
from placo.services import accounts, members
from placo.services.errors import DirectoryDown
from tests import factories
from tests.fakes import World

BASE = "dc=placo,dc=test"


@pytest.fixture
def directory_down(settings: Any, tmp_path: Path) -> None:
    """As if slapd had been stopped: its socket is not there."""
    socket = str(tmp_path / "nobody").replace("/", "%2F")
    settings.AUTH_LDAP_SERVER_URI = f"ldapi://{socket}"


@pytest.fixture
def wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that knows nobody."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise ldap.INVALID_CREDENTIALS

    monkeypatch.setattr("django_auth_ldap.backend._LDAPUser._bind_as", refuse)


@pytest.fixture
def break_glass(db: None) -> User:
    user = User(username="break-glass", is_administrator=True, is_break_glass=True)
    user.set_password("glass breaks here")
    user.save()
    return user


def log_in(client: Client, uid: str, password: str = "secret") -> Any:
    return client.post("/login/", {"username": uid, "password": password})


def test_a_silent_directory_is_said_to_be_silent(db: None, directory_down: None) -> None:
    answer = log_in(Client(), "emmy")
    assert answer.status_code == 503
    page = answer.content.decode()
    assert "The directory does not answer" in page
    assert "Platforms go on running" in page
    assert 'value="emmy"' in page, "what was typed is kept"
    assert "do not match" not in page


def test_other_pages_work_without_the_directory(
    world: World, optics: Project, emmy: User, directory_down: None
) -> None:
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    for path in ("/", "/requests/", "/platforms/new/", "/account/", "/help/"):
        assert client.get(path).status_code == 200


def test_the_break_glass_account_works_without_the_directory(break_glass: User, directory_down: None) -> None:
    client = Client()
    answer = log_in(client, "break-glass", "glass breaks here")
    assert answer.status_code == 302
    assert client.get("/operations/hosts/").status_code == 200


def test_break_glass_names_never_come_from_the_directory(
    break_glass: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("the directory was asked")

    monkeypatch.setattr("django_auth_ldap.backend.LDAPBackend.authenticate", asked)
    for typed in ("break-glass", "Break-Glass", " break-glass "):
        assert log_in(Client(), typed, "another password").status_code == 422


def test_local_passwords_are_for_break_glass_alone(db: None, wrong_password: None) -> None:
    user = factories.make_user("emmy")
    user.set_password("a local one")
    user.save()
    assert log_in(Client(), "emmy", "a local one").status_code == 422


def test_a_wrong_password_is_said_at_the_form(db: None, wrong_password: None) -> None:
    answer = log_in(Client(), "emmy")
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Account and password do not match" in page
    assert 'value="emmy"' in page
    assert "secret" not in page


@pytest.mark.parametrize("uid", ["", "em\x00my", "*", "a)(uid=*", "a,dc=placo", "\\2a", "x" * 300])
def test_odd_accounts_are_refused_calmly(db: None, wrong_password: None, uid: str) -> None:
    assert log_in(Client(raise_request_exception=False), uid).status_code == 422


def test_too_many_failures_lock_the_account_for_a_while(
    db: None, wrong_password: None, break_glass: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _try in range(4):
        assert log_in(Client(), "emmy").status_code == 422
    locked = log_in(Client(), "emmy")
    assert locked.status_code == 429
    assert "Too many failed attempts" in locked.content.decode()
    assert log_in(Client(), "break-glass", "glass breaks here").status_code == 302, "others get in"


def test_a_silent_directory_locks_nobody(db: None, directory_down: None) -> None:
    for _try in range(7):
        assert log_in(Client(), "emmy").status_code == 503


def test_roles_are_copied_from_the_directorys_groups(world: World, optics: Project) -> None:
    user = factories.make_user("galois", administrator=True)
    accounts.copy_roles(user, [f"cn=optics,ou=projects,{BASE}", f"cn=nothing,ou=projects,{BASE}"])
    assert not User.objects.get(pk=user.pk).is_administrator
    assert [o.project.slug for o in ProjectOwner.objects.filter(uid="galois")] == ["optics"]
    accounts.copy_roles(user, [f"CN=Admins, OU=Groups, {BASE}"])
    assert User.objects.get(pk=user.pk).is_administrator
    assert not ProjectOwner.objects.filter(uid="galois").exists()


def test_logging_out_takes_a_post_and_ends_the_session(emmy: User) -> None:
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").status_code == 302
    assert client.get("/").status_code == 302


def test_one_cannot_be_sent_elsewhere_after_logging_in(break_glass: User) -> None:
    answer = Client().post(
        "/login/?next=https://evil.example/", {"username": "break-glass", "password": "glass breaks here"}
    )
    assert answer["Location"] == "/"


def test_a_silent_directory_in_the_search_is_said_on_the_page(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.ready_platform(world, emmy, admin)

    def down(**kwargs: object) -> None:
        raise DirectoryDown

    monkeypatch.setattr(members, "search_people", down)
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    answer = client.get("/platforms/alpha/people/?q=so")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "The directory does not answer" in page
    assert "Emmy Noether" in page
