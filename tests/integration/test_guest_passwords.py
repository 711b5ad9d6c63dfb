"""Guests' own names and passwords: changed by who knows them, guessed, forgotten, replaced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from placo.drivers.ports import Unavailable
from placo.platforms.models import (
    Guest,
    Membership,
    PasswordReset,
    Platform,
    User,
)
from placo.services import (
    guests,
    letters,
    passwords,
)
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, TooMany
from tests.factories import bearer
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import (
    ADDRESS,
    LINK,
    PASSWORD,
    guest_of,
    open_to_guests,
    user_of,
)

NEW = "nine red foxes dance"


@pytest.fixture
def alpha(world: World, clock: Clock, ready: Callable[..., Platform], configured: Any) -> Platform:
    open_to_guests(world, clock, configured)
    return ready()


@pytest.fixture
def marie(world: World, alpha: Platform, emmy: User) -> Guest:
    return guest_of(world, emmy)


def test_a_guest_takes_another_name(world: World, marie: Guest, emmy: User) -> None:
    user = user_of(marie)
    guests.rename(acting_user=user, shown="  Marie   Curie ")
    person = world.directory.person(marie.uid)
    assert person is not None
    assert person.name == "Marie Curie"
    assert Membership.objects.get(uid=marie.uid).name == "Marie Curie"
    with pytest.raises(InvalidInput):
        guests.rename(acting_user=user, shown="\u202e")
    with pytest.raises(Conflict):
        guests.rename(acting_user=emmy, shown="Somebody else")
    world.directory.faults.fail_next("ensure_guest", Unavailable("gone"))
    with pytest.raises(DirectoryDown):
        guests.rename(acting_user=user, shown="Third")
    assert world.directory.opens(marie.uid, PASSWORD)


def change(user: User, old: object = PASSWORD, new: object = NEW, again: object = NEW) -> None:
    """Change a password."""
    passwords.change(acting_user=user, old=old, new=new, again=again)


def test_a_password_is_changed_by_who_knows_it(
    world: World, marie: Guest, emmy: User, client: Client
) -> None:
    user = user_of(marie)
    elsewhere, token = Client(), bearer(user)
    elsewhere.force_login(user, backend="placo.web.auth.DirectoryBackend")
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    for wrong, field in (
        ({"old": "not it"}, "old"),
        ({"new": "short", "again": "short"}, "new"),
        ({"again": "another"}, "new_again"),
        ({"old": None}, "old"),
        ({"new": "x" * 300, "again": "x" * 300}, "new"),
        ({"new": "marie@elsewhere.test", "again": "marie@elsewhere.test"}, "new"),
    ):
        with pytest.raises(InvalidInput) as refused:
            change(user, **wrong)
        assert set(refused.value.errors) == {field}
    assert world.directory.opens(marie.uid, PASSWORD)

    sent = {"old": PASSWORD, "new": NEW, "new_again": NEW}
    assert client.post("/account/password/", sent).status_code == 302
    assert world.directory.opens(marie.uid, NEW)
    assert client.get("/account/").status_code == 200, "here one stays logged in"
    assert elsewhere.get("/account/").status_code == 302
    assert Client().get("/api/v1/account", headers=token).status_code == 401
    with pytest.raises(Conflict):
        change(emmy)


def test_guessing_the_password_ends_soon(world: World, marie: Guest) -> None:
    user = user_of(marie)
    for _ in range(10):
        with pytest.raises(InvalidInput):
            change(user, old="a guess")
    with pytest.raises(TooMany):
        change(user)
    assert world.directory.opens(marie.uid, PASSWORD)


def ask_reset(address: str = ADDRESS, network: str = "192.0.2.1") -> None:
    """Say that a password is forgotten."""
    passwords.forgotten(mail=address, language="en", address=network)


def reset_token() -> str:
    """The token in the last mail about a password."""
    letters.send_due()
    [token] = LINK.findall(str(mail.outbox[-1].body))
    return str(token)


def test_a_forgotten_password_is_replaced_once(
    world: World, marie: Guest, client: Client, clock: Clock
) -> None:
    client.force_login(user_of(marie), backend="placo.web.auth.DirectoryBackend")
    mail.outbox.clear()
    ask_reset("MARIE@elsewhere.test")
    token = reset_token()
    assert mail.outbox[-1].to == [ADDRESS]
    assert marie.uid in mail.outbox[-1].body
    for new, again, field in (("short", "short", "new"), (NEW, "other", "new_again")):
        with pytest.raises(InvalidInput) as refused:
            passwords.reset(token=token, new=new, again=again)
        assert set(refused.value.errors) == {field}
    passwords.reset(token=token, new=NEW, again=NEW)
    assert world.directory.opens(marie.uid, NEW)
    assert client.get("/account/").status_code == 302, "whoever was in is out"
    with pytest.raises(Conflict):
        passwords.reset(token=token, new=PASSWORD, again=PASSWORD)
    assert world.directory.opens(marie.uid, NEW)


def test_a_late_or_older_link_resets_nothing(world: World, marie: Guest, clock: Clock) -> None:
    ask_reset()
    first = reset_token()
    ask_reset()
    second = reset_token()
    assert passwords.reset_of(first) is None
    assert passwords.reset_of(second) is not None
    clock.forward(hours=1, seconds=1)
    for token in (first, second, second[:-1] + "_", "", None):
        with pytest.raises(Conflict):
            passwords.reset(token=token, new=NEW, again=NEW)
    assert world.directory.opens(marie.uid, PASSWORD)


def test_who_dies_while_resetting_can_use_the_link_again(
    world: World, marie: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_reset()
    token = reset_token()
    with monkeypatch.context() as patch:

        def dies(_uid: str) -> None:
            raise KeyboardInterrupt

        patch.setattr(passwords, "_elsewhere_out", dies)
        with pytest.raises(KeyboardInterrupt):
            passwords.reset(token=token, new=NEW, again=NEW)
    passwords.reset(token=token, new=NEW, again=NEW)
    assert world.directory.opens(marie.uid, NEW)


def test_nobody_learns_who_has_an_account(world: World, marie: Guest, clock: Clock) -> None:
    pages = []
    mail.outbox.clear()
    for address in (ADDRESS, "nobody@elsewhere.test", "emmy@example.org", "", "x" * 400, "a\x00b", "*"):
        answer = Client().post("/password/forgotten/", {"mail": address})
        assert answer.status_code == 200
        pages.append(answer.content.decode().replace(str(answer.context["csrf_token"]), ""))
    assert len(set(pages)) == 1
    letters.send_due()
    assert [letter.to for letter in mail.outbox] == [[ADDRESS]]
    for _ in range(5):
        ask_reset()
    assert PasswordReset.objects.count() == 3, "no mailbox is flooded"
    for number in range(20):
        try:
            ask_reset(f"somebody{number}@elsewhere.test", network="127.0.0.1")
        except TooMany:
            break
    else:
        raise AssertionError("never too many")
