"""Mail of two platforms, with the programs that people have: who gets what from whom, who is put out, and what is refused."""

from __future__ import annotations

import contextlib
import imaplib
import smtplib
import time
from collections.abc import Iterator

import pytest

from deploy.client import Account, Lab, wait_for
from deploy.lab.layout import DIRECTORY_ADDRESS
from tests.lab_world import Made, World
from tests.vm.guest import guest
from tests.vm.mail import (
    PATIENCE_S,
    arrives,
    body_of,
    check_signature,
    empty,
    fill,
    filter_by,
    from_outside,
    mailbox,
    public_key,
    refusal,
    submission,
    told,
)

REFUSED_WITHIN_S = 5
CERES, VESTA = "ceres", "vesta"
STRANGER = "somebody@elsewhere.example.org"


def name_of(made: Made) -> str:
    """The server's name."""
    return made.url("webmail", ":993").removeprefix("imaps://").partition(":")[0]


def domain_of(made: Made) -> str:
    """What addresses end in."""
    return next(e["url"] for e in made.now["endpoints"] if e["protocol"] == "smtp").removeprefix("@")


def include(made: Made, uid: str) -> None:
    made.owner.wait_for_run(made.owner("PUT", f"/platforms/{made.slug}/members/{uid}")["run_id"])


def remove(made: Made, uid: str) -> None:
    made.owner.wait_for_run(made.owner("DELETE", f"/platforms/{made.slug}/members/{uid}")["run_id"])


@pytest.fixture(scope="module")
def both(world: World) -> Iterator[dict[str, Made]]:
    """Two platforms with mail; `member` belongs to the second one."""
    owner = world.lab.accounts["owner"].uid
    options = {"aliases": f"contact={owner}; chair=contact", "quota_mib": 10}
    world.ask(CERES, "webmail", options={"webmail": options})
    world.ask(VESTA, "webmail")
    found = {slug: world.ready(slug) for slug in (CERES, VESTA)}
    include(found[VESTA], world.lab.accounts["member"].uid)
    yield found
    for slug in found:
        world.retire(slug)


@pytest.fixture
def ceres(both: dict[str, Made]) -> Made:
    return both[CERES]


@pytest.fixture
def vesta(both: dict[str, Made]) -> Made:
    return both[VESTA]


@pytest.fixture
def owner(lab: Lab) -> Account:
    return lab.accounts["owner"]


@pytest.fixture
def member(lab: Lab) -> Account:
    return lab.accounts["member"]


def send(lab: Lab, made: Made, account: Account, to: str, subject: str) -> None:
    sender = f"{account.uid}@{domain_of(made)}"
    with submission(lab, name_of(made), account) as client:
        assert refusal(client, sender, to, subject) == ""


def test_a_mail_from_one_platform_to_another_and_back(
    lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account
) -> None:
    here, there = f"{owner.uid}@{domain_of(ceres)}", f"{member.uid}@{domain_of(vesta)}"
    send(lab, ceres, owner, there, "question")
    question = arrives(lab, name_of(vesta), member, "question")
    assert "Is lemma 3 true?" in body_of(question)
    send(lab, vesta, member, here, "answer")
    arrives(lab, name_of(ceres), owner, "answer")

    domain = domain_of(ceres)
    (key,) = told(lab, f"placo._domainkey.{domain}", "TXT")
    tags = check_signature(question, public_key(key))
    assert (tags["d"], tags["s"]) == (domain, "placo")
    assert told(lab, domain, "MX") == ["10 gateway.placo.internal."]
    assert told(lab, f"_imaps._tcp.{domain}", "SRV") == [f"0 1 993 {name_of(ceres)}."]
    assert told(lab, name_of(ceres), "A") == ["10.77.0.1"]


def test_who_is_no_member_gets_in_nowhere(lab: Lab, ceres: Made, member: Account, owner: Account) -> None:
    for account, password in ((lab.accounts["outsider"], None), (member, None), (owner, "not the password")):
        with pytest.raises(imaplib.IMAP4.error), mailbox(lab, name_of(ceres), account, password):
            pass
    for account in (lab.accounts["outsider"], member):
        with pytest.raises(smtplib.SMTPAuthenticationError), submission(lab, name_of(ceres), account):
            pass


