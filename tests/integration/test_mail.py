"""Mail of platforms on fakes: their domains at the gateway, the addresses that owners choose, what drifts, what the doctor says."""

from __future__ import annotations

import uuid

import pytest

from placo import wiring
from placo.drivers.archive import Identity, render_archive
from placo.drivers.ports import MailDomain, Unavailable
from placo.platforms.models import Drift, Platform, Project, Run, User
from placo.services import audit, changes, drift, gauges, platforms, reconcile, requests, seeds
from placo.services.doctor import world as looks
from placo.services.errors import DirectoryDown, InvalidInput
from tests.factories import ready_platform, submit
from tests.fakes import World

DOMAIN = "alpha.placo.localhost"


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return ready_platform(world, emmy, admin, services=["webmail"])


def test_mail_goes_to_the_platforms_machine_until_it_is_retired(
    world: World, alpha: Platform, emmy: User
) -> None:
    machine = alpha.plan.machine("mail")
    assert world.gateway.routed() == {DOMAIN: MailDomain(DOMAIN, machine.address, 25, machine.fqdn)}
    site = world.edge.site("alpha")
    assert site is not None and {route.protocol for route in site.routes} == {"https", "imaps", "submissions"}
    assert ("mail domain", "edge", "alpha") in {
        (f.kind, f.where, f.name) for f in audit.audit_platform(alpha)
    }
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    assert world.finish(run.pk).state == "done"
    alpha.refresh_from_db()
    assert world.gateway.routed() == {} and audit.audit_platform(alpha) == []


def test_a_platform_gets_mail_and_gives_it_up(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin, services=["web"])

    def change(*services: str) -> Run:
        asked = changes.submit_change(
            acting_user=emmy, slug="alpha", justification="x", services=services, confirm="alpha"
        )
        return world.finish(requests.approve_request(acting_user=admin, request_id=asked.pk).pk)

    assert world.gateway.routed() == {}
    assert change("web", "webmail").state == "done"
    assert set(world.gateway.routed()) == {DOMAIN}
    assert change("web").state == "done"
    assert world.gateway.routed() == {}


def test_lost_and_left_domains_are_drift_and_repaired(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    before = world.gateway.routed()
    world.gateway.remove_domains("alpha", str(alpha.uuid))
    stray = MailDomain("stray.placo.localhost", "10.77.16.30", 25, "mail.stray.placo.internal")
    world.gateway.ensure_domains("stray", str(uuid.uuid4()), [stray])
    reconcile.reconcile()
    assert {(d.kind, d.what, d.where, d.name) for d in Drift.objects.all()} == {
        ("missing", "mail", "edge", "alpha"),
        ("extra", "mail", "edge", "stray"),
    }
    assert ("mail domain", "stray") in {(f.kind, f.name) for f in audit.orphans()}
    row = Drift.objects.get(kind="missing")
    run = world.finish(drift.repair_drift(acting_user=admin, drift_id=row.pk).pk)
    assert run.state == "done"
    reconcile.reconcile()
    assert [d.name for d in Drift.objects.all()] == ["stray"]
    assert world.gateway.routed() == before | {stray.domain: stray}


def test_what_an_ended_platform_left_at_the_gateway_is_removed(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    domain = next(iter(world.gateway.routed().values()))
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    world.finish(run.pk)
    world.gateway.ensure_domains("alpha", str(alpha.uuid), [domain])
    reconcile.reconcile()
    row = Drift.objects.get()
    assert (row.kind, row.what) == ("extra", "mail")
    assert world.finish(drift.repair_drift(acting_user=admin, drift_id=row.pk).pk).state == "done"
    assert world.gateway.routed() == {}


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ("ada=emmy", "ada"),  # a colleague's own address
        ("contact=nobody-of-this-name", "nobody-of-this-name"),
        ("contact=emmy;chair=contact,*", "*"),
        ("a=b;b=a", "a > b > a"),
        ("postmaster=emmy", "postmaster"),
        ("contact=emmy\r\nBcc", "control"),
    ],
)
def test_addresses_that_cannot_be(
    aliases: str, words: str, world: World, optics: Project, emmy: User
) -> None:
    with pytest.raises(InvalidInput) as refused:
        submit(emmy, services=["webmail"], options={"webmail": {"aliases": aliases}})
    assert list(refused.value.errors) == ["options.webmail.aliases"]
    assert words in str(refused.value.errors)
    assert not Platform.objects.exists()


def test_addresses_are_not_taken_unseen(world: World, optics: Project, emmy: User) -> None:
    world.directory.faults.fail_next("people", Unavailable("down"))
    with pytest.raises(DirectoryDown):
        submit(emmy, services=["webmail"], options={"webmail": {"aliases": "contact=emmy"}})
    assert not Platform.objects.exists()


def test_a_site_without_gateway_has_no_mail(
    world: World, optics: Project, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "gateway", lambda: None)
    with pytest.raises(InvalidInput) as refused:
        submit(emmy, services=["webmail"])
    assert list(refused.value.errors) == ["services"]
    assert submit(emmy, services=["web"]).pk


def test_the_machine_is_told_the_addresses(world: World, optics: Project, emmy: User) -> None:
    options = {"webmail": {"aliases": "contact=emmy, ada; seminar=members", "quota_mib": 77}}
    plan = submit(emmy, services=["webmail"], options=options).plan
    context = seeds.context(plan, plan.machine("mail"))
    key = b"x"
    archive = render_archive(
        wiring.catalogue(), "mail", context, Identity(key, key, key, key, key, key)
    ).decode()
    assert f"contact@{DOMAIN} emmy@{DOMAIN} ada@{DOMAIN}\n" in archive
    assert f"seminar@{DOMAIN} members@{DOMAIN}\n" in archive
    assert f"postmaster@{DOMAIN} owners@{DOMAIN}\n" in archive
    assert "storage=77M" in archive
    gateway = wiring.site().gateway
    assert gateway is not None and f"relayhost = [{gateway.address}]:{gateway.port}\n" in archive


@pytest.mark.parametrize(
    ("waiting", "there", "level", "words"),
    [(0, True, "ok", "0 mails"), (1, True, "ok", "1 mail waits"), (501, True, "warning", "501 mails"),
     (None, True, "ok", "root"), (0, False, "failure", "does not greet")],
)  # fmt: skip
def test_the_doctor_looks_at_the_gateway(
    waiting: int | None, there: bool, level: str, words: str, world: World
) -> None:
    world.gateway.waiting, world.gateway.faults.unreachable = waiting, not there
    (found,) = looks.look_at_gateway()
    assert (found.component, found.level.value) == ("mail gateway", level)
    assert words in found.text + found.remedy


def test_the_queue_is_a_metric(world: World) -> None:
    world.gateway.waiting = 12
    (family,) = gauges._mail()
    assert (family.name, family.samples[0].value) == ("placo_mail_queue", 12)
    world.gateway.waiting = None
    assert list(gauges._mail()) == []
