"""Mailing lists on real machines: who makes them, who gets what, who reads the archives, and what is refused."""

from __future__ import annotations

import email
import email.policy
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.client import Account, Lab, wait_for
from tests.lab_world import Made, World
from tests.vm.guest import guest
from tests.vm.lists import Pages, domain_of_lists, pages
from tests.vm.mail import (
    arrives,
    as_the_gateway,
    check_signature,
    from_outside,
    mailbox,
    public_key,
    refusal,
    submission,
    text,
    told,
)
from tests.vm.test_mail import REFUSED_WITHIN_S, STRANGER, include, name_of, remove

JUNO, HEBE = "juno", "hebe"
ARCHIVED_S = 120
HOSTILE = ("../etc", "a b", 'x"; rm -rf /', "|/bin/sh", "seminar-owner", "sympa", "bounce", "l" * 80, "é")


def mail_domain(made: Made) -> str:
    """What the addresses of the platform's people end in."""
    urls = (str(e["url"]) for e in made.now["endpoints"] if e["service"] == "webmail")
    return next(url for url in urls if url.startswith("@")).removeprefix("@")


@pytest.fixture(scope="module")
def both(world: World) -> Iterator[dict[str, Made]]:
    """A platform with lists and mail, of which `member` is a member, and another one with mail; `owner` owns both."""
    world.ask(JUNO, "lists", "webmail", options={"lists": {"message_mb": 1}})
    world.ask(HEBE, "webmail")
    found = {slug: world.ready(slug) for slug in (JUNO, HEBE)}
    include(found[JUNO], world.lab.accounts["member"].uid)
    yield found
    for slug in found:
        world.retire(slug)


@pytest.fixture
def juno(both: dict[str, Made]) -> Made:
    return both[JUNO]


@pytest.fixture
def hebe(both: dict[str, Made]) -> Made:
    return both[HEBE]


@pytest.fixture
def owner(lab: Lab) -> Account:
    return lab.accounts["owner"]


@pytest.fixture
def member(lab: Lab) -> Account:
    return lab.accounts["member"]


@pytest.fixture
def at_work(lab: Lab, juno: Made) -> Iterator[Pages]:
    """The owner in the browser."""
    with pages(lab, juno, "owner") as found:
        yield found


def on_the_list(at_work: Pages, name: str, expected: set[str], timeout_s: float = 60) -> None:
    wait_for(lambda: at_work.subscribers(name) == expected, timeout_s, f"{name} to be {expected}")


def write(lab: Lab, made: Made, account: Account, to: str, subject: str) -> str:
    """Somebody writes under the address that they have there; what the server has against it."""
    sender = f"{account.uid}@{mail_domain(made)}"
    with submission(lab, name_of(made), account) as client:
        return refusal(client, sender, to, subject)


def archived(reader: Pages, name: str, subject: str) -> str:
    """The page of the archive with that message, once it is there."""
    month = time.strftime("%Y-%m", time.gmtime())

    def listed() -> str | None:
        page = reader.get(f"/arc/{name}/{month}/mail1.html").text
        return page if subject in page else None

    page = wait_for(listed, ARCHIVED_S, f"{subject} to be archived", every_s=2)
    before, _, _ = page.partition(subject)
    message = re.findall(r'href="(msg\d+\.html)"', before)[-1]
    return reader.get(f"/arc/{name}/{month}/{message}").text


def test_the_list_of_all_members_is_there_by_itself(
    lab: Lab, juno: Made, at_work: Pages, owner: Account, member: Account
) -> None:
    people = {f"{who.uid}@{mail_domain(juno)}" for who in (owner, member)}
    on_the_list(at_work, "members", people)
    assert write(lab, juno, member, f"members@{domain_of_lists(juno)}", "to-all-of-us") == ""
    for account in (owner, member):
        mail = email.message_from_bytes(
            arrives(lab, name_of(juno), account, "to-all-of-us"), policy=email.policy.default
        )
        assert mail["From"].addresses[0].addr_spec == f"members@{domain_of_lists(juno)}", "keeps DMARC"
        assert mail["Reply-To"].addresses[0].addr_spec == f"{member.uid}@{mail_domain(juno)}"
        assert mail["List-Id"] == f"<members.{domain_of_lists(juno)}>"
    with pages(lab, juno, "member") as reader:
        assert "Is lemma 3 true?" in archived(reader, "members", "to-all-of-us")


def test_the_pages_speak_the_reader_s_language(lab: Lab, juno: Made) -> None:
    for language, words in (("fr", "Mes listes"), ("en", "My lists")):
        page = lab.get(juno.url("lists", "/"), "owner", headers={"Accept-Language": language})
        assert words in page.text, language


