"""What bounds mail on a real machine, and how its owners choose it anew: recipients an hour, size, room, addresses."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

import pytest

from deploy.client import Account, Lab
from tests.lab_world import Made, World
from tests.vm.guest import guest
from tests.vm.mail import arrives, from_outside, mailbox, refusal, submission, text
from tests.vm.test_mail import STRANGER, domain_of, include, name_of

SLUG = "juno"
HOURLY, MORE = 10, 30
LARGEST = 26_214_400


@pytest.fixture(scope="module")
def juno(world: World) -> Iterator[Made]:
    """A platform with mail, of which `member` is a member."""
    world.ask(SLUG, "webmail", options={"webmail": {"hourly_recipients": HOURLY, "quota_mib": 40}})
    made = world.ready(SLUG)
    include(made, world.lab.accounts["member"].uid)
    yield made
    world.retire(SLUG)


@pytest.fixture
def owner(lab: Lab) -> Account:
    return lab.accounts["owner"]


@pytest.fixture
def member(lab: Lab) -> Account:
    return lab.accounts["member"]


def test_a_bomb_of_one_account_is_refused_and_others_still_send(
    lab: Lab, juno: Made, owner: Account, member: Account
) -> None:
    domain = domain_of(juno)
    to, sender = f"{owner.uid}@{domain}", f"{member.uid}@{domain}"
    with submission(lab, name_of(juno), member) as client:
        assert refusal(client, sender, f"nobody@{domain}").startswith("550"), (
            "who there is not does not count"
        )
        several = client.sendmail(sender, [to, sender], text(sender, to, "two"))
        assert several == {}
        taken = [refusal(client, sender, to, f"bomb-{number}") for number in range(HOURLY - 2)]
        assert taken == [""] * (HOURLY - 2)
        assert refusal(client, sender, to).startswith("450")
    with submission(lab, name_of(juno), Account(member.uid.upper(), member.password)) as client:
        assert refusal(client, sender, to).startswith("450"), "by another spelling of the name"
    with submission(lab, name_of(juno), owner) as client:
        assert refusal(client, to, sender, "not-the-others") == ""
    arrives(lab, name_of(juno), member, "not-the-others")


def test_a_mail_that_is_larger_than_it_said_is_refused(lab: Lab, juno: Made, owner: Account) -> None:
    to = f"{owner.uid}@{domain_of(juno)}"
    with submission(lab, name_of(juno), owner) as client:
        assert (client.mail(to)[0], client.rcpt(to)[0]) == (250, 250), "it says nothing of its size"
        try:
            said = client.data(text(to, to, "enormous", ("x" * 76 + "\r\n") * (LARGEST // 78 + 1000)))[0]
        except (smtplib.SMTPServerDisconnected, OSError):
            said = 552
        assert said == 552
    with mailbox(lab, name_of(juno), owner) as client:
        client.select("INBOX")
        assert client.search(None, "SUBJECT", "enormous")[1] == [b""]


def room(lab: Lab, juno: Made, account: Account) -> int:
    """How much mail an account may have, in KiB."""
    with mailbox(lab, name_of(juno), account) as client:
        answer = client.getquotaroot("INBOX")[1][1][0]
        assert isinstance(answer, bytes)
        return int(answer.decode().rpartition("STORAGE")[2].split()[1].rstrip(")"))


def test_owners_choose_anew_while_the_machine_runs(
    lab: Lab, world: World, juno: Made, owner: Account, member: Account
) -> None:
    machine = guest(lab, SLUG, juno.machine("mail"))
    before, contact = machine.boot_id(), f"contact@{domain_of(juno)}"
    assert room(lab, juno, member) == 40 << 10
    with from_outside(lab) as outside:
        assert refusal(outside, STRANGER, contact).startswith("550")
    asked = world.owner(
        "POST",
        f"/platforms/{SLUG}/changes",
        justification="A test on real machines.",
        options={"webmail": {"hourly_recipients": MORE, "quota_mib": 60, "aliases": f"contact={owner.uid}"}},
    )
    assert asked["changes"]["told"] == ["mail"]
    run = world.admin("POST", f"/requests/{asked['id']}/approve", plan_hash=asked["plan"]["hash"])
    assert world.owner.wait_for_run(run["run_id"], timeout_s=300)["state"] == "done"

    assert room(lab, juno, member) == 60 << 10
    sender = f"{member.uid}@{domain_of(juno)}"
    with submission(lab, name_of(juno), member) as client:
        taken = [refusal(client, sender, contact, "by-the-new-name") for _ in range(HOURLY + 2)]
        assert taken == [""] * (HOURLY + 2), "within the new limit"
    arrives(lab, name_of(juno), owner, "by-the-new-name")
    assert machine.boot_id() == before
    assert machine.run("test ! -e /root/placo-settings && echo gone").text.strip() == "gone"
