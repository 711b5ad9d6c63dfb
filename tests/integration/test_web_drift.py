"""Drift in the portal, the API and the command: seen, accepted, repaired; platforms of hosts that do not answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from placo.platforms.models import Drift, Platform, Project, Run, User
from placo.services import platforms, reconcile
from tests.factories import ready_platform
from tests.fakes import World

PAGE = "/operations/drift/"


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return ready_platform(world, emmy, admin)


def pause(world: World, alpha: Platform) -> Drift:
    """One piece of drift: www is paused."""
    world.host_of(alpha).suspend_domain(alpha.plan.machine("www").uuid)
    reconcile.reconcile()
    return Drift.objects.get()


def test_nothing_to_see(world: World, alpha: Platform, admin: User) -> None:
    assert "Everything is as it should be" in browser(admin).get(PAGE).content.decode()
    assert "not as it should be" not in browser(admin).get("/").content.decode()


def test_told_at_home_and_in_operations_until_accepted(world: World, alpha: Platform, admin: User) -> None:
    row, client = pause(world, alpha), browser(admin)
    assert "1 thing is not as it should be" in client.get("/").content.decode()
    assert PAGE in client.get("/").content.decode()
    page = client.get("/operations/hosts/").content.decode()
    assert "1<span" in page.replace("\n", "").partition(PAGE)[2][:600]
    page = client.get(PAGE).content.decode()
    assert row.name in page
    assert "state: running expected, paused found" in page

    client.post(reverse("web:operations-drift-accept", args=[row.pk]))
    assert "not as it should be" not in client.get("/").content.decode()
    assert "accepted by Ada Lovelace" in client.get(PAGE).content.decode()


def test_filters(world: World, alpha: Platform, admin: User) -> None:
    row, client = pause(world, alpha), browser(admin)
    world.edge.remove_site("alpha", alpha.plan.uuid)
    reconcile.reconcile()
    for query, there in (
        ("kind=paused", True),
        (f"where={row.where}", True),
        ("where=edge", False),
        ("q=www", True),
    ):
        assert (row.name in client.get(f"{PAGE}?{query}").content.decode()) is there, query
    assert "Nothing like that" in client.get(f"{PAGE}?kind=extra").content.decode()


def test_a_repair_leads_to_its_run(world: World, alpha: Platform, admin: User) -> None:
    row, client = pause(world, alpha), browser(admin)
    answer = client.post(reverse("web:operations-drift-repair", args=[row.pk]))
    run = Run.objects.latest("id")
    assert answer["Location"] == f"/runs/{run.pk}/"
    assert "Repairing alpha" in client.get(f"/runs/{run.pk}/").content.decode()
    again = client.post(reverse("web:operations-drift-repair", args=[row.pk]))
    assert again.status_code == 409
    assert "Another run is under way" in again.content.decode()
    world.finish(run.pk)
    assert "alpha has been repaired" in client.get(f"/runs/{run.pk}/").content.decode()
    reconcile.reconcile()
    assert "Everything is as it should be" in client.get(PAGE).content.decode()


def test_a_stuck_repair_can_be_given_up(world: World, alpha: Platform, admin: User) -> None:
    row, client = pause(world, alpha), browser(admin)
    world.host_of(alpha).faults.fail_next("start_domain", reconcile_error(), times=20)
    client.post(reverse("web:operations-drift-repair", args=[row.pk]))
    run = world.finish(Run.objects.latest("id").pk)
    assert run.state == "stuck"
    assert "Give up the repair" in client.get(f"/runs/{run.pk}/").content.decode()
    client.post(reverse("web:run-decide", args=[run.pk, "undo"]))
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "the repair was given up" in page
    assert "quota is free" not in page


def reconcile_error() -> Exception:
    from placo.drivers.ports import DriverError

    return DriverError("no")


def test_removing_what_was_left_asks_for_the_name(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
    volume = alpha.plan.machine("www").data_volume
    world.host_of(alpha).ensure_volume(volume, 1)
    reconcile.reconcile()
    client, address = browser(admin), reverse("web:operations-drift-repair", args=[Drift.objects.get().pk])
    answer = client.post(address, {"confirm": "beta"})
    assert answer.status_code == 422
    assert 'value="beta"' in answer.content.decode()
    assert volume in world.host_of(alpha).inventory().volumes
    assert client.post(address, {"confirm": "alpha"}).status_code == 302
    world.finish(Run.objects.latest("id").pk)
    assert volume not in world.host_of(alpha).inventory().volumes


def test_platforms_of_a_host_that_does_not_answer_are_unknown(
    world: World, alpha: Platform, emmy: User, admin: User, api: Any
) -> None:
    owner = browser(emmy)
    assert api(emmy)("GET", "/platforms/alpha")["unknown"] is False
    world.host_of(alpha).faults.unreachable = True
    reconcile.reconcile()
    for path in ("/", "/platforms/alpha/"):
        page = owner.get(path).content.decode()
        assert "> unknown</span>" in page, path
    assert "The host" in owner.get("/platforms/alpha/").content.decode()
    found = api(emmy)("GET", "/platforms/alpha")
    assert (found["state"], found["unknown"]) == ("ready", True)
    assert api(emmy)("GET", "/platforms")[0]["unknown"] is True
    home = browser(admin).get("/").content.decode()
    assert "does not answer" in home
    assert "not as it should be" not in home, "told once: the host has a line of its own"


def test_the_api(world: World, alpha: Platform, emmy: User, admin: User, api: Any) -> None:
    row, call = pause(world, alpha), api(admin)
    (found,) = call("GET", f"/drift?where={row.where}&kind=paused&accepted=false")
    assert found["platform"] == "alpha"
    assert found["detail"]["power"] == ["running", "paused"]
    assert (found["remedy"], found["repairable"], found["accepted_by"]) == ("mend", True, None)
    assert call("GET", "/drift?kind=missing") == []
    assert call("POST", f"/drift/{row.pk}/accept")["accepted_by"] == "ada"
    run_id = call("POST", f"/drift/{row.pk}/repair", status=202)["run_id"]
    assert world.finish(run_id).state == "done"
    call("POST", "/drift/999999/repair", status=404)
    for method, path in (
        ("GET", "/drift"),
        ("POST", f"/drift/{row.pk}/accept"),
        ("POST", f"/drift/{row.pk}/repair"),
    ):
        api(emmy)(method, path, status=403)
        api(None)(method, path, status=401)
