"""Every address of the portal, for everybody who could ask for it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urljoin

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from placo.platforms.models import AuditEvent, Drift, Host, Notice, Platform, Project, Request, Run, User
from placo.services import invitations, members, notices, reconcile
from placo.web.urls import urlpatterns
from tests import factories
from tests.fakes import World

ROLES = ("nobody", "outsider", "stranger", "member", "owner", "admin")
"""outsider: has an account; stranger: owns another project; member and owner: of the platform alpha."""

OPEN = dict.fromkeys(ROLES, 200)
PERSONAL = OPEN | {"nobody": 302}
VISIBLE = PERSONAL | {"outsider": 404, "stranger": 404}
MANAGED = VISIBLE | {"member": 403}
REQUESTED = VISIBLE | {"member": 404}
VOID = dict.fromkeys(ROLES, 410)
LINK = dict.fromkeys(ROLES, 302)
OPERATIONS = PERSONAL | dict.fromkeys(("outsider", "stranger", "member", "owner"), 403)

READ = {
    "login": OPEN | dict.fromkeys(("outsider", "stranger", "member", "owner", "admin"), 302),
    "home": PERSONAL,
    "account": PERSONAL,
    "invitation": VOID,
    "invitation-link": LINK,
    "password-forgotten": OPEN,
    "password-reset": VOID,
    "password-reset-link": LINK,
    "help": PERSONAL,
    "new": PERSONAL,
    "new-cost": PERSONAL | {"outsider": 404, "stranger": 404, "member": 404},
    "new-name": PERSONAL,
    "platform": VISIBLE,
    "platform-machine": VISIBLE,
    "platform-people": MANAGED,
    "platform-people-rows": MANAGED,
    "platform-people-search": MANAGED,
    "platform-activity": MANAGED,
    "platform-proof": MANAGED,
    "platform-settings": MANAGED,
    "notices": PERSONAL,
    "platform-change": MANAGED,
    "platform-change-preview": MANAGED,
    "requests": PERSONAL,
    "requests-detail": REQUESTED,
    "run": REQUESTED,
    "operations": OPERATIONS | {"admin": 302},
    "operations-hosts": OPERATIONS,
    "operations-host": OPERATIONS,
    "operations-drift": OPERATIONS,
    "operations-images": OPERATIONS,
    "operations-health": OPERATIONS,
    "operations-health-report": OPERATIONS,
    "operations-runs": OPERATIONS,
    "operations-quotas": OPERATIONS,
    "operations-audit": OPERATIONS,
    "operations-people": OPERATIONS,
    "operations-person": OPERATIONS,
}
DONE = 302
CHANGE = MANAGED | {"owner": DONE, "admin": DONE}
NOT_HERE = dict.fromkeys(ROLES, 409) | {"nobody": 302}
DECIDE = VISIBLE | {"member": 404, "owner": 403, "admin": DONE}
WRITE = {
    "platform-power": CHANGE,
    "platform-retire": CHANGE,
    "platform-renew": CHANGE,
    "platform-rebuild": CHANGE,
    "platform-prove": CHANGE,
    "platform-end": CHANGE | {"owner": 403},
    "notices-read": VISIBLE | {"member": 404, "owner": DONE, "admin": 404},
    "notices-read-all": dict.fromkeys(ROLES, DONE),
    "platform-people-add": CHANGE,
    "platform-people-remove": CHANGE,
    "platform-people-invite": CHANGE,
    "platform-people-invitation": VISIBLE | {"member": 404, "owner": DONE, "admin": DONE},
    "platform-people-owner": CHANGE,
    "platform-people-until": CHANGE,
    "account-name": NOT_HERE,
    "account-password": NOT_HERE,
    "account-key-add": dict.fromkeys(ROLES, DONE) | {"outsider": 409},
    "account-key-remove": dict.fromkeys(ROLES, 404) | {"nobody": 302},
    "operations-person-leave": OPERATIONS | {"admin": DONE},
    "requests-approve": DECIDE,
    "requests-reject": DECIDE,
    "requests-replan": DECIDE,
    "requests-withdraw": DECIDE | {"owner": DONE},
    "operations-host-warm": OPERATIONS | {"admin": DONE},
    "operations-host-lost": OPERATIONS | {"admin": DONE},
    "operations-host-take-back": OPERATIONS | {"admin": DONE},
    "operations-images-rebuild": OPERATIONS | {"admin": DONE},
    "operations-drift-accept": OPERATIONS | {"admin": DONE},
    "operations-drift-repair": OPERATIONS | {"admin": DONE},
    "run-decide": VISIBLE | {"member": 404, "owner": 409, "admin": 409},
    "logout": dict.fromkeys(ROLES, 302),
}
ELSEWHERE = {"run-events"}
"""Tested with the live run."""


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM0oiFD2Lh7TdUbsbpJTR2vKYszOixl+IRp4643lZeJU somebody"


@dataclass
class Site:
    """One platform in use, one request that waits, somebody in each role."""

    users: dict[str, User | None]
    platform: Platform
    waiting: Request
    run: Run
    notice: Notice

    def address(self, name: str) -> str:
        """The address of a page about them."""
        pattern = next(p for p in urlpatterns if p.name == name)
        values = {"slug": "alpha", "name": "www", "action": "stop", "choice": "retry"}
        if name == "operations-host-warm":
            values |= {"choice": "off"}
        if name.startswith("operations-host"):
            values |= {"name": "h1"}
        if name == "platform-people-owner":
            values |= {"choice": "hand-over"}
        if name == "platform-people-invitation":
            row = invitations.invite(acting_user=self.users["owner"], slug="alpha", mail="m@elsewhere.test")
            values |= {"choice": "revoke", "invitation_id": str(row.pk)}
        values |= {"uid": "evariste", "token": "placo_" + "x" * 43, "key_id": "999999"}
        if "drift_id" in pattern.pattern.converters:
            values |= {"drift_id": str(Drift.objects.get().pk)}
        values |= {"notice_id": str(self.notice.pk)}
        values |= {"request_id": str(self.waiting.pk), "run_id": str(self.run.pk)}
        query = "?project=optics" if name == "new-cost" else ""
        return reverse(f"web:{name}", kwargs={key: values[key] for key in pattern.pattern.converters}) + query

    def platform_ends(self) -> date | None:
        """Its end date as it stands."""
        return Platform.objects.get(pk=self.platform.pk).expires_on

    def client(self, role: str) -> Client:
        """Somebody's browser."""
        client, user = Client(raise_request_exception=False), self.users[role]
        if user is not None:
            client.force_login(user, backend="placo.web.auth.DirectoryBackend")
        return client


