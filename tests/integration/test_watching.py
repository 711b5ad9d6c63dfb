"""Listening to hosts: what machines do is written down within a second, and a comparison is asked for, once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from deploy.client import wait_for
from placo.drivers.ports import DomainEvent, Power
from placo.platforms.models import Machine, Platform, Project, User
from placo.services import heartbeat, observed, platforms, watching
from tests.factories import ready_platform
from tests.fakes import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    platform = ready_platform(world, emmy, admin)
    world.asked.clear()
    return platform


@pytest.fixture
def listening(world: World, alpha: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody listens to both hosts."""
    for name, value in (("SOON_S", 0.05), ("PAUSE_S", 0.1), ("CHECK_S", 0.02)):
        monkeypatch.setattr(watching, name, value)
    stop = threading.Event()

    def run() -> None:
        try:
            watching.Watcher().run(stop)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    soon(lambda: len(set(world.asked)) == 2, "the comparison of what was before")
    yield
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def soon(look: Callable[[], bool], what: str, seconds: float = 10) -> None:
    wait_for(lambda: look() or None, seconds, what, every_s=0.02)


def state_of(platform: Platform, name: str = "www") -> str:
    return Machine.objects.get(platform=platform, name=name).state


def test_states_follow_events(world: World, alpha: Platform, listening: None) -> None:
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    world.asked.clear()
    for change, state in (
        ("suspend_domain", "suspended"),
        ("start_domain", "starting"),
        ("kill_domain", "stopped"),
    ):
        getattr(host, change)(www)
        soon(lambda state=state: state_of(alpha) == state, state)  # type: ignore[misc]
    soon(lambda: alpha.host_id in world.asked, "a comparison")
    assert state_of(alpha, "svn") == "answering"
    host.remove_domain(www)
    world.asked.clear()
    soon(lambda: alpha.host_id in world.asked, "a comparison after a removal")


def test_a_host_that_comes_back_is_listened_to_again(world: World, alpha: Platform, listening: None) -> None:
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    world.asked.clear()
    host.faults.unreachable = True
    soon(lambda: alpha.host_id in world.asked, "a comparison when the connection broke")
    world.asked.clear()
    host.faults.clear()
    soon(lambda: alpha.host_id in world.asked, "a comparison when it was there again")
    host.suspend_domain(www)
    soon(lambda: state_of(alpha) == "suspended", "the event")


def test_a_host_that_is_away_does_not_deafen_to_the_others(
    world: World, alpha: Platform, emmy: User, admin: User, listening: None
) -> None:
    beta = ready_platform(world, emmy, admin, slug="beta")
    world.host_of(alpha).faults.unreachable = True
    world.host_of(beta).suspend_domain(beta.plan.machine("www").uuid)
    soon(lambda: state_of(beta) == "suspended", "the event of the other host")


def test_runs_know_better_what_their_machines_do(world: World, alpha: Platform, emmy: User) -> None:
    www = alpha.plan.machine("www").uuid
    platforms.power_platform(acting_user=emmy, slug="alpha", action="stop")
    assert not observed.note(www, Power.STOPPED)
    assert observed.in_flux(www)
    assert state_of(alpha) == "answering"
    assert not watching._news(DomainEvent(www, None))
    assert watching._news(DomainEvent("00000000-0000-4000-8000-000000000000", None))


def test_a_machine_that_answers_is_not_called_starting(world: World, alpha: Platform) -> None:
    assert not observed.note(alpha.plan.machine("www").uuid, Power.RUNNING)
    assert state_of(alpha) == "answering"


def test_it_says_that_it_listens_while_it_goes_round(
    world: World, alpha: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []
    monkeypatch.setattr(heartbeat, "beat", beats.append)
    monkeypatch.setattr(watching, "BEAT_S", 0.02)
    watcher, stop, hangs = watching.Watcher(), threading.Event(), threading.Event()
    monkeypatch.setattr(watcher, "handle", lambda _patience: hangs.wait(10))
    monkeypatch.setattr(watcher, "look_after_hosts", lambda: None)
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    try:
        soon(lambda: heartbeat.LISTENER in beats, "a beat")

        def silent() -> bool:
            before = len(beats)
            stop.wait(0.2)
            return len(beats) == before

        soon(silent, "silence of a listener that hangs")
    finally:
        stop.set()
        hangs.set()
        thread.join(10)
