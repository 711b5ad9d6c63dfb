"""Inviting people from outside: who may, whom, how often; the link; what becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail

from placo.drivers.ports import Unavailable
from placo.platforms.models import AuditEvent, Guest, Invitation, Membership, Platform, Run, User
from placo.services import attending, invitations, joining, letters, limits, members, ownership, platforms
from placo.services.errors import Conflict, DirectoryDown, Forbidden, InvalidInput, NotFound, TooMany
from tests.factories import make_user, ready_platform
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import (
    ADDRESS,
    PASSWORD,
    SENDER,
    SLUG,
    guest_of,
    invite,
    join,
    mailed_token,
    member_run,
    token_of,
)


@pytest.fixture
def alpha(world: World, clock: Clock, ready: Callable[..., Platform], configured: Any) -> Platform:
    configured(mail=SENDER)
    world.directory.now = lambda: clock.time
    return ready(title="Wave\r\nequations")


# --- the mail and its link ---


def test_from_the_invitation_to_the_member(world: World, alpha: Platform, emmy: User, clock: Clock) -> None:
    row = invite(emmy)
    assert invitations.state_of(row) == invitations.OPEN
    token = mailed_token()
    [letter] = mail.outbox
    assert letter.to == [ADDRESS]
    assert letter.subject == "Emmy Noether invites you to “Wave equations”"
    assert "works once" in letter.body
    assert letter.body.count("http") == 1

    guest, membership = join(token)
    assert (guest.uid, guest.state, membership.wanted) == ("g-marie", Guest.ACTIVE, True)
    assert world.finish(member_run("g-marie").pk).state == "done"
    assert world.directory.members(SLUG) == {"emmy": True, "g-marie": False}
    person = world.directory.person("g-marie")
    assert person is not None
    assert (person.name, person.mail, person.guest) == ("Marie Skłodowska", ADDRESS, True)
    assert world.directory.opens("g-marie", PASSWORD)
    row.refresh_from_db()
    assert (invitations.state_of(row), row.accepted_by) == (invitations.ACCEPTED, "g-marie")
    assert attending.attend() == attending.Attended()


def test_the_token_is_nowhere_but_in_the_mail(
    world: World, alpha: Platform, emmy: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = mailed_token(invite(emmy).mail)
    join(token)
    rows = [str(vars(row)) for kind in (Invitation, AuditEvent, Guest, Run) for row in kind.objects.all()]
    assert token not in "".join(rows) + caplog.text
    assert PASSWORD not in "".join(rows) + caplog.text


def test_the_link_works_once(world: World, alpha: Platform, emmy: User) -> None:
    token = token_of(invite(emmy))
    join(token)
    for again in range(2):
        with pytest.raises(Conflict) as refused:
            join(token, name=f"other{again}")
        assert "works once" in str(refused.value.message)
    assert Guest.objects.count() == 1
    assert joining.offer(token).trouble == invitations.ACCEPTED


def test_opening_the_link_uses_nothing_up(world: World, alpha: Platform, emmy: User) -> None:
    token = token_of(invite(emmy))
    for _ in range(5):
        offer = joining.offer(token)
        assert (offer.trouble, offer.known) == ("", False)
    join(token)


def test_a_late_link_and_a_new_one(world: World, alpha: Platform, emmy: User, clock: Clock) -> None:
    row = invite(emmy)
    late = token_of(row)
    clock.forward(7, seconds=1)
    assert joining.offer(late).trouble == invitations.LATE
    with pytest.raises(Conflict):
        join(late)
    assert letters.send_due() == 0, "a link that opens nothing is not mailed"
    invitations.resend(acting_user=emmy, invitation_id=row.pk)
    new = token_of(row)
    assert new != late
    assert joining.offer(late).trouble == joining.UNKNOWN
    join(new)


def test_a_revoked_link_opens_nothing(world: World, alpha: Platform, emmy: User) -> None:
    row = invite(emmy)
    token = token_of(row)
    for _ in range(2):
        invitations.revoke(acting_user=emmy, invitation_id=row.pk)
    assert joining.offer(token).trouble == invitations.REVOKED
    with pytest.raises(Conflict):
        join(token)
    assert letters.send_due() == 0
    with pytest.raises(Conflict):
        invitations.resend(acting_user=emmy, invitation_id=row.pk)
    assert invitations.listed(acting_user=emmy, slug=SLUG) == []
    invite(emmy)
    assert [view.state for view in invitations.listed(acting_user=emmy, slug=SLUG)] == [invitations.OPEN]


@pytest.mark.parametrize("what", ["", "x", "placo_", "\x00", "placo_" + "a" * 43, "é" * 49, None, 7])
def test_an_altered_link_opens_nothing(world: World, alpha: Platform, emmy: User, what: object) -> None:
    token = token_of(invite(emmy))
    altered = [what, token[:-1], token + "x", token.upper(), token.replace("placo_", ""), f" {token}"]
    altered.append(token[:-1] + ("A" if token[-1] != "A" else "B"))
    for wrong in altered:
        assert joining.offer(wrong).trouble == joining.UNKNOWN
        with pytest.raises(Conflict):
            join(wrong)  # type: ignore[arg-type]
    assert Guest.objects.count() == 0


def test_inviting_again_makes_the_first_link_void(world: World, alpha: Platform, emmy: User) -> None:
    first = token_of(invite(emmy))
    second = token_of(invite(emmy, "Marie@ELSEWHERE.test"))
    assert Invitation.objects.count() == 1
    assert joining.offer(first).trouble == joining.UNKNOWN
    assert joining.offer(second).trouble == ""


def test_a_mail_that_could_not_leave_bears_the_same_link(
    world: World, alpha: Platform, emmy: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = invite(emmy)
    before = token_of(row)
    with monkeypatch.context() as broken:
        sent: list[Any] = []

        def lost(letter: Any, *args: Any, **kwargs: Any) -> int:
            sent.append(letter)
            raise ConnectionResetError

        broken.setattr("django.core.mail.EmailMessage.send", lost)
        assert letters.send_due() == 0
    [view] = invitations.listed(acting_user=emmy, slug=SLUG)
    assert view.mail == "failing"
    assert letters.send_due() == 0, "not before its time"
    clock.forward(minutes=2)
    assert mailed_token() == before
    assert sent[0].extra_headers["Message-ID"] == mail.outbox[0].extra_headers["Message-ID"]


def test_in_both_languages(world: World, alpha: Platform, emmy: User) -> None:
    invite(emmy, language="both")
    letters.send_due()
    assert "Bonjour" in mail.outbox[0].body
    assert "Hello" in mail.outbox[0].body
    with pytest.raises(InvalidInput):
        invite(emmy, language="de")


# --- who may, whom ---


@pytest.mark.parametrize(
    "address",
    [
        "",
        "marie",
        "marie@",
        "@elsewhere.test",
        "marie@elsewhere",
        "marie @elsewhere.test",
        "marie@elsewhere.test\nBcc: everybody@elsewhere.test",
        "marie@elsewhere.test\r\nSubject: x",
        "marie@elsewhere.test, other@elsewhere.test",
        "Marie <marie@elsewhere.test>",
        '"marie"@elsewhere.test',
        "marie(comment)@elsewhere.test",
        "marie@[127.0.0.1]",
        "mariе@elsewhere.test",  # a Cyrillic letter
        "marie@elsewhere.tést",
        "marie@elsewhere.test\x00",
        "a" * 65 + "@elsewhere.test",
        "marie@" + "a" * 250 + ".test",
        "marie..x@elsewhere.test",
        "-oX@elsewhere.test@x.test",
        "marie\ud800@elsewhere.test",
        "marie\t@elsewhere.test",
        ["marie@elsewhere.test"],
        None,
        7,
    ],
)
def test_strange_addresses_are_refused(world: World, alpha: Platform, emmy: User, address: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        invite(emmy, address)
    assert set(refused.value.errors) == {"mail"}
    assert Invitation.objects.count() == 0


def test_only_owners_invite(world: World, alpha: Platform, emmy: User, sofia: User, admin: User) -> None:
    row = invite(emmy)
    for stranger, error in ((sofia, NotFound), (make_user("alan"), NotFound)):
        with pytest.raises(error):
            invite(stranger)
        with pytest.raises(error):
            invitations.listed(acting_user=stranger, slug=SLUG)
        for deed in (invitations.resend, invitations.revoke):
            with pytest.raises(NotFound):
                deed(acting_user=stranger, invitation_id=row.pk)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    with pytest.raises(Forbidden):
        invite(make_user("alan"))
    invite(admin, "other@elsewhere.test")


def test_somebody_of_the_laboratory_is_added_not_invited(world: World, alpha: Platform, emmy: User) -> None:
    with pytest.raises(InvalidInput) as refused:
        invite(emmy, "ALAN@example.org")
    assert "Alan Turing (alan)" in str(refused.value)
    with pytest.raises(InvalidInput) as member:
        invite(emmy, "emmy@example.org")
    assert "member already" in str(member.value)
    assert Invitation.objects.count() == 0


def test_so_many_invitations_and_no_more(
    world: World, alpha: Platform, emmy: User, clock: Clock, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(mail=SENDER, people={"invitations_per_hour": 3})
    for number in range(3):
        invite(emmy, f"somebody{number}@elsewhere.test")
    with pytest.raises(TooMany):
        invite(emmy)
    with pytest.raises(TooMany):
        invitations.resend(acting_user=emmy, invitation_id=Invitation.objects.latest("id").pk)
    clock.forward(hours=1, seconds=1)
    invite(emmy)
    monkeypatch.setattr(invitations, "MOST_OPEN", 4)
    with pytest.raises(Conflict):
        invite(emmy, "fifth@elsewhere.test")


def test_no_mailbox_is_flooded(world: World, alpha: Platform, emmy: User, admin: User, clock: Clock) -> None:
    for number in range(invitations.MAILS_TO_ONE_ADDRESS):
        invite(admin if number % 2 else emmy)
    with pytest.raises(TooMany):
        invite(emmy)
    clock.forward(1, seconds=1)
    invite(emmy)


def test_a_refused_invitation_is_not_counted(world: World, alpha: Platform, emmy: User) -> None:
    assert not [invite_failed(emmy, "not an address") for _ in range(30)].count(False)
    invite(emmy)
    assert limits.take("x", "y", most=1, within=timedelta(hours=1))
    assert not limits.take("x", "Y", most=1, within=timedelta(hours=1))


def invite_failed(emmy: User, address: str) -> bool:
    """Whether an invitation is refused for its address."""
    try:
        invite(emmy, address)
    except InvalidInput:
        return True
    return False


def test_a_site_without_mail_invites_nobody(
    world: World, alpha: Platform, emmy: User, configured: Any
) -> None:
    configured(mail=None)
    with pytest.raises(Conflict):
        invite(emmy)


def test_with_the_directory_down_nobody_is_invited(world: World, alpha: Platform, emmy: User) -> None:
    world.directory.faults.unreachable = True
    with pytest.raises(DirectoryDown):
        invite(emmy)
    assert Invitation.objects.count() == 0


# --- links whose ground has gone ---


def test_who_no_longer_looks_after_it_has_invited_nobody(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    token = token_of(invite(emmy))
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.finish(member_run("alan").pk)
    ownership.hand_over(acting_user=emmy, slug=SLUG, uid="alan")
    ownership.step_down(acting_user=emmy, slug=SLUG, uid="emmy")
    assert joining.offer(token).trouble == joining.ORPHANED
    with pytest.raises(Conflict):
        join(token)


def test_the_platform_ends_first(world: World, alpha: Platform, emmy: User) -> None:
    token = token_of(invite(emmy))
    run = platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)
    with pytest.raises(Conflict):
        join(token)
    world.finish(run.pk)
    assert joining.offer(token).trouble == invitations.CLOSED
    assert Guest.objects.count() == 0


# --- accepting with an account ---


def test_an_existing_guest_accepts_by_logging_in(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    guest = guest_of(world, emmy)
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    row = invitations.invite(acting_user=emmy, slug="beta", mail=ADDRESS)
    token = token_of(row)
    assert joining.offer(token).known
    with pytest.raises(Conflict):
        join(token, name="marie2")
    user = make_user(guest.uid)
    joining.accept(acting_user=user, token=token)
    world.finish(member_run(guest.uid).pk)
    assert world.directory.members("beta") == {"emmy": True, guest.uid: False}
    with pytest.raises(Conflict):
        joining.accept(acting_user=user, token=token)
    assert Guest.objects.count() == 1


def test_somebody_of_the_laboratory_may_accept_with_another_address(
    world: World, alpha: Platform, emmy: User
) -> None:
    token = token_of(invite(emmy, until=(Clock().first + timedelta(days=30)).isoformat()))
    row = joining.accept(acting_user=make_user("alan"), token=token)
    assert (row.uid, row.wanted) == ("alan", True)
    assert row.until is not None
    assert Guest.objects.count() == 0
    assert Membership.objects.get(uid="alan").platform == alpha


# --- bad answers ---


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "root"),
        ("name", "adm1n"),
        ("name", "Marie"),
        ("name", "mаrie"),
        ("name", "g-"),
        ("name", "a" * 40),
        ("name", "marie)(uid=*"),
        ("name", "m\x00x"),
        ("name", None),
        ("shown", ""),
        ("shown", "Ma\u202erie"),
        ("shown", "x" * 200),
        ("shown", "\ud800"),
        ("shown", "<b>Marie</b>"),
        ("password", ""),
        ("password", "short"),
        ("password", "123456789012345"),
        ("password", "password1234"),
        ("password", "marie@elsewhere.test"),
        ("password", "x" * 1000),
        ("password", "seven grey\x00whales sing"),
        ("again", "something else"),
    ],
)
def test_wrong_answers_are_named_and_nothing_is_made(
    world: World, alpha: Platform, emmy: User, field: str, value: Any
) -> None:
    token = token_of(invite(emmy))
    with pytest.raises(InvalidInput) as refused:
        join(token, **{field: value})
    assert set(refused.value.errors) == {"password_again" if field == "again" else field}
    assert Guest.objects.count() == 0
    assert world.directory.guests() == []
    join(token)


@pytest.mark.parametrize("name", ["marie", "mar1e", "m-arie", "rnarie", "m.a.r.i.e"])
def test_nobody_looks_like_somebody_else(world: World, alpha: Platform, emmy: User, name: str) -> None:
    guest_of(world, emmy)
    token = token_of(invite(emmy, "other@elsewhere.test"))
    with pytest.raises(InvalidInput) as refused:
        join(token, name=name)
    assert set(refused.value.errors) == {"name"}
    join(token, name="pierre")


def test_a_password_that_the_directory_refuses_leaves_the_link_good(
    world: World, alpha: Platform, emmy: User
) -> None:
    from placo.drivers.ports import PasswordRefused, Rejected

    token = token_of(invite(emmy))
    for error, field in ((PasswordRefused("weak"), "password"), (Rejected("no"), "name")):
        world.directory.faults.fail_next("set_guest_password", error)
        with pytest.raises(InvalidInput) as refused:
            join(token)
        assert set(refused.value.errors) == {field}
        assert (Guest.objects.count(), world.directory.guests()) == (0, [])
    join(token)


# --- dying in the middle ---


def test_a_silent_directory_undoes_what_it_can_and_the_rest_later(
    world: World, alpha: Platform, emmy: User, clock: Clock
) -> None:
    token = token_of(invite(emmy))
    world.directory.faults.fail_next("set_guest_password", Unavailable("gone"))
    world.directory.faults.fail_next("remove_guest", Unavailable("gone"))
    with pytest.raises(DirectoryDown):
        join(token)
    assert Guest.objects.get().state == Guest.MAKING
    assert joining.offer(token).trouble == joining.BUSY
    attending.attend()
    assert Guest.objects.count() == 1, "somebody may still be at it"
    clock.forward(minutes=11)
    assert attending.attend().cleaned == 1
    assert (Guest.objects.count(), world.directory.guests()) == (0, [])
    join(token)


@pytest.mark.parametrize("place", ["ensure_guest", "set_guest_password", "complete"])
def test_who_dies_while_making_an_account_leaves_nothing(
    world: World, alpha: Platform, emmy: User, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    class Death(BaseException):
        """No handler runs."""

    token = token_of(invite(emmy))

    def dies(*args: Any, **kwargs: Any) -> None:
        raise Death

    with monkeypatch.context() as patch:
        if place == "complete":
            patch.setattr(joining, "_complete", dies)
        else:
            patch.setattr(world.directory, place, dies)
        with pytest.raises(Death):
            join(token)
    assert not world.directory.opens("g-marie", PASSWORD)
    clock.forward(minutes=11)
    assert attending.attend().cleaned == 1
    assert (Guest.objects.count(), world.directory.guests()) == (0, [])
    guest, _row = join(token)
    world.finish(member_run(guest.uid).pk)
    assert world.directory.opens("g-marie", PASSWORD)


def test_who_took_too_long_is_told(
    world: World, alpha: Platform, emmy: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = token_of(invite(emmy))
    real = joining._complete

    def late(guest: Guest) -> Any:
        clock.forward(minutes=11)
        attending.attend()
        return real(guest)

    monkeypatch.setattr(joining, "_complete", late)
    with pytest.raises(Conflict):
        join(token)
    monkeypatch.undo()
    assert (Guest.objects.count(), Membership.objects.filter(uid="g-marie").count()) == (0, 0)
