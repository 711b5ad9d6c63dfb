"""Monitoring on real machines: what it watches by itself, what it shows of a service that stops, and what it writes to the owner."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator

import ldap
import ldap.sasl
import pytest

from deploy.client import Account, Lab, wait_for
from deploy.lab.layout import BASE
from deploy.lab.layout import Lab as Layout
from tests.lab_world import Made, World
from tests.vm.guest import guest
from tests.vm.mail import arrives, check_signature, from_outside, public_key, refusal, told
from tests.vm.test_mail import STRANGER, name_of

SLUG = "watched"
SERVICES = ("monitoring", "webmail", "wiki")
SEEN_S = 150
"""How long Icinga may take to hear of a service and to look at it for the first time."""
HARD_S = 120
"""Three looks, and what an emulated processor adds to them."""
OK, CRITICAL = "0", "2"


@pytest.fixture(scope="module")
def watched(world: World) -> Iterator[Made]:
    """A platform with a wiki, mail and monitoring; the owner's address is the one that they have there."""
    world.ask(SLUG, *SERVICES, options={"monitoring": {"patience_min": 1}})
    made = world.ready(SLUG)
    owner = world.lab.accounts["owner"].uid
    domain = domain_of_mail(made)
    dn = f"uid={owner},ou=people,{BASE}"
    before = changed_mail(world.lab, dn, [f"{owner}@{domain}".encode()])
    yield made
    changed_mail(world.lab, dn, before)
    world.retire(SLUG)


def changed_mail(lab: Lab, dn: str, mail: list[bytes]) -> list[bytes]:
    """Give somebody other addresses, as the directory's administrator; those that they had."""
    directory = ldap.initialize(Layout.at(lab.root).directory_uri)
    directory.sasl_interactive_bind_s("", ldap.sasl.external())
    before: list[bytes] = directory.search_s(dn, ldap.SCOPE_BASE, attrlist=["mail"])[0][1]["mail"]
    directory.modify_s(dn, [(ldap.MOD_REPLACE, "mail", mail)])
    directory.unbind_s()
    return before


def domain_of_mail(made: Made) -> str:
    """What the addresses of the platform's people end in."""
    return next(
        e["url"] for e in made.now["endpoints"] if e["protocol"] == "smtp" and e["service"] == "webmail"
    ).removeprefix("@")


def page(made: Made, path: str) -> str:
    """An address of the monitoring's web interface."""
    return made.url("monitoring", "/") + path.removeprefix("/")


def states(lab: Lab, made: Made) -> dict[tuple[str, str], str]:
    """(machine, what) -> state of everything that Icinga's page shows to the owner; "" of what was not looked at yet."""
    url = page(made, "/monitoring/list/services?format=json&limit=0")
    answer = lab.get(url, "owner")
    assert answer.status_code == 200, answer.text[:300]
    return {
        (row["host_name"], row["service_display_name"]): ""
        if row["service_state"] is None
        else str(row["service_state"])
        for row in answer.json()
    }


def colours(lab: Lab, made: Made, machine: str) -> set[str]:
    """The states of a machine's services as the page that people look at has them (classes of its table's cells)."""
    answer = lab.get(page(made, f"/monitoring/list/services?host={machine}"), "owner")
    assert answer.headers["Content-Type"].startswith("text/html")
    return set(re.findall(r'class="state-col state-(\w+)', answer.text))


def test_it_watches_every_service_by_itself(lab: Lab, watched: Made) -> None:
    expected = {
        ("wiki", "wiki (https)"),
        ("mail", "webmail (https)"),
        ("mail", "webmail (imaps)"),
        ("mail", "webmail (smtp)"),
        ("mail", "webmail (submissions)"),
        ("monitoring", "monitoring (https)"),
        ("monitoring", "monitoring (smtp)"),
        ("monitoring", "Space for its data"),
    }
    wait_for(
        lambda: states(lab, watched) == dict.fromkeys(expected, OK), SEEN_S, "everything to be seen and well"
    )
    assert {machine for machine, _ in states(lab, watched)} == {m["name"] for m in watched.now["machines"]}


