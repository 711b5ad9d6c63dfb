"""Machines of a stock image take the same steps; only their image, their seed and how they come up are others."""

from __future__ import annotations

import io
import tarfile
from datetime import timedelta

import pycdlib
import pytest
from django.utils import timezone

from placo import wiring
from placo.domain import saga
from placo.platforms.models import Platform, Project, Step, Template, User
from placo.services import changes, engine, requests, seeds
from placo.services.errors import Conflict
from tests import factories
from tests.fakes import World

STOCK = "stock-debian12-1f2e3d4c5b6a"


@pytest.fixture
def stock(world: World) -> World:
    """The world, in which the server is made of a stock image."""
    world.images.stock["server"] = STOCK
    return world


def made(world: World, emmy: User, admin: User) -> Platform:
    return factories.ready_platform(world, emmy, admin, services=["server", "web"])


def test_it_boots_from_its_own_disk_and_the_others_are_resumed(
    stock: World, optics: Project, emmy: User, admin: User
) -> None:
    stock.warm()
    alpha = made(stock, emmy, admin)
    rows = {row.name: row for row in alpha.machines.all()}
    server, www = rows["server"], rows["www"]
    assert (server.way, server.way_reason, www.way) == ("cold", Template.IMPOSSIBLE, "warm")
    assert "stock image" in server.way_detail

    host = stock.hosts[alpha.host.name]
    volumes = {name for name in host.inventory().volumes if name.startswith(STOCK)}
    assert volumes == {f"{STOCK}.qcow2"}, "no kernel beside it"
    assert host.backing(alpha.plan.machine("server").system_volume) == f"{STOCK}.qcow2"


def test_no_template_is_made_of_it_and_none_of_the_others_is_lost(
    stock: World, optics: Project, emmy: User
) -> None:
    for _turn in range(2):
        stock.warm()
        of_it = Template.objects.filter(image=STOCK)
        assert set(of_it.values_list("state", "key")) == {(Template.IMPOSSIBLE, "")}
        assert all("stock image" in row.reason for row in of_it)
        others = Template.objects.exclude(image=STOCK)
        assert set(others.values_list("state", flat=True)) == {Template.READY}
        assert others.count() == (len(wiring.catalogue().machines) - 1) * len(stock.hosts)
        assert all(
            host.template(row.name)
            for host in stock.hosts.values()
            for row in others.filter(host__name=host.name)
        )


def test_its_seed_brings_what_it_lacks(stock: World, optics: Project, emmy: User, admin: User) -> None:
    plan = made(stock, emmy, admin).plan
    found = {}
    for name in ("server", "www"):
        iso, content = pycdlib.PyCdlib(), io.BytesIO()
        iso.open_fp(io.BytesIO(seeds.seed(plan, plan.machine(name))))
        found[name] = {child.file_identifier() for child in iso.list_children(iso_path="/")}
        if name == "server":
            iso.get_file_from_iso_fp(content, rr_path="/guest.tar")
            content.seek(0)
            with tarfile.open(fileobj=content) as archive:
                assert "usr/lib/placo/build/00-ssh" in archive.getnames()
        iso.close()
    assert found["server"] - found["www"] == {b"GUEST.TAR;1"}


def test_its_data_volume_grows_without_an_agent(
    stock: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = made(stock, emmy, admin)
    server = alpha.plan.machine("server")
    host = stock.hosts[alpha.host.name]
    host.deaf_guests.add(server.uuid)
    wanted = {"server": {"data_volume_gib": server.data_volume_gib + 1}}
    request = changes.submit_change(acting_user=emmy, slug="alpha", justification="more", sizes=wanted)
    run = stock.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk)
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    alpha.refresh_from_db()
    assert alpha.plan.machine("server").data_volume_gib == server.data_volume_gib + 1


@pytest.mark.parametrize(("service", "waits"), [("server", True), ("web", False)])
def test_it_may_take_longer_to_answer(
    service: str, waits: bool, stock: World, optics: Project, emmy: User, admin: User
) -> None:
    stock.prober.answers[f"alpha-{service}.placo.localhost"] = 502
    run = factories.approve(emmy, admin, services=[service])
    health = run.steps.get(action="health")
    usual = timedelta(seconds=saga.policy("health").deadline)
    for late, state in ((1.5, "waiting" if waits else "failed"), (2.5, "failed")):
        for _turn in range(40):
            engine.advance(run.pk)
            stock.let_time_pass(run.pk)
            Step.objects.filter(pk=health.pk, started_at__isnull=False).update(
                started_at=timezone.now() - usual * late
            )
        health.refresh_from_db()
        assert health.state == state, health.error


@pytest.mark.parametrize(
    ("missing", "size", "words"),
    [
        (True, 0, "has not been imported on this site yet"),
        (False, (16 << 30) + 1, "does not fit on the system disk"),
    ],
)
def test_it_is_not_approved_without_its_image(
    missing: bool, size: int, words: str, stock: World, optics: Project, emmy: User, admin: User
) -> None:
    request = factories.submit(emmy, services=["server"])
    stock.images.unbuilt |= {"debian12"} if missing else set()
    stock.images.sizes[STOCK] = size
    with pytest.raises(Conflict, match=words) as refused:
        requests.approve_request(acting_user=admin, request_id=request.pk)
    assert STOCK in str(refused.value)
    stock.images.unbuilt.clear()
    stock.images.sizes.clear()
    assert stock.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk).state == "done"
