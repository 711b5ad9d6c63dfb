"""Changing a living platform: asked for, decided about, done, undone; the plan, the books and the world say the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from placo.domain.quota import Cost
from placo.drivers.ports import DriverError, Power, Rejected
from placo.platforms.models import LedgerEntry, Platform, Project, Request, Run, User
from placo.services import audit, books, changes, decisions, engine, members, platforms, quota, requests
from placo.services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.factories import make_user, ready_platform
from tests.fakes import World

SLUG = "alpha"
BOTH = ["web", "svn"]


@pytest.fixture
def alpha(ready: Callable[..., Platform]) -> Platform:
    """A ready platform with a web site alone."""
    return ready(services=["web"])


def ask(user: User, **wish: Any) -> Request:
    return changes.submit_change(**{"acting_user": user, "slug": SLUG, "justification": "more", **wish})


def carry_out(world: World, request: Request, admin: User) -> Run:
    return world.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk)


def refused(field: str, user: User, **wish: Any) -> str:
    """The message at a field; nothing has changed."""
    before = list(LedgerEntry.objects.values())
    with pytest.raises(InvalidInput) as caught:
        ask(user, **wish)
    assert set(caught.value.errors) == {field}
    assert not Request.objects.filter(kind=Request.CHANGE).exists()
    assert list(LedgerEntry.objects.values()) == before
    return str(caught.value.errors[field][0])


def test_another_service_and_what_was_there_stays(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    before = alpha.plan
    request = ask(emmy, services=BOTH)
    assert quota.used(alpha.project) == request.plan.cost
    assert carry_out(world, request, admin).state == "done"

    alpha.refresh_from_db()
    assert alpha.state == "ready"
    assert alpha.plan == request.plan
    assert alpha.plan.machine("www") == before.machine("www")
    assert set(alpha.plan.services) == set(BOTH)
    assert len({m.address for m in alpha.plan.machines} | {alpha.plan.network.gateway}) == 3
    host = world.host_of(alpha)
    assert {d.name for d in host.inventory().domains} == {"placo-alpha-www", "placo-alpha-svn"}
    network = host.network(alpha.plan.network.name)
    assert network is not None
    assert {lease["hostname"] for lease in network["leases"]} == {"www", "svn"}
    assert {r.host for r in world.edge.served[SLUG].routes} == {e.host for e in alpha.plan.endpoints}
    assert {m.name: m.state for m in alpha.machines.all()} == {"www": "answering", "svn": "answering"}
    assert [row.committed for row in LedgerEntry.objects.all()] == [True]
    assert quota.used(alpha.project) == alpha.plan.cost
    assert books.check() == []


def test_one_service_less_takes_its_machine_and_data_after_a_confirmation(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = ready_platform(world, emmy, admin, services=BOTH)
    old = alpha.plan
    assert "svn" in refused("confirm", emmy, services=["web"])
    request = ask(emmy, services=["web"], confirm=SLUG)
    assert quota.used(alpha.project) == old.cost, "what is given back counts when it is gone"
    assert carry_out(world, request, admin).state == "done"

    alpha.refresh_from_db()
    assert [m.name for m in alpha.plan.machines] == ["www"] == [m.name for m in alpha.machines.all()]
    found = world.host_of(alpha).inventory()
    assert [d.name for d in found.domains] == ["placo-alpha-www"]
    assert not [v for v in found.volumes if v in old.machine("svn").volumes]
    assert not [dn for dn in world.directory.entries(SLUG) if dn.startswith("cn=svn,")]
    assert audit.orphans() == []
    assert quota.used(alpha.project) == alpha.plan.cost != old.cost

    assert carry_out(world, ask(emmy, services=BOTH), admin).state == "done", "it can come back"


def test_more_memory_and_a_larger_disk(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    www = alpha.plan.machine("www")
    request = ask(emmy, sizes={"www": {"memory_mib": 1024, "vcpus": 2, "data_volume_gib": 20}})
    difference = changes.what(request)
    assert (difference.resized, difference.grown, difference.added) == (("www",), ("www",), ())
    run = carry_out(world, request, admin)

    assert run.state == "done"
    host = world.host_of(alpha)
    definition = host.definition(www.uuid)
    assert (definition["memory_mib"], definition["vcpus"]) == (1024, 2)
    assert host.file_system(www.uuid) == 20 * 2**30
    assert run.journal.filter(event="done", step__name="stop:www").exists()
    assert quota.used(alpha.project) == alpha.plan.cost + Cost(
        vcpus=2 - www.vcpus, memory_mib=1024 - www.memory_mib, disk_gib=20 - www.data_volume_gib
    )


def test_a_larger_disk_alone_stops_nothing(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    run = carry_out(world, ask(emmy, sizes={"www": {"data_volume_gib": 20}}), admin)
    assert [step.name for step in run.steps.all()] == ["volume:www", "file-system:www"]


def test_a_later_end(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    end = timezone.localdate() + timedelta(days=300)
    run = carry_out(world, ask(emmy, expires_on=end.isoformat()), admin)
    alpha.refresh_from_db()
    assert (run.state, alpha.state, alpha.expires_on) == ("done", "ready", end)
    for wrong in ("tomorrow", "2030-13-01", "2001-01-01", timezone.localdate() + timedelta(days=366)):
        with pytest.raises(InvalidInput) as caught:
            ask(emmy, expires_on=wrong)
        assert set(caught.value.errors) == {"expires_on"}


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("services", {}),
        ("services", {"services": ["web"]}),
        ("services", {"services": ["nonsense"]}),
        ("services", {"services": []}),
        ("justification", {"justification": " ", "services": BOTH}),
        ("options.svn.nonsense", {"services": BOTH, "options": {"svn": {"nonsense": 1}}}),
        ("sizes.svn", {"sizes": {"svn": {"memory_mib": 1024}}}),
        ("sizes.www.colour", {"sizes": {"www": {"colour": 1}}}),
        ("sizes.www.memory_mib", {"sizes": {"www": {"memory_mib": 1000}}}),
        ("sizes.www.memory_mib", {"sizes": {"www": {"memory_mib": 64}}}),
        ("sizes.www.memory_mib", {"sizes": {"www": {"memory_mib": "much"}}}),
        ("sizes.www.memory_mib", {"sizes": {"www": {"memory_mib": True}}}),
        ("sizes.www.memory_mib", {"sizes": {"www": {"memory_mib": 10**12}}}),
        ("sizes.www.vcpus", {"sizes": {"www": {"vcpus": 0}}}),
        ("sizes.www.vcpus", {"sizes": {"www": {"vcpus": 65}}}),
        ("sizes.www.data_volume_gib", {"sizes": {"www": {"data_volume_gib": 1}}}),
    ],
)
def test_what_cannot_be_asked_for(
    field: str, wish: dict[str, Any], world: World, alpha: Platform, emmy: User
) -> None:
    assert refused(field, emmy, **wish)


def test_quota_is_a_limit_for_changes_too(world: World, alpha: Platform, emmy: User) -> None:
    Project.objects.filter(pk=alpha.project_id).update(quota_memory_mib=1000)
    assert "MiB of memory missing" in refused("services", emmy, sizes={"www": {"memory_mib": 1024}})


def test_one_change_at_a_time(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    first = ask(emmy, services=BOTH)
    with pytest.raises(Conflict):
        ask(emmy, sizes={"www": {"memory_mib": 1024}})
    requests.withdraw_request(acting_user=emmy, request_id=first.pk)
    assert quota.used(alpha.project) == alpha.plan.cost
    second = ask(emmy, sizes={"www": {"memory_mib": 1024}})
    requests.reject_request(acting_user=admin, request_id=second.pk, comment="no")
    assert quota.used(alpha.project) == alpha.plan.cost
    assert Platform.objects.get(slug=SLUG).state == "ready"


def test_only_a_ready_platform_is_changed(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    request = ask(emmy, services=BOTH)
    world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop").pk)
    with pytest.raises(Conflict):
        requests.approve_request(acting_user=admin, request_id=request.pk)
    requests.withdraw_request(acting_user=emmy, request_id=request.pk)
    with pytest.raises(Conflict):
        ask(emmy, services=BOTH)


def test_strangers_and_members_change_nothing(world: World, alpha: Platform, sofia: User, emmy: User) -> None:
    with pytest.raises(NotFound):
        ask(sofia, services=BOTH)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    with pytest.raises(Forbidden):
        ask(make_user("alan"), services=BOTH)
    with pytest.raises(Forbidden):
        requests.approve_request(acting_user=emmy, request_id=ask(emmy, services=BOTH).pk)


def test_a_plan_that_no_longer_fits_is_refused_and_made_anew(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, services=BOTH, sizes={"www": {"memory_mib": 1024}})
    world.images.versions["svn"] = 7
    with pytest.raises(Conflict) as caught:
        requests.approve_request(acting_user=admin, request_id=request.pk)
    assert "image of svn" in str(caught.value)
    old_hash = request.plan_hash
    requests.replan_request(acting_user=admin, request_id=request.pk)
    request.refresh_from_db()
    assert request.plan_hash != old_hash
    assert request.plan.machine("www").memory_mib == 1024
    assert carry_out(world, request, admin).state == "done"


def test_a_kept_machine_keeps_its_image(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    world.images.versions["www"] = 7
    assert carry_out(world, ask(emmy, services=BOTH), admin).state == "done"
    alpha.refresh_from_db()
    assert alpha.plan.machine("www").image == f"placo-www-{0:012x}"


def test_a_refusal_leaves_the_platform_as_it_was(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    before, things = alpha.plan, world.audit(SLUG)
    world.host_of(alpha).faults.fail_next("ensure_overlay", Rejected("never"))
    run = carry_out(world, ask(emmy, services=BOTH), admin)

    assert run.state == "undone"
    alpha.refresh_from_db()
    assert (alpha.state, alpha.plan) == ("ready", before)
    assert world.audit(SLUG) == things
    assert quota.used(alpha.project) == before.cost
    assert [m.name for m in alpha.machines.all()] == ["www"]


def test_a_change_under_way_is_called_off(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    before, things = alpha.plan, world.audit(SLUG)
    world.prober.faults.unreachable = True
    request = ask(emmy, services=BOTH, sizes={"www": {"memory_mib": 1024}})
    run = requests.approve_request(acting_user=admin, request_id=request.pk)
    engine.advance(run.pk)
    decisions.undo_run(acting_user=emmy, run_id=run.pk)
    world.prober.faults.clear()

    assert world.finish(run.pk).state == "undone"
    alpha.refresh_from_db()
    assert (alpha.state, alpha.plan) == ("ready", before)
    assert world.audit(SLUG) == things
    www = before.machine("www")
    assert world.host_of(alpha).definition(www.uuid)["memory_mib"] == www.memory_mib
    assert world.host_of(alpha).power(www.uuid) is Power.RUNNING


def test_what_is_removed_does_not_come_back(world: World, optics: Project, emmy: User, admin: User) -> None:
    alpha = ready_platform(world, emmy, admin, services=BOTH)
    world.host_of(alpha).faults.fail_next("remove_volume", DriverError("busy"), 99)
    run = carry_out(world, ask(emmy, services=["web"], confirm=SLUG), admin)
    assert run.state == "stuck"
    with pytest.raises(Conflict):
        decisions.undo_run(acting_user=emmy, run_id=run.pk)
    with pytest.raises(Conflict):
        decisions.skip_run(acting_user=admin, run_id=run.pk)
    world.host_of(alpha).faults.clear()
    decisions.retry_run(acting_user=emmy, run_id=run.pk)
    assert world.finish(run.pk).state == "done"
    assert quota.used(alpha.project) == Platform.objects.get(slug=SLUG).plan.cost


def test_a_change_that_waits_ends_with_its_platform(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, services=BOTH)
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    request.refresh_from_db()
    assert request.state == "withdrawn"
    assert not LedgerEntry.objects.exists()