def test_who_is_removed_is_put_out_and_refused(
    lab: Lab, vesta: Made, member: Account, owner: Account
) -> None:
    server, address = name_of(vesta), f"{member.uid}@{domain_of(vesta)}"
    with mailbox(lab, server, member) as client, submission(lab, server, member) as sending:
        client.select("INBOX")
        client.send(b"idle1 IDLE\r\n")
        assert client.readline().startswith(b"+")
        remove(vesta, member.uid)
        removed = time.monotonic()
        with contextlib.suppress(OSError):
            while client.readline():
                pass
        assert time.monotonic() - removed < REFUSED_WITHIN_S
        assert refusal(sending, address, f"{owner.uid}@{domain_of(vesta)}").startswith("553")
    with pytest.raises(imaplib.IMAP4.error), mailbox(lab, server, member):
        pass
    with pytest.raises(smtplib.SMTPAuthenticationError), submission(lab, server, member):
        pass
    with submission(lab, server, owner) as client2:
        assert refusal(client2, f"{owner.uid}@{domain_of(vesta)}", address).startswith("550")
    include(vesta, member.uid)
    with mailbox(lab, server, member) as client:
        assert client.select("INBOX")[0] == "OK", "what was there is there again"


def test_groups_and_addresses_that_owners_chose(
    lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account
) -> None:
    send(lab, vesta, member, f"members@{domain_of(vesta)}", "to-all")
    for account in (owner, member):
        arrives(lab, name_of(vesta), account, "to-all")
    with submission(lab, name_of(ceres), owner) as client:
        said = refusal(
            client, f"{owner.uid}@{domain_of(ceres)}", f"postmaster@{domain_of(vesta)}", "to-owners"
        )
        assert said == ""
    arrives(lab, name_of(vesta), owner, "to-owners")
    with from_outside(lab) as outside:
        assert refusal(outside, STRANGER, f"chair@{domain_of(ceres)}", "to-the-chair") == ""
        assert refusal(outside, STRANGER, f"members@{domain_of(vesta)}").startswith("550")
        assert refusal(outside, STRANGER, f"{owner.uid}+journals@{domain_of(ceres)}", "with-a-plus") == ""
    arrives(lab, name_of(ceres), owner, "to-the-chair")
    arrives(lab, name_of(ceres), owner, "with-a-plus")


def test_nobody_sends_in_somebody_elses_name(
    lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account
) -> None:
    at_vesta = domain_of(vesta)
    with submission(lab, name_of(vesta), member) as client:
        for sender in (
            f"{owner.uid}@{at_vesta}",
            f"contact@{at_vesta}",
            f"{member.uid}@{domain_of(ceres)}",
            STRANGER,
            "",
        ):
            assert refusal(client, sender, f"{owner.uid}@{at_vesta}").startswith("553"), sender
            client.rset()
    with from_outside(lab) as outside:
        assert refusal(outside, f"{member.uid}@{at_vesta}", f"{owner.uid}@{at_vesta}").startswith("553")


def test_what_comes_from_outside_stays_inside(lab: Lab, ceres: Made, vesta: Made, owner: Account) -> None:
    with from_outside(lab) as outside:
        for to in (
            "x@example.org",
            f"x%example.org@{domain_of(ceres)}",
            f"nobody@{domain_of(ceres)}",
            f"{'a' * 300}@{domain_of(ceres)}",
            f"x@unknown.{domain_of(ceres)}",
            f"|/bin/sh@{domain_of(ceres)}",
        ):
            assert refusal(outside, STRANGER, to).startswith("5"), to
    send(lab, ceres, owner, "x@example.org", "out")
    back = arrives(lab, name_of(ceres), owner, "Undelivered")
    assert b"Mail does not leave this site" in back


def test_mail_bombs(lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account) -> None:
    with submission(lab, name_of(vesta), member) as client:
        code, _ = client.mail(f"{member.uid}@{domain_of(vesta)}", [f"size={40 << 20}"])
        assert code == 552, "larger than any mail may be"
    with submission(lab, name_of(ceres), owner) as client:
        code, _ = client.mail(f"{owner.uid}@{domain_of(ceres)}", [f"size={11 << 20}"])
        assert code == 250
        assert client.rcpt(f"{owner.uid}@{domain_of(ceres)}")[0] == 552, "larger than the mailbox"
    codes = [250]
    while codes[-1] == 250 and len(codes) < 100:
        with from_outside(lab, DIRECTORY_ADDRESS) as outside:  # anew: RSET without end is refused for itself
            for _ in range(10):
                codes.append(outside.mail(STRANGER)[0])
                outside.rset()
    assert 450 in codes and codes.index(450) > 50, codes


