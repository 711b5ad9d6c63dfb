"""Several workers and templates: bounded resuming, one maker a host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, connections

from placo.platforms.models import Host, Machine, Project, Template, User
from placo.services import cloning, engine, templates
from tests.factories import approve
from tests.fakes import World
from tests.integration.test_workers import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def other_session() -> Iterator[None]:
    """Whatever is locked inside is locked by somebody else than this thread."""
    answered, finished = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            for pk in Host.objects.values_list("pk", flat=True):
                for number in range(2):
                    cursor.execute("SELECT pg_advisory_lock(%s, %s)", [cloning._SLOTS, pk * 1000 + number])
            answered.set()
            finished.wait(timeout=60)
            cursor.execute("SELECT pg_advisory_unlock_all()")  # the session goes back to the pool
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert answered.wait(timeout=30)
    try:
        yield
    finally:
        finished.set()
        thread.join(timeout=30)


def test_a_host_resumes_so_many_at_once(world: World, optics: Project, emmy: User, admin: User) -> None:
    world.warm()
    Host.objects.update(resumes_at_once=2)
    run = approve(emmy, admin, services=["web"])
    host = world.host_of(run.platform)
    with other_session():
        for _round in range(3):
            engine.advance(run.pk)
            world.let_time_pass(run.pk)
        power = run.steps.get(name="power:www")
        assert (power.state, power.message) == ("waiting", "other machines are being resumed on this host")
        assert power.failures == 0
        assert host.live_xml(run.platform.plan.machine("www").uuid) is None

        Host.objects.update(resumes_at_once=3)  # there is a third place
        engine.advance(run.pk)
        assert run.steps.get(name="power:www").state == "done"

    assert world.finish(run.pk).state == "done"
    assert Machine.objects.get(platform=run.platform, name="www").way == "warm"


def test_a_place_is_free_again_whatever_happens(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    host = Host.objects.get(name="h1")
    for error in (KeyError("a fault"), SystemExit()):
        with pytest.raises(type(error)), cloning._slot(host) as free:
            assert free
            raise error
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)


def test_at_most_so_many_are_ever_inside(world: World, optics: Project) -> None:
    Host.objects.update(resumes_at_once=2)
    host, lock = Host.objects.get(name="h1"), threading.Lock()
    inside, most, taken = 0, 0, 0

    def worker() -> None:
        nonlocal inside, most, taken
        for _turn in range(40):
            with cloning._slot(host) as free:
                if not free:
                    continue
                with lock:
                    inside, taken = inside + 1, taken + 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    at_once(*[worker] * 4)
    assert 1 <= most <= 2
    assert taken >= 40


def test_places_of_hosts_are_their_own(world: World, optics: Project) -> None:
    Host.objects.update(resumes_at_once=1)
    first, second = Host.objects.order_by("pk")
    with cloning._slot(first) as one, cloning._slot(second) as two:
        assert (one, two) == (True, True)


def test_two_keepers_at_once_make_one(world: World, optics: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host.objects.get(name="h1")
    fake, inside, leave = world.hosts["h1"], threading.Event(), threading.Event()
    made: list[str] = []
    real = fake.ensure_template

    def slow(name: str, spec: object) -> None:
        made.append(name)
        inside.set()
        assert leave.wait(timeout=30)
        real(name, spec)  # type: ignore[arg-type]

    monkeypatch.setattr(fake, "ensure_template", slow)

    def second() -> None:
        assert inside.wait(timeout=30)
        templates.keep_templates(host.pk)  # returns at once
        assert len(made) == 1
        leave.set()

    at_once(lambda: templates.keep_templates(host.pk), second)
    assert len(made) == len(set(made)) == Template.objects.filter(host=host).count()
    assert set(Template.objects.filter(host=host).values_list("state", flat=True)) == {Template.READY}