@pytest.fixture
def site(
    ready: Callable[..., Platform], world: World, optics: Project, emmy: User, sofia: User, admin: User
) -> Site:
    platform = ready()
    alan = factories.make_user("alan")
    for uid in ("alan", "evariste"):
        members.add_member(acting_user=emmy, slug="alpha", uid=uid)
        world.finish(Run.objects.latest("id").pk)
    world.edge.remove_site("alpha", str(platform.uuid))
    reconcile.reconcile()
    Drift.objects.filter(what="certificate").delete()
    soon = timezone.localdate() + timedelta(days=20)
    Platform.objects.filter(pk=platform.pk).update(expires_on=soon)
    [notice] = notices.write(platform, Notice.EXPIRING, ends_on=soon, removed_on=soon)
    waiting = factories.submit(emmy, slug="beta", services=["web"])
    users = {
        "nobody": None,
        "outsider": factories.make_user("otto"),
        "stranger": sofia,
        "member": alan,
        "owner": emmy,
        "admin": admin,
    }
    return Site(users, platform, waiting, Run.objects.get(platform=platform, kind="create"), notice)


def test_every_address_is_in_these_tables() -> None:
    assert {p.name for p in urlpatterns} == {*READ, *WRITE, *ELSEWHERE}


@pytest.mark.parametrize("role", ROLES)
def test_pages(site: Site, role: str) -> None:
    client = site.client(role)
    found = {name: client.get(site.address(name)).status_code for name in READ}
    assert found == {name: expected[role] for name, expected in READ.items()}


