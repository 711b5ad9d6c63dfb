"""Ledger = journal = world as one answer: by `manage.py books`, the doctor and a metric."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from placo.domain.drift import DriftKind
from placo.platforms.models import Drift, LedgerEntry, Project, Run, User
from placo.services import agreement, books, reconcile
from placo.services.agreement import Part
from tests.factories import approve, ready_platform
from tests.fakes import World

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> tuple[int, str]:
    """The exit status and the words of the command."""
    out = StringIO()
    try:
        call_command("books", stdout=out)
    except SystemExit as over:
        return int(over.code or 0), out.getvalue()
    return 0, out.getvalue()


def parts() -> set[Part]:
    return {agreement.part_of(wrong.code) for wrong in agreement.look()}


def test_a_sound_site_agrees_while_it_works_too(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    assert told() == (0, "ledger, journal, plans and world agree\n")
    approve(emmy, admin, slug="beta")
    status, words = told()
    assert (status, "1 platforms that a run is at were not compared" in words) == (0, True)


def test_every_part_is_compared(world: World, optics: Project, emmy: User, admin: User) -> None:
    alpha = ready_platform(world, emmy, admin)
    host, www = world.host_of(alpha), alpha.plan.machine("www")

    LedgerEntry.objects.update(vcpus=9)
    assert parts() == {Part.LEDGER}
    alpha.ledger.update(vcpus=alpha.plan.cost.vcpus)
    Run.objects.update(state="running", ended_at=None)
    assert Part.JOURNAL in parts()
    Run.objects.update(state="done", ended_at=timezone.now(), due_at=None)
    assert parts() == set()

    host.kill_domain(www.uuid)
    status, words = told()
    assert (status, parts()) == (1, {Part.WORLD})
    assert f"world    {alpha.host.name}: {www.domain}" in words
    host.start_domain(www.uuid)
    assert parts() == set()
    world.directory.remove_platform(alpha.slug, str(alpha.uuid))
    assert parts() == {Part.WORLD}


def test_a_place_that_does_not_answer_is_not_called_right(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = ready_platform(world, emmy, admin)
    world.host_of(alpha).faults.unreachable = True
    assert parts() == {Part.UNSEEN}
    assert told()[0] == 1


def test_what_was_accepted_is_no_difference_until_it_changes(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = ready_platform(world, emmy, admin)
    host, www = world.host_of(alpha), alpha.plan.machine("www")
    host.suspend_domain(www.uuid)
    reconcile.reconcile()
    counted = agreement.counted(books.check())
    assert (counted[Part.WORLD], sum(counted.values())) == (1, 1)
    Drift.objects.update(accepted_at=timezone.now(), accepted_by=admin)
    assert (sum(agreement.counted(books.check()).values()), parts()) == (0, set())
    host.kill_domain(www.uuid)
    assert parts() == {Part.WORLD}
    assert Drift.objects.get().kind == DriftKind.PAUSED


def test_every_code_of_the_books_is_of_a_part() -> None:
    assert {agreement.part_of(code) for code in books.CODES} == {Part.LEDGER, Part.JOURNAL, Part.PLANS}
