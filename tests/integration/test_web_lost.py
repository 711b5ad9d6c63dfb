"""Lost hosts in the portal and the API: declared with care, shown wherever they matter, taken back."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.platforms.models import AuditEvent, Drift, Host, Platform, Project, Run, User
from placo.services import doctor, drift, outcomes, platforms, reconcile
from tests import factories
from tests.fakes import World


def browser(user: User, language: str = "en") -> Client:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    client.cookies["django_language"] = language
    return client


def page(user: User, path: str, language: str = "en") -> str:
    return browser(user, language).get(path).content.decode()


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    """A platform whose host, h1, does not answer."""
    platform = factories.ready_platform(world, emmy, admin)
    world.host_of(platform).faults.unreachable = True
    reconcile.reconcile()
    return platform


@pytest.fixture
def gone(world: World, alpha: Platform, emmy: User, admin: User, api: Any) -> FakeHypervisor:
    """It was declared lost, and alpha was retired."""
    api(admin)("POST", "/hosts/h1/lost", {"confirm": "h1"})
    world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
    return world.hosts["h1"]


def test_declaring_asks_for_the_name_and_says_what_is_lost(alpha: Platform, emmy: User, admin: User) -> None:
    assert "/operations/hosts/h1/" in page(admin, "/operations/hosts/")
    seen = page(admin, "/operations/hosts/h1/")
    assert "Declare this host lost" in seen
    assert "the machines and data of alpha (Optics)" in seen
    assert "Has not answered since" in seen
    assert "Declare this host lost" not in page(admin, "/operations/hosts/h2/"), "it answers"
    client = browser(admin)
    wrong = client.post("/operations/hosts/h1/lost/", {"confirm": "h2"})
    assert wrong.status_code == 422
    assert 'value="h2"' in wrong.content.decode()
    assert "Type the host&#x27;s name, h1, to confirm." in wrong.content.decode()
    assert not Host.objects.get(name="h1").lost
    answer = client.post("/operations/hosts/h2/lost/", {"confirm": "h2"})
    assert answer.status_code == 409
    assert "only one that does not can be declared lost" in answer.content.decode()
    answer = client.post("/operations/hosts/h1/lost/", {"confirm": " h1 "}, follow=True)
    assert "h1 is lost. What waited for it comes to an end now." in answer.content.decode()
    seen = page(admin, "/operations/hosts/h1/")
    assert "Declared lost" in seen
    assert "Ada Lovelace" in seen
    assert "Declare this host lost" not in seen
    assert "declared it lost" in page(admin, "/operations/audit/")


def test_its_platforms_are_shown_as_lost(alpha: Platform, emmy: User, admin: User, api: Any) -> None:
    assert api(emmy)("GET", "/platforms/alpha")["lost"] is False
    api(admin)("POST", "/hosts/h1/lost", {"confirm": "h1"})
    found = api(emmy)("GET", "/platforms/alpha")
    assert (found["state"], found["lost"], found["unknown"]) == ("ready", True, False)
    for path in ("/", "/platforms/alpha/"):
        assert "> host lost</span>" in page(emmy, path), path
    seen = page(emmy, "/platforms/alpha/")
    assert "the machines of this platform are gone, and their data with them" in seen
    assert "/power/" not in seen
    assert "/change/" not in seen
    settings = page(emmy, "/platforms/alpha/settings/")
    assert "Retire for good" in settings
    assert "/platforms/alpha/change/" not in settings
    assert "does not answer" not in page(admin, "/"), "that is known and decided"
    run = browser(emmy).post("/platforms/alpha/power/restart/")
    assert run.status_code == 409
    assert "The host h1 was declared lost" in run.content.decode()


def test_a_refused_step_is_told_in_words(
    world: World, alpha: Platform, emmy: User, admin: User, api: Any
) -> None:
    run = platforms.power_platform(acting_user=emmy, slug="alpha", action="restart")
    world.finish(run.pk)
    api(admin)("POST", "/hosts/h1/lost", {"confirm": "h1"})
    assert world.finish(run.pk).state == "stuck"
    seen = page(emmy, f"/runs/{run.pk}/", "fr")
    assert "son hyperviseur a été déclaré perdu" in seen
    assert "perdu avec son hyperviseur" in seen
    assert "Back to how it was" in page(emmy, f"/runs/{run.pk}/")


def test_what_is_kept_is_shown(
    gone: FakeHypervisor, alpha: Platform, emmy: User, admin: User, api: Any
) -> None:
    plan = alpha.plan
    run = Run.objects.get(kind="retire")
    for language, words in (("en", "is lost with that; all the rest is gone"), ("fr", "est perdu avec lui")):
        seen = page(emmy, f"/runs/{run.pk}/", language)
        assert words in seen
    assert "Nothing of it is left" not in page(emmy, f"/runs/{run.pk}/")
    given_up = run.journal.filter(event=outcomes.GIVEN_UP).count()
    assert 0 < given_up == page(emmy, f"/runs/{run.pk}/").count("<em>lost with its host</em>")
    for path in ("/operations/hosts/h1/", "/operations/drift/"):
        seen = page(admin, path)
        assert "Kept for what lost hosts may still have" in seen, path
        assert plan.network.subnet in seen
        assert plan.machine("www").mac in seen
    (host,) = [host for host in api(admin)("GET", "/hosts") if host["name"] == "h1"]
    assert (host["state"], host["lost_by"]) == ("lost", "ada")
    assert host["reserved"] == [
        {
            "platform": "alpha",
            "subnet": plan.network.subnet,
            "bridge": plan.network.bridge,
            "macs": [plan.network.mac, *(m.mac for m in plan.machines)],
        }
    ]
    answer = browser(emmy).get("/platforms/new/name/?slug=alpha").content.decode()
    assert "kept for what a former platform may have left on the lost host h1" in answer
    refused = api(emmy)("POST", "/requests", factories_wish(), status=422)
    assert "kept for" in refused["errors"][0]["message"]


def factories_wish() -> dict[str, Any]:
    return {
        "project": "optics",
        "slug": "alpha",
        "services": ["web"],
        "days": 90,
        "justification": "once more",
    }


def test_one_that_answers_again_is_told_cleared_and_taken_back(
    world: World, gone: FakeHypervisor, alpha: Platform, admin: User, api: Any
) -> None:
    gone.faults.clear()
    reconcile.reconcile()
    assert "The lost host h1 answers again" in page(admin, "/")
    seen = page(admin, "/operations/hosts/h1/")
    assert "things were left here" in seen
    assert "lost, answers again" in seen
    client = browser(admin)
    answer = client.post("/operations/hosts/h1/take-back/")
    assert answer.status_code == 409
    assert "were left there" in answer.content.decode()
    api(admin)("POST", "/hosts/h1/take-back", status=409)
    row = Drift.objects.filter(where="h1", kind="extra")[0]
    drift.repair_drift(acting_user=admin, drift_id=row.pk, confirm="alpha")
    assert world.finish(Run.objects.latest("id").pk).state == "done"
    reconcile.reconcile()
    assert "left here" not in page(admin, "/operations/hosts/h1/")
    answer = client.post("/operations/hosts/h1/take-back/", follow=True)
    assert "h1 is used again." in answer.content.decode()
    assert "Kept for what" not in page(admin, "/operations/drift/")
    assert AuditEvent.objects.filter(verb="host.taken-back", actor="ada").exists()
    assert "took it back into use" in page(admin, "/operations/audit/")


def test_the_api_is_for_administrators(alpha: Platform, emmy: User, admin: User, api: Any) -> None:
    for path, body in (("/hosts/h1/lost", {"confirm": "h1"}), ("/hosts/h1/take-back", None)):
        api(emmy)("POST", path, body, status=403)
        api(None)("POST", path, body, status=401)
    api(admin)("POST", "/hosts/h9/lost", {"confirm": "h9"}, status=404)
    api(admin)("POST", "/hosts/h1/lost", {"confirm": "h9"}, status=422)
    api(admin)("POST", "/hosts/h1/lost", {}, status=422)
    api(admin)("POST", "/hosts/h2/lost", {"confirm": "h2"}, status=409)
    assert not Host.objects.exclude(lost_at=None).exists()
    assert api(admin)("POST", "/hosts/h1/lost", {"confirm": "h1"})["state"] == "lost"
    api(admin)("POST", "/hosts/h1/take-back", status=409)


def test_in_french(gone: FakeHypervisor, admin: User) -> None:
    seen = page(admin, "/operations/hosts/h1/", "fr")
    for words in ("Déclaré perdu", "Gardé pour ce que des hyperviseurs perdus", "Rien n’y est placé"):
        assert words in seen
    for english in ("Declared", "Kept for", "Nothing is placed"):
        assert english not in seen
    assert "Déclarer cet hyperviseur perdu" not in seen
    gone.faults.clear()
    reconcile.reconcile()
    assert "Il répond de nouveau" in page(admin, "/operations/hosts/h1/", "fr")


def test_the_doctor_knows(world: World, alpha: Platform, emmy: User, admin: User, api: Any) -> None:
    from placo.services.doctor import world as looks

    host = Host.objects.get(name="h1")
    (found,) = looks.look_at_host(host)
    assert (found.level, "placo host lost h1" in found.remedy) == (doctor.Level.FAILURE, True)
    api(admin)("POST", "/hosts/h1/lost", {"confirm": "h1"})
    host.refresh_from_db()
    (found,) = looks.look_at_host(host)
    assert (found.level, "nothing waits for it" in found.text) == (doctor.Level.OK, True)
    world.hosts["h1"].faults.clear()
    (found,) = looks.look_at_host(host)
    assert (found.level, "placo host take-back h1" in found.remedy) == (doctor.Level.WARNING, True)