def test_owners_make_lists_and_members_do_not(lab: Lab, juno: Made, at_work: Pages) -> None:
    made = at_work.make_list("seminar", "group")
    assert made.is_redirect and made.headers["Location"].endswith("/admin/seminar"), made.text[:2000]
    with pages(lab, juno, "member") as reader:
        assert 'name="template"' not in reader.get("/create_list_request").text
        assert not reader.make_list("mine", "group").is_redirect
        assert "/admin/seminar" not in reader.get("/info/seminar").text
    for name in HOSTILE:
        assert not at_work.make_list(name, "group").is_redirect, name
    shown = at_work.get("/lists").text
    assert "/info/seminar" in shown and "/info/mine" not in shown and "/info/l" + "l" * 79 not in shown


def test_a_mail_from_another_platform_reaches_everybody_on_a_list(
    lab: Lab, juno: Made, hebe: Made, at_work: Pages, owner: Account, member: Account
) -> None:
    there, here = f"{owner.uid}@{mail_domain(hebe)}", f"{member.uid}@{mail_domain(juno)}"
    at_work.send("/import/seminar", "import", list="seminar", dump=f"{there} Guest\n{here} Member")
    on_the_list(at_work, "seminar", {there, here})
    address = f"seminar@{domain_of_lists(juno)}"
    assert write(lab, hebe, owner, address, "from-hebe") == ""
    got = arrives(lab, name_of(juno), member, "from-hebe")
    arrives(lab, name_of(hebe), owner, "from-hebe")
    domain = domain_of_lists(juno)
    (key,) = told(lab, f"placo._domainkey.{domain}", "TXT")
    tags = check_signature(got, public_key(key))
    assert (tags["d"], tags["s"]) == (domain, "placo")
    assert told(lab, domain, "MX") == ["10 gateway.placo.internal."]
    with pages(lab, juno, "member") as reader:
        assert "Is lemma 3 true?" in archived(reader, "seminar", "from-hebe")


def test_strangers_loops_and_forgers_do_not_get_through(
    lab: Lab, juno: Made, hebe: Made, owner: Account, member: Account
) -> None:
    domain, address = domain_of_lists(juno), f"members@{domain_of_lists(juno)}"
    with from_outside(lab) as outside:
        assert refusal(outside, STRANGER, address, "from-a-stranger") == "", "taken, for the list to decide"
        for sender in (f"members@{domain}", f"{member.uid}@{mail_domain(juno)}"):
            assert refusal(outside, sender, address).startswith("553"), sender
    assert write(lab, hebe, owner, address, "from-no-member") == ""
    with submission(lab, name_of(juno), member) as client:
        sender = f"{member.uid}@{mail_domain(juno)}"
        looping = f"X-Loop: {address}\r\n" + text(sender, address, "in-a-loop")
        assert client.sendmail(sender, [address], looping) == {}
    assert write(lab, juno, member, address, "after-them") == ""
    arrives(lab, name_of(juno), owner, "after-them")
    with mailbox(lab, name_of(juno), owner) as client:
        client.select("INBOX")
        for subject in ("from-a-stranger", "from-no-member", "in-a-loop"):
            assert client.search(None, "SUBJECT", subject)[1][0] == b"", subject


def test_addresses_that_are_none_are_refused_at_the_door(lab: Lab, juno: Made, at_work: Pages) -> None:
    domain = domain_of_lists(juno)
    with from_outside(lab) as outside:
        for to in (
            f"nobody@{domain}",
            f"members-owner-owner@{domain}",
            f"' OR name_list <> '@{domain}",
            f"|/bin/sh@{domain}",
            f"{'a' * 300}@{domain}",
            f"members%example.org@{domain}",
            f"members@x.{domain}",
            "x@example.org",
        ):
            assert refusal(outside, STRANGER, to).startswith("5"), to
        for to in (f"owners@{domain}", f"postmaster@{domain}", f"seminar-request@{domain}"):
            assert refusal(outside, STRANGER, to, "to-the-owners") == "", to


def test_a_message_that_is_too_large_comes_back(lab: Lab, juno: Made, member: Account) -> None:
    address, sender = f"members@{domain_of_lists(juno)}", f"{member.uid}@{mail_domain(juno)}"
    with submission(lab, name_of(juno), member) as client:
        large = text(sender, address, "too-large", "Lemma 3 again.\r\n" * 130_000)
        assert client.sendmail(sender, [address], large) == {}
    assert b"size" in arrives(lab, name_of(juno), member, "Undelivered").lower()


