"""A place that does not answer: its runs wait for as long as it takes, and go on as soon as it answers; nothing else notices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from placo.domain import places, saga
from placo.domain.places import Place
from placo.drivers.ports import DriverError, Unavailable
from placo.platforms.models import Host, Platform, Project, Run, Step, User
from placo.services import (
    books,
    decisions,
    engine,
    members,
    outcomes,
    platforms,
    reconcile,
    steps,
    waiting,
)
from placo.services.work import Answer, NotYet, Work
from tests.factories import approve, ready_platform
from tests.fakes import World

SLUG = "alpha"


def turns(world: World, run: Run, number: int) -> Run:
    """So many tries of everything that is due."""
    for _turn in range(number):
        engine.advance(run.pk)
        world.let_time_pass(run.pk)
    return Run.objects.get(pk=run.pk)


def earlier(seconds: float) -> None:
    """As if every place had been away for so much longer."""
    for step in Step.objects.filter(away_since__isnull=False):
        Step.objects.filter(pk=step.pk).update(away_since=step.away_since - timedelta(seconds=seconds))  # type: ignore[operator]
    for host in Host.objects.filter(silent_since__isnull=False):
        Host.objects.filter(pk=host.pk).update(silent_since=host.silent_since - timedelta(seconds=seconds))  # type: ignore[operator]


def away(world: World, place: str, yes: bool = True) -> None:
    faults = {"directory": world.directory.faults, "edge": world.edge.faults}.get(place)
    (faults or world.hosts[place].faults).unreachable = yes


def test_every_action_has_its_place() -> None:
    assert set(places.PLACES) == set(steps.ACTIONS)
    assert set(saga.POLICIES) <= set(places.PLACES)


def test_waits_grow_to_a_minute() -> None:
    assert [places.wait_s(waited) for waited in (0, 1, 2, 30, 59, 61, 1e6)] == [1, 1, 2, 30, 59, 60, 60]


@pytest.mark.parametrize("place", ["h1", "directory", "edge"])
def test_a_run_waits_without_end_and_goes_on_at_once(
    place: str,
    world: World,
    optics: Project,
    emmy: User,
    admin: User,
    django_capture_on_commit_callbacks: Any,
) -> None:
    run = approve(emmy, admin)
    away(world, place)
    for _hour in range(3):
        run = turns(world, run, 70)
        earlier(3600)
    assert run.state == "running"
    concerned = run.steps.filter(waits_for=place)
    assert concerned.exists()
    assert set(concerned.values_list("failures", "unheard")) == {(0, 0)}
    assert not run.journal.filter(event__in=["retry", "failed"]).exists()
    assert books.check() == []

    engine.advance(run.pk)
    waits = [step.not_before - timezone.now() for step in run.steps.filter(waits_for=place)]  # type: ignore[operator]
    assert all(timedelta(seconds=50) < wait <= timedelta(seconds=60) for wait in waits)
    assert engine.advance(run.pk) == 0, "no worker is held"
    away(world, place, yes=False)
    world.rings.clear()
    with django_capture_on_commit_callbacks(execute=True):
        reconcile.reconcile()
    assert (run.pk, 0) in world.rings
    assert engine.due_runs() == [run.pk]
    assert engine.advance(run.pk) > 0, "nobody waits for the rest of the minute"
    assert world.finish(run.pk).state == "done"
    assert not run.steps.exclude(waits_for="").exists()


def test_only_the_runs_of_that_place_are_rung_for(
    world: World, optics: Project, emmy: User, admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    first = approve(emmy, admin)
    second = approve(emmy, admin, slug="beta")
    hosts = {run.platform.host.name for run in (first, second)}
    assert hosts == {"h1", "h2"}
    for host in hosts:
        away(world, host)
    for run in (first, second):
        engine.advance(run.pk)
    reconcile.reconcile()
    away(world, first.platform.host.name, yes=False)
    world.rings.clear()
    with django_capture_on_commit_callbacks(execute=True):
        reconcile.reconcile()
    assert {pk for pk, _after in world.rings} == {first.pk}
    assert world.finish(first.pk).state == "done"
    assert Run.objects.get(pk=second.pk).state == "running"


def test_the_outage_is_made_known_by_the_first_step_that_meets_it(
    world: World, optics: Project, emmy: User, admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    run = approve(emmy, admin)
    away(world, "h1")
    world.asked.clear()
    with django_capture_on_commit_callbacks(execute=True):
        turns(world, run, 3)
    waiting_steps = run.steps.filter(waits_for="h1").count()
    assert world.asked == [run.platform.host_id] * waiting_steps, "once a step, not once a try"


def test_an_outage_takes_nothing_of_a_steps_patience(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is waited for has its whole time after an outage in the middle, and so has a guest that shuts down."""
    run = approve(emmy, admin)
    answers: list[Callable[[], Answer]] = []

    def health(work: Work) -> Answer:
        return answers[0]()

    def silent() -> Answer:
        raise Unavailable("h1 does not answer")

    monkeypatch.setitem(steps.ACTIONS, "health", (health, health))
    answers[:] = [lambda: NotYet(1, "booting")]
    turns(world, run, 2)
    answers[:] = [silent]
    turns(world, run, 2)
    earlier(7200)
    world.make_older(run.pk, 7200)
    answers[:] = [lambda: NotYet(1, "booting")]
    run = turns(world, run, 2)
    health_www = run.steps.get(name="health:www")
    assert (health_www.state, health_www.waits_for, run.state) == ("waiting", "", "running")