def test_a_service_that_stops_is_shown_and_told_and_so_is_its_return(lab: Lab, watched: Made) -> None:
    owner = lab.accounts["owner"]
    wiki = guest(lab, SLUG, watched.machine("wiki"))
    door = ("wiki", "wiki (https)")
    wiki.run("systemctl stop apache2.service")
    wait_for(lambda: states(lab, watched)[door] == CRITICAL, HARD_S, "the page to show it")
    assert colours(lab, watched, "wiki") == {"critical"}
    raw = _mail(lab, watched, owner, "does not work")
    domain = page(watched, "").removeprefix("https://").partition(":")[0]
    (key,) = told(lab, f"placo._domainkey.{domain}", "TXT")
    assert check_signature(raw, public_key(key))["d"] == domain
    said = _text(raw)
    assert "wiki, wiki (https): does not work" in said
    assert page(watched, "/") in said
    wiki.run("systemctl start apache2.service")
    wait_for(lambda: states(lab, watched)[door] == OK, HARD_S, "the page to show that it is back")
    assert colours(lab, watched, "wiki") == {"ok"}
    assert "wiki, wiki (https): works again" in _text(_mail(lab, watched, owner, "works again"))


def test_an_answer_reaches_the_owners(lab: Lab, watched: Made) -> None:
    """Whoever it is from: what is handed on is sent as the platform's own."""
    domain = page(watched, "").removeprefix("https://").partition(":")[0]
    with from_outside(lab) as outside:
        assert refusal(outside, STRANGER, f"monitoring@{domain}", "an-answer") == ""
    raw = arrives(lab, name_of(watched), lab.accounts["owner"], "an-answer", timeout_s=120)
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Return-Path"] == f"<monitoring@{domain}>"
    assert STRANGER in str(mail["From"])


def _mail(lab: Lab, made: Made, owner: Account, words: str) -> bytes:
    """A mail to the owner whose subject ends in these words."""
    return arrives(lab, name_of(made), owner, f'"{words}"', timeout_s=240)


def _text(raw: bytes) -> str:
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    body = mail.get_body()
    assert body is not None
    return str(body.get_content())


def change(world: World, *services: str) -> None:
    """The platform with these services."""
    words = "A test on real machines."
    wish = {"justification": words, "services": list(services), "confirm": SLUG}
    asked = world.owner("POST", f"/platforms/{SLUG}/changes", **wish)
    run = world.admin("POST", f"/requests/{asked['id']}/approve", plan_hash=asked["plan"]["hash"])
    assert world.owner.wait_for_run(run["run_id"], timeout_s=600)["state"] == "done"


def test_what_is_added_and_removed_is_watched_and_forgotten(lab: Lab, world: World, watched: Made) -> None:
    def hosts() -> set[str]:
        return {host for host, _ in states(lab, watched)}

    change(world, *SERVICES, "git")
    wait_for(lambda: "git" in hosts(), SEEN_S, "the new service to be watched")
    change(world, *SERVICES)
    wait_for(lambda: "git" not in hosts(), SEEN_S, "the removed service to be forgotten")
    assert hosts() == {m["name"] for m in watched.now["machines"]}


def test_who_is_no_member_sees_nothing(lab: Lab, watched: Made) -> None:
    for path in ("/", "/monitoring/list/services?format=json", "/index.php", "/css/icinga.min.css"):
        assert lab.get(page(watched, path), "outsider").status_code == 401
        assert lab.get(page(watched, path)).status_code == 401
    health = lab.get(page(watched, "/-/health"))
    assert (health.status_code, health.text) == (200, "ok\n")


def test_a_member_looks_and_an_owner_acts(lab: Lab, watched: Made) -> None:
    member = lab.accounts["member"].uid
    watched.owner.wait_for_run(watched.owner("PUT", f"/platforms/{SLUG}/members/{member}")["run_id"])
    try:
        look = page(watched, "/monitoring/service/show?host=wiki&service=https-443")
        wait_for(lambda: lab.get(look, "member").status_code == 200, 30, "the member to be let in")
        assert "Check now" in lab.get(look, "owner").text
        assert "Check now" not in lab.get(look, "member").text
        act = page(watched, "/monitoring/service/acknowledge-problem?host=wiki&service=https-443")
        assert lab.get(act, "member").status_code == 403
    finally:
        watched.owner("DELETE", f"/platforms/{SLUG}/members/{member}")
    wait_for(lambda: lab.get(look, "member").status_code == 401, 5, "the removed member to be refused")
    assert lab.get(page(watched, "/"), "member").status_code == 401