def test_who_is_no_member_sees_nothing(lab: Lab, juno: Made) -> None:
    for path in ("", "lists", "arc/members", "review/members", "css-sympa/", "static-sympa/js/jquery.js",
                 "rss/latest_arc/members", "wws", "pictures-sympa/"):  # fmt: skip
        for role in ("outsider", None):
            assert lab.get(juno.url("lists", "/") + path, role).status_code == 401, path
    health = lab.get(juno.url("lists", "/") + "-/health")
    assert (health.status_code, health.text) == (200, "ok\n")


def test_who_is_removed_is_refused_and_gets_nothing(
    lab: Lab, juno: Made, at_work: Pages, owner: Account, member: Account
) -> None:
    theirs, address = f"{member.uid}@{mail_domain(juno)}", f"members@{domain_of_lists(juno)}"
    with pages(lab, juno, "member") as reader:
        assert reader.get("/review/members").status_code == 200
        remove(juno, member.uid)
        removed = time.monotonic()
        wait_for(lambda: reader.get("/").status_code == 401, REFUSED_WITHIN_S, "the session to be over")
        left = REFUSED_WITHIN_S - (time.monotonic() - removed)
        rows = "sqlite3 /srv/placo/lists/db/sympa 'SELECT list_subscriber, user_subscriber FROM subscriber_table'"
        machine = guest(lab, JUNO, juno.machine("lists"))
        wait_for(lambda: theirs not in machine.run(rows).text, max(left, 1) + 1, "all lists to forget them")
    assert at_work.subscribers("members") == {f"{owner.uid}@{mail_domain(juno)}"}
    assert write(lab, juno, owner, address, "while-you-were-out") == ""
    arrives(lab, name_of(juno), owner, "while-you-were-out")
    include(juno, member.uid)
    on_the_list(at_work, "members", {theirs, f"{owner.uid}@{mail_domain(juno)}"})
    assert theirs not in at_work.subscribers("seminar"), "nobody comes back by themselves"
    assert write(lab, juno, owner, address, "welcome-back") == ""
    arrives(lab, name_of(juno), member, "welcome-back")
    with mailbox(lab, name_of(juno), member) as client:
        client.select("INBOX")
        assert client.search(None, "SUBJECT", "while-you-were-out")[1][0] == b""


def test_stand_ins_of_a_proof_are_on_no_list(lab: Lab, juno: Made) -> None:
    asked = juno.owner("POST", f"/platforms/{JUNO}/proofs")

    proof: Any = wait_for(lambda: _ended(juno, asked["id"]), 300, "the proof to end")
    assert proof["state"] == "passed", [c["text"] for c in proof["cases"] if not c["passed"]]
    machine = guest(lab, JUNO, juno.machine("lists"))
    dump = machine.run("sqlite3 /srv/placo/lists/db/sympa .dump; cat /run/placo/lists/*")
    assert dump.status == 0 and "members" in dump.text
    assert "g-0-" not in dump.text


def _ended(made: Made, proof_id: int) -> dict[str, object] | None:
    """That proof, when it is over."""
    for proof in made.owner("GET", f"/platforms/{made.slug}/proofs"):
        if proof["id"] == proof_id and proof["ended_at"]:
            found: dict[str, object] = proof
            return found
    return None


def test_a_machine_that_starts_again_has_its_lists(
    lab: Lab, juno: Made, at_work: Pages, owner: Account, member: Account
) -> None:
    before = at_work.subscribers("members")
    for action in ("stop", "start"):
        juno.owner.wait_for_run(juno.owner("POST", f"/platforms/{JUNO}/actions/{action}")["run_id"])
    assert at_work.subscribers("members") == before
    assert "/info/seminar" in at_work.get("/lists").text
    wait_for(
        lambda: write(lab, juno, owner, f"members@{domain_of_lists(juno)}", "after-the-night") == "",
        120,
        "mail to be taken again",
    )
    arrives(lab, name_of(juno), member, "after-the-night")


def test_lists_take_no_more_than_they_can_bear(lab: Lab, juno: Made) -> None:
    """Last: for a minute the gateway has to keep what else there is."""
    codes = [250]
    with as_the_gateway(lab, juno.machine("lists")["address"]) as machine:
        machine.ehlo("gateway.test")
        while codes[-1] == 250 and len(codes) < 100:
            codes.append(machine.mail(STRANGER)[0])
            machine.rset()
    assert codes[-1] == 450 and 50 < len(codes) < 70, codes
