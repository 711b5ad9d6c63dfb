"""A lost host that answers again: what it still has is found, removed or goes on, and the host is taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.platforms.models import AuditEvent, Drift, Host, Platform, User
from placo.services import (
    books,
    drift,
    lost,
    platforms,
    reconcile,
    templates,
)
from placo.services.errors import Conflict
from tests import factories
from tests.factories import ready_platform
from tests.fakes import World
from tests.integration.losses import SLUG, cut_off, events, lose, retire, sound


@pytest.fixture
def alpha(ready: Callable[..., Platform]) -> Platform:
    return ready()


def answers_again(host: FakeHypervisor) -> None:
    host.faults.clear()
    reconcile.reconcile()


def test_what_was_left_there_is_found_removed_and_the_host_taken_back(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    host, name = lose(world, alpha, admin), alpha.host.name
    retire(world, emmy)
    with pytest.raises(Conflict, match="does not answer"):
        lost.take_back(acting_user=admin, host_name=name)
    host.faults.clear()
    Host.objects.filter(name=name).update(reachable=True)
    with pytest.raises(Conflict, match="has not been looked at"):
        lost.take_back(acting_user=admin, host_name=name)
    answers_again(host)
    row = Host.objects.get(name=name)
    assert (row.state, row.reachable) == ("returned", True)
    found = Drift.objects.filter(where=name)
    assert set(found.values_list("kind", flat=True)) == {"extra"}
    assert set(found.values_list("what", flat=True)) == {"domain", "volume", "network"}
    assert {d.platform_id for d in found} == {alpha.pk}
    with pytest.raises(Conflict, match="left there"):
        lost.take_back(acting_user=admin, host_name=name)
    assert factories.submit(emmy, slug="gamma").platform.host.name != name, "it is not used by itself"

    run = drift.repair_drift(acting_user=admin, drift_id=found[0].pk, confirm=SLUG)
    with pytest.raises(Conflict, match="under way"):
        lost.take_back(acting_user=admin, host_name=name)
    assert world.finish(run.pk).state == "done"
    assert "given up" not in events(run)
    assert host.inventory().domains == ()
    reconcile.reconcile()
    assert Platform.objects.get(pk=alpha.pk).subnet_index is not None, "kept for as long as it is lost"
    lost.take_back(acting_user=admin, host_name=name)
    lost.take_back(acting_user=admin, host_name=name)
    (event,) = AuditEvent.objects.filter(verb="host.taken-back")
    assert (event.actor, event.detail) == ("ada", {"freed": [SLUG]})
    after = Platform.objects.get(pk=alpha.pk)
    assert (after.subnet_index, after.left_on) == (None, None)
    assert world.audit(SLUG) == []
    assert ready_platform(world, emmy, admin).state == "ready"
    sound()


def test_platforms_that_still_live_there_go_on(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    host = lose(world, alpha, admin)
    assert Platform.objects.get(pk=alpha.pk).lost
    answers_again(host)
    assert not Drift.objects.filter(where=alpha.host.name).exists()
    lost.take_back(acting_user=admin, host_name=alpha.host.name)
    platform = Platform.objects.get(pk=alpha.pk)
    assert (platform.state, platform.lost, platform.unknown) == ("ready", False, False)
    run = platforms.power_platform(acting_user=emmy, slug=SLUG, action="restart")
    assert world.finish(run.pk).state == "done"
    sound()


def test_a_lost_host_that_answers_is_touched_by_nothing_but_a_clearing(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    host = lose(world, alpha, admin)
    answers_again(host)
    before = host.inventory()
    run = retire(world, emmy)
    assert (run.state, "given up" in events(run)) == ("done", True)
    assert host.inventory() == before
    assert alpha.host_id not in templates.hosts_with_templates()
    templates.keep_templates(alpha.host_id)
    assert host.inventory().volumes == before.volumes


def test_what_is_accepted_is_not_in_the_way(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    host = lose(world, alpha, admin)
    retire(world, emmy)
    answers_again(host)
    for row in Drift.objects.filter(where=alpha.host.name):
        drift.accept_drift(acting_user=admin, drift_id=row.pk)
    assert not lost.take_back(acting_user=admin, host_name=alpha.host.name).lost
    assert [wrong.code for wrong in books.check()] == []


def test_clearing_is_refused_while_it_is_silent(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    host = lose(world, alpha, admin)
    retire(world, emmy)
    answers_again(host)
    row = Drift.objects.filter(where=alpha.host.name)[0]
    cut_off(world, alpha)
    with pytest.raises(Conflict, match="declared lost"):
        drift.repair_drift(acting_user=admin, drift_id=row.pk, confirm=SLUG)


def test_the_books_notice_what_is_kept_for_no_lost_host(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    lose(world, alpha, admin)
    retire(world, emmy)
    sound()
    Host.objects.update(lost_at=None)
    assert [(wrong.code, wrong.subject) for wrong in books.check()] == [("subnet", SLUG)]
