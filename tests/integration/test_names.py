"""Names of platforms in the DNS, on fakes: they come, change and go with the platform; what drifts; what the doctor says."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from placo import wiring
from placo.domain.names import Record
from placo.platforms.models import Drift, JournalEntry, Machine, Platform, Project, Run, User
from placo.services import audit, changes, drift, engine, platforms, reconcile, requests, seeds
from placo.services.doctor import world as looks
from placo.services.names import names_of
from tests.factories import approve, ready_platform
from tests.fakes import World

WEB = Record("alpha-web.placo.localhost", "A", "10.77.0.1")
STRAY = Record("stray-web.placo.localhost", "A", "192.0.2.66")


@pytest.fixture
def alpha(ready: Callable[..., Platform]) -> Platform:
    return ready(services=["web"])


def test_names_come_and_go_with_the_platform(world: World, alpha: Platform, emmy: User) -> None:
    assert world.zone.written() == {WEB}
    assert ("names", "edge", "alpha") in {(f.kind, f.where, f.name) for f in audit.audit_platform(alpha)}
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    assert world.finish(run.pk).state == "done"
    alpha.refresh_from_db()
    assert world.zone.written() == set() and audit.audit_platform(alpha) == []


def test_names_change_with_the_services(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    def change(*services: str) -> Run:
        asked = changes.submit_change(
            acting_user=emmy, slug="alpha", justification="x", services=services, confirm="alpha"
        )
        return world.finish(requests.approve_request(acting_user=admin, request_id=asked.pk).pk)

    assert change("web", "webmail").state == "done"
    written = world.zone.written()
    assert Record("alpha.placo.localhost", "MX", "10 gateway.placo.internal.") in written
    assert Record("_dmarc.alpha.placo.localhost", "TXT", '"v=DMARC1; p=quarantine"') in written
    assert (
        Record("_imaps._tcp.alpha.placo.localhost", "SRV", "0 1 993 alpha-mail.placo.localhost.") in written
    )
    assert change("web").state == "done"
    assert world.zone.written() == {WEB}


def test_a_machine_signs_mail_with_the_key_that_the_dns_has(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = ready_platform(world, emmy, admin, services=["webmail"])
    machine = alpha.plan.machine("mail")
    found = {r.name: r.value for r in world.zone.written() if "_domainkey" in r.name}
    told = seeds.context(alpha.plan, machine)["keys"]
    assert found == {
        "placo._domainkey.alpha.placo.localhost": f'"v=DKIM1; k=rsa; p={told.rsa_public[:182]}" '
        f'"{told.rsa_public[182:382]}" "{told.rsa_public[382:]}"'
    }
    row = Machine.objects.get(uuid=machine.uuid)
    assert told.rsa.startswith("-----BEGIN PRIVATE KEY-----")
    assert row.sealed_key and told.rsa[28:60] not in row.sealed_key
    again = seeds.context(alpha.plan, machine)["keys"]
    assert again.rsa == told.rsa
    with CaptureQueriesContext(connection) as queries:
        reconcile.reconcile()
    assert not Drift.objects.exists()
    assert not any("sealed_key" in query["sql"] for query in queries), (
        "a private key is opened for nobody but its machine"
    )
    world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
    row.refresh_from_db()
    assert (row.sealed_key, row.public_key) == ("", "")


def test_lost_changed_and_left_names_are_drift_and_repaired(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    def found() -> set[tuple[str, str, str, str]]:
        reconcile.reconcile()
        return {(d.kind, d.what, d.where, d.name) for d in Drift.objects.all()}

    def repair(kind: str) -> None:
        row = Drift.objects.get(kind=kind)
        assert world.finish(drift.repair_drift(acting_user=admin, drift_id=row.pk).pk).state == "done"

    alpha_uuid = str(alpha.uuid)
    world.zone.remove_names("alpha", alpha_uuid)
    world.zone.ensure_names("stray", str(uuid.uuid4()), [STRAY])
    assert found() == {("missing", "names", "edge", "alpha"), ("extra", "names", "edge", "stray")}
    assert ("names", "stray") in {(f.kind, f.name) for f in audit.orphans()}
    repair("missing")
    assert found() == {("extra", "names", "edge", "stray")}
    assert world.zone.written() == {WEB, STRAY}

    wrong = replace(WEB, value="192.0.2.66")
    more = Record(WEB.name, "AAAA", "2001:db8::66")
    world.zone.ensure_names("alpha", alpha_uuid, [wrong, more])
    assert ("changed", "names", "edge", "alpha") in found()
    assert Drift.objects.get(kind="changed").detail == {
        f"{WEB.name} A": ["10.77.0.1", "192.0.2.66"],
        f"{WEB.name} AAAA": ["", "2001:db8::66"],
    }
    repair("changed")
    assert found() == {("extra", "names", "edge", "stray")}
    assert world.zone.written() == {WEB, STRAY}


def test_what_an_ended_platform_left_is_removed(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    world.finish(run.pk)
    world.zone.ensure_names("alpha", str(alpha.uuid), [WEB])
    reconcile.reconcile()
    row = Drift.objects.get()
    assert (row.kind, row.what) == ("extra", "names")
    assert world.finish(drift.repair_drift(acting_user=admin, drift_id=row.pk).pk).state == "done"
    assert world.zone.written() == set()


def test_a_name_that_somebody_has_ends_the_creation_and_nothing_is_left(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    world.zone.others.add(WEB.name)
    run = world.finish(approve(emmy, admin, services=["web"]).pk)
    assert run.state == "undone"
    assert JournalEntry.objects.filter(run=run, message__contains="in the zone already").exists()
    assert world.audit("alpha") == []


def test_a_server_that_is_away_is_waited_for(world: World, optics: Project, emmy: User, admin: User) -> None:
    world.zone.faults.unreachable = True
    run = approve(emmy, admin, services=["web"])
    for _round in range(30):
        engine.advance(run.pk)
        world.let_time_pass(run.pk)
    run.refresh_from_db()
    assert run.state == "running"
    world.zone.faults.unreachable = False
    world.let_time_pass(run.pk)
    assert world.finish(run.pk).state == "done"
    assert world.zone.written() == {WEB}


def test_a_site_whose_names_are_somebody_elses_task(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "zone", lambda: None)
    alpha = ready_platform(world, emmy, admin, services=["web"])
    reconcile.reconcile()
    assert world.zone.written() == set() and not Drift.objects.exists()
    (found,) = looks.look_at_zone()
    assert found.level.value == "ok"
    run = platforms.retire_platform(acting_user=emmy, slug=alpha.slug, confirm="alpha")
    assert world.finish(run.pk).state == "done"


def printed(*words: str) -> str:
    with io.StringIO() as out:
        call_command(*words, stdout=out)
        return out.getvalue()


def test_what_the_dns_has_to_have_can_be_printed_for_whoever_writes_it(
    world: World, optics: Project, emmy: User, admin: User, configured: Any
) -> None:
    ready_platform(world, emmy, admin, services=["webmail", "lists"])
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    lines = printed("names").splitlines()
    assert lines[0] == "; alpha" and "; beta" in lines
    written = {f"{r.name}. IN {r.type} {r.value}" for r in world.zone.written()}
    assert {line for line in lines if not line.startswith(";")} == written
    assert "beta-web.placo.localhost. IN A 10.77.0.1" in printed("names", "beta")
    configured(dns=None)
    there = printed("names", "alpha")
    assert "alpha.placo.localhost. IN MX 10 gateway.placo.internal." in there
    assert there.count("v=DKIM1") == 2 and " IN A " not in there
    with pytest.raises(CommandError, match="nobody"):
        printed("names", "nobody")


def test_every_platform_has_an_address_for_each_of_its_hosts(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    plan = ready_platform(world, emmy, admin, services=["web", "webmail", "chat"]).plan
    told = {record.name for record in names_of(plan) if record.type == "A"}
    assert told == {e.host for e in plan.endpoints if e.protocol != "smtp"}


@pytest.mark.parametrize(("there", "level"), [(True, "ok"), (False, "failure")])
def test_the_doctor_looks_at_the_zone(world: World, there: bool, level: str) -> None:
    world.zone.faults.unreachable = not there
    (found,) = looks.look_at_zone()
    assert (found.component, found.level.value) == ("names", level)