@pytest.mark.parametrize("name", sorted(WRITE))
def test_changes(site: Site, world: World, name: str) -> None:
    for role in ROLES:
        address = site.address(name)
        before = AuditEvent.objects.count()
        data = {
            "confirm": "alpha",
            "uid": "evariste" if name.endswith(("remove", "owner", "until")) else "ada",
            "mail": "marie@elsewhere.test",
            "until": "2099-12-31",
            "key": KEY,
            "shown": "Somebody",
            "new": "seven grey whales sing",
            "new_again": "seven grey whales sing",
            "comment": "Because.",
            "expires_on": "2099-12-31" if name == "platform-end" else str(site.platform_ends()),
        }
        if name == "operations-person-leave":
            data["confirm"] = "evariste"
        if name.endswith("rebuild"):
            world.images.versions["www"] = 1
            data |= {"confirm": "yes", "machines": "www"}
        if name in ("operations-host-lost", "operations-host-take-back"):
            data["confirm"] = "h1"
            lost = name.endswith("take-back")
            Host.objects.filter(name="h1").update(reachable=lost, lost_at=timezone.now() if lost else None)
        if name == "requests-approve":
            data["plan_hash"] = site.waiting.plan_hash
        answer = site.client(role).post(address, data)
        assert answer.status_code == WRITE[name][role], role
        if name != "logout" and WRITE[name][role] != DONE:
            assert AuditEvent.objects.count() == before, f"{role} changed something"
        if role == "nobody" and name != "logout":
            assert answer["Location"].startswith("/login/")
        if WRITE[name][role] == DONE and name != "logout" and role != "nobody":
            unaudited = ("platform-people-add", "notices-read", "notices-read-all")
            assert AuditEvent.objects.count() > before or name in unaudited
            if role == "owner":
                break  # an administrator could not do it a second time


@pytest.mark.parametrize("name", sorted(WRITE))
def test_changes_are_posted(site: Site, name: str) -> None:
    assert site.client("admin").get(site.address(name)).status_code == 405


def test_what_is_not_theirs_is_not_shown(site: Site) -> None:
    for role in ("outsider", "stranger"):
        page = site.client(role).get("/").content.decode()
        assert "alpha" not in page
        assert "beta" not in page
    page = site.client("member").get("/").content.decode()
    assert "https://alpha-web." in page
    assert "beta" not in page
    assert "/people/" not in page


def test_members_get_addresses_and_nothing_to_manage(site: Site) -> None:
    page = site.client("member").get("/platforms/alpha/").content.decode()
    addresses = [endpoint.url for endpoint in Platform.objects.get(slug="alpha").plan.endpoints]
    assert all(f'href="{address}"' in page for address in addresses)
    assert page.count('href="https://alpha-') == len(addresses)
    assert "/power/" not in page
    assert "10.77." not in page
    machine = site.client("member").get("/platforms/alpha/machines/www/").content.decode()
    assert "10.77." not in machine


@pytest.mark.parametrize(
    "path",
    [
        "/platforms/nothing/",
        "/platforms/alpha/machines/nothing/",
        "/runs/999999/",
        "/requests/999999/",
        "/nothing/",
    ],
)
def test_what_is_not_there(site: Site, path: str) -> None:
    answer = site.client("owner").get(path)
    assert answer.status_code == 404
    assert b"Not found" in answer.content


def test_pages_are_safe_by_their_headers(site: Site) -> None:
    for path in ("/", "/login/", "/platforms/alpha/", "/runs/999999/", "/nothing/"):
        answer = site.client("owner").get(path)
        assert answer["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'"
        )
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert answer["X-Frame-Options"] == "DENY"
        body = answer.content.decode()
        assert " style=" not in body
        assert "<style" not in body
        assert "<script>" not in body


def test_a_broken_page_is_explained_and_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**kwargs: object) -> None:
        raise RuntimeError("the disk said no")

    monkeypatch.setattr("placo.services.selectors.home", broken)
    answer = site.client("owner").get("/")
    assert answer.status_code == 500
    page = answer.content.decode()
    assert "Something broke" in page
    assert "the disk said no" not in page
    reference = answer.context["reference"]
    assert reference in page
    assert any(getattr(r, "reference", "") == reference and r.exc_info for r in caplog.records)


@pytest.mark.parametrize("role", ["member", "owner", "admin"])
def test_no_link_leads_nowhere(site: Site, role: str) -> None:
    client, seen, waiting = site.client(role), set[str](), ["/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = client.get(path, follow=True)
        assert answer.status_code == 200, path
        if "html" not in answer["Content-Type"]:
            continue
        found = re.findall(r'href="(/[^"#]*|\?[^"#]*)"', answer.content.decode())
        links = {urljoin(path, html.unescape(link)) for link in found if not link.startswith("/static/")}
        waiting += [link for link in links - seen - set(waiting) if link.count("=") < 2]
    assert "/platforms/alpha/" in seen
    assert ("/operations/audit/" in seen) == (role == "admin")
    assert ("/platforms/alpha/settings/" in seen) == (role != "member")
