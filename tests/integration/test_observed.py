"""What machines do, as their hosts tell and as they answer: written down by each reconciliation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from placo.platforms.models import Machine, Platform, Project, User
from placo.services import reconcile
from tests.factories import ready_platform
from tests.fakes import World


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return ready_platform(world, emmy, admin)


def test_machines_are_as_their_host_says(world: World, alpha: Platform) -> None:
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    states = [("suspend_domain", "suspended"), ("kill_domain", "stopped"), ("start_domain", "answering")]
    for change, state in states:
        getattr(host, change)(www)
        reconcile.reconcile()
        assert Machine.objects.get(uuid=www).state == state
    assert Machine.objects.get(platform=alpha, name="svn").state == "answering"


def test_a_machine_that_runs_and_does_not_answer(world: World, alpha: Platform) -> None:
    www = alpha.plan.machine("www").uuid
    Machine.objects.filter(uuid=www).update(state="starting")
    world.prober.faults.unreachable = True
    reconcile.reconcile()
    assert Machine.objects.get(uuid=www).state == "starting"
    long_ago = timezone.now() - timedelta(minutes=10)
    Machine.objects.filter(uuid=www).update(seen_at=long_ago)
    reconcile.reconcile()
    assert Machine.objects.get(uuid=www).state == "silent"
    world.prober.faults.clear()
    reconcile.reconcile()
    assert Machine.objects.get(uuid=www).state == "answering"


def test_a_machine_that_answered_is_asked_again_after_a_while(world: World, alpha: Platform) -> None:
    www, long_ago = alpha.plan.machine("www").uuid, timezone.now() - timedelta(minutes=6)
    world.prober.asked.clear()
    reconcile.reconcile()
    assert world.prober.asked == []
    Machine.objects.filter(uuid=www).update(seen_at=long_ago)
    reconcile.reconcile()
    heard = Machine.objects.get(uuid=www)
    assert heard.state == "answering" and heard.seen_at is not None and heard.seen_at > long_ago
    assert len(world.prober.asked) == 1
    Machine.objects.filter(uuid=www).update(seen_at=long_ago)
    world.prober.faults.unreachable = True
    reconcile.reconcile()
    assert Machine.objects.get(uuid=www).state == "silent"