def test_a_full_mailbox_is_said_to_the_sender(
    lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account
) -> None:
    address = f"{owner.uid}@{domain_of(ceres)}"
    with mailbox(lab, name_of(ceres), owner) as client:
        empty(client)
        fill(client)
    try:
        with submission(lab, name_of(ceres), owner) as sending:
            assert refusal(sending, address, address).startswith("552"), "from within"
        with from_outside(lab) as outside:
            said = refusal(outside, STRANGER, f"{owner.uid}+never-asked-for@{domain_of(ceres)}")
            assert said.startswith("550") and "full" in said, "from outside, at the gateway's door"
        send(lab, vesta, member, address, "too-much")
        back = body_of(arrives(lab, name_of(vesta), member, "Undelivered"))
        assert address in back, "from another platform, whoever of the servers on the way found out"
    finally:
        with mailbox(lab, name_of(ceres), owner) as client:
            empty(client)
    with submission(lab, name_of(ceres), owner) as sending:
        assert refusal(sending, address, address, "there-is-room") == ""
    arrives(lab, name_of(ceres), owner, "there-is-room")


def test_members_filters_run_no_programs(lab: Lab, ceres: Made, owner: Account) -> None:
    machine = guest(lab, CERES, ceres.machine("mail"))
    for extension, action in (("pipe", 'pipe "learn" ["good"];'), ("execute", 'execute "is-junk";')):
        with pytest.raises(AssertionError, match="NO"):
            filter_by(machine, owner, f'require "vnd.dovecot.{extension}";\n{action}')


def test_redirections_in_a_circle_end(
    lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account
) -> None:
    """The mail stays with whom it comes back to, once."""
    here, there = f"{owner.uid}@{domain_of(ceres)}", f"{member.uid}@{domain_of(vesta)}"
    machines = {
        slug: guest(lab, slug, made.machine("mail")) for slug, made in ((CERES, ceres), (VESTA, vesta))
    }
    filter_by(machines[CERES], owner, f'redirect "{there}";')
    filter_by(machines[VESTA], member, f'redirect "{here}";')
    try:
        send(lab, vesta, owner, there, "round-and-round")
        found = arrives(lab, name_of(vesta), member, "round-and-round")
        assert found.count(b"X-Sieve-Redirected-From:") == 2, "it went round once"
        for machine in machines.values():
            wait_for(
                lambda machine=machine: not machine.run("postqueue -j").text.strip(), 60, "no mail to wait"
            )
        for made, account, number in ((vesta, member, 1), (ceres, owner, 0), (vesta, owner, 0)):
            with mailbox(lab, name_of(made), account) as client:
                client.select("INBOX")
                assert len(client.search(None, "SUBJECT", "round-and-round")[1][0].split()) == number
    finally:
        filter_by(machines[CERES], owner, "")
        filter_by(machines[VESTA], member, "")


def test_a_platform_that_stood_still_gets_its_mail(
    lab: Lab, ceres: Made, vesta: Made, owner: Account, member: Account
) -> None:
    address = f"{member.uid}@{domain_of(vesta)}"
    send(lab, ceres, owner, address, "before")
    arrives(lab, name_of(vesta), member, "before")
    run = vesta.owner("POST", f"/platforms/{VESTA}/actions/stop")
    vesta.owner.wait_for_run(run["run_id"])
    send(lab, ceres, owner, address, "meanwhile")

    def waits() -> bool:
        with from_outside(lab) as outside:
            said = refusal(outside, STRANGER, f"nobody-knows@{domain_of(vesta)}")
        return said.startswith("450")

    assert waits(), "who is there cannot be asked: the other side tries again"
    run = vesta.owner("POST", f"/platforms/{VESTA}/actions/start")
    vesta.owner.wait_for_run(run["run_id"])
    arrives(lab, name_of(vesta), member, "meanwhile", 3 * PATIENCE_S)