def test_a_step_that_alone_is_not_answered_gets_stuck_in_the_end(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host answers everybody but one step: to wait for ever would hide that."""
    monkeypatch.setattr(places, "UNHEARD_LIMIT", 3)
    run = approve(emmy, admin)
    world.hosts["h1"].faults.fail_next("ensure_network", Unavailable("the bridge hangs"), times=1000)
    for _time in range(3):
        engine.advance(run.pk)
        assert Run.objects.get(pk=run.pk).state == "running"
        world.let_time_pass(run.pk)
        engine.advance(run.pk)
        reconcile.reconcile()
    engine.advance(run.pk)
    stuck = run.steps.get(name="network")
    assert (stuck.state, stuck.waits_for) == ("failed", "")
    assert "h1 answers, but never to this step: the bridge hangs" in stuck.error
    world.hosts["h1"].faults.clear()
    decisions.retry_run(acting_user=emmy, run_id=run.pk)
    assert world.finish(run.pk).state == "done"


def test_a_fault_is_no_outage(world: World, optics: Project, emmy: User, admin: User) -> None:
    world.hosts["h1"].faults.fail_next("ensure_network", DriverError("no"), times=1000)
    assert world.finish(approve(emmy, admin).pk).state == "stuck"
    assert not Step.objects.exclude(waits_for="").exists()


def test_a_creation_that_waits_can_be_called_off(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    away(world, "h1")
    turns(world, run, 3)
    decisions.undo_run(acting_user=emmy, run_id=run.pk)
    run = turns(world, run, 70)
    assert run.state == "unwinding"
    assert waiting.waits_of(run.steps.all())[0].place == "h1"
    away(world, "h1", yes=False)
    assert world.finish(run.pk).state == "undone"
    assert world.audit(SLUG) == []


def test_a_membership_waits_for_the_directory(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    run = Run.objects.get(kind="member")
    away(world, "directory")
    assert turns(world, run, 70).state == "running"
    away(world, "directory", yes=False)
    assert world.finish(run.pk).state == "done"
    assert "alan" in world.directory.members(SLUG)


# --- seen ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(world: World, optics: Project, emmy: User, admin: User) -> Run:
    """A retirement that waits for its host since yesterday."""
    alpha = ready_platform(world, emmy, admin)
    away(world, alpha.host.name)
    reconcile.reconcile()
    run = platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)
    turns(world, run, 3)
    return run


def page(user: User, path: str, language: str = "en") -> str:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    client.cookies["django_language"] = language
    return client.get(path).content.decode()


def test_it_is_told_wherever_the_run_is_seen(held: Run, emmy: User, admin: User, api: Any) -> None:
    name = held.platform.host.name
    since = Host.objects.get(name=name).silent_since
    assert since is not None
    text = f"aits for host {name}, which has not answered since {timezone.localtime(since):%H:%M}"
    for user, path in (
        (emmy, f"/runs/{held.pk}/"),
        (emmy, f"/platforms/{SLUG}/activity/"),
        (emmy, "/"),
        (admin, "/operations/runs/"),
        (admin, f"/operations/hosts/{name}/"),
    ):
        assert text in page(user, path), path
    assert f"<em>waits for: {name}</em>" in page(emmy, f"/runs/{held.pk}/")
    assert "does not answer</em>" not in page(emmy, f"/runs/{held.pk}/"), "told once"
    assert f"/operations/hosts/{name}/" in page(admin, f"/runs/{held.pk}/")
    assert f"/operations/hosts/{name}/" not in page(emmy, f"/runs/{held.pk}/")
    assert "1 run waits for it" in page(admin, "/")
    found = api(emmy)("GET", f"/runs/{held.pk}")
    assert (found["state"], [wait["place"] for wait in found["waits"]]) == ("running", [name])
    assert text in found["waits"][0]["text"]
    (host,) = [host for host in api(admin)("GET", "/hosts") if host["name"] == name]
    assert (host["state"], host["waiting_runs"]) == ("unreachable", 1)
    assert host["silent_since"]


def test_it_is_told_in_french(held: Run, emmy: User) -> None:
    name = held.platform.host.name
    seen = page(emmy, f"/runs/{held.pk}/", "fr")
    assert f"ttend l’hyperviseur {name}, qui ne répond plus depuis" in seen


def test_an_outage_of_another_day_is_told_with_its_date(held: Run, emmy: User) -> None:
    earlier(86400 * 40)
    (wait,) = waiting.waits_of(held.steps.all())
    assert wait.since < timezone.now() - timedelta(days=39)
    with translation.override("en"):
        assert str(wait.since.year) in waiting.words(wait)


@pytest.mark.parametrize(("place", "word"), [("directory", "the directory"), ("edge", "the edge")])
def test_places_of_the_site_have_names(place: str, word: str) -> None:
    with translation.override("en"):
        assert waiting.words(waiting.Wait(place, timezone.now())).startswith(f"waits for {word}, which")


def test_runs_that_wait_are_counted_by_place(held: Run) -> None:
    name = held.platform.host.name
    other = ({"h1", "h2"} - {name}).pop()
    assert waiting.counted() == {name: 1, other: 0, "directory": 0, "edge": 0}


def test_what_has_ended_waits_for_nothing(world: World, held: Run) -> None:
    away(world, held.platform.host.name, yes=False)
    reconcile.reconcile()
    assert world.finish(held.pk).state == "done"
    assert waiting.waiting_runs() == []
    assert set(waiting.counted().values()) == {0}
    assert Host.objects.get(name=held.platform.host.name).silent_since is None


def test_the_journal_tells_an_outage_from_a_fault(held: Run) -> None:
    assert outcomes.AWAY in set(held.journal.values_list("event", flat=True))
    assert Platform.objects.get(slug=SLUG).unknown
    assert places.place_of("health") is Place.HOST
