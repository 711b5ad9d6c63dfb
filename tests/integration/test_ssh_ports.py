"""The ports of the edge that a platform has for ssh: frozen in its plan, its own, and told to its people."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from placo import wiring
from placo.platforms.models import Platform, Project, Request, User
from placo.services import changes, platforms, requests, seeds
from placo.services.errors import Conflict
from tests import factories
from tests.fakes import World
from tests.unit.test_archive import unpack

FIRST = 22000


def ports(platform: Platform) -> dict[str, int]:
    return {e.host.partition(".")[0]: e.edge_port for e in platform.plan.endpoints if e.edge_port is not None}


def served(world: World, slug: str) -> dict[int, tuple[str, int]]:
    """Port of the edge -> address and port of the machine."""
    site = world.edge.site(slug)
    assert site is not None
    return {r.edge_port: (r.address, r.port) for r in site.routes if r.edge_port is not None}


def change(world: World, user: User, admin: User, **wish: Any) -> None:
    request = changes.submit_change(**{"acting_user": user, "slug": "alpha", "justification": "more", **wish})
    run = world.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk)
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return factories.ready_platform(world, emmy, admin, services=["gateway", "server", "web"])


def test_a_platform_has_ports_of_its_own(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    assert alpha.subnet_index is not None
    first = FIRST + 4 * alpha.subnet_index
    assert ports(alpha) == {"alpha-gateway": first, "alpha-server": first + 1}
    address = {m.name: m.address for m in alpha.plan.machines}
    assert served(world, "alpha") == {first: (address["gateway"], 22), first + 1: (address["server"], 22)}
    other = factories.ready_platform(world, emmy, admin, slug="beta", services=["gateway"])
    assert set(ports(other).values()).isdisjoint(range(first, first + 4))
    assert all(m.state == "answering" for m in alpha.machines.all())


def test_what_stays_keeps_its_port(world: World, optics: Project, emmy: User, admin: User) -> None:
    alpha = factories.ready_platform(world, emmy, admin, services=["server"])
    [before] = ports(alpha).values()
    change(world, emmy, admin, services=["server", "gateway"])
    alpha.refresh_from_db()
    assert ports(alpha) == {"alpha-server": before, "alpha-gateway": before + 1}
    change(world, emmy, admin, services=["gateway"], confirm="alpha")
    alpha.refresh_from_db()
    assert ports(alpha) == {"alpha-gateway": before + 1}
    assert set(served(world, "alpha")) == {before + 1}


def test_a_site_that_changes_its_ports_leaves_those_that_there_are(
    world: World, alpha: Platform, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, site = ports(alpha), wiring.site()
    elsewhere = replace(site, edge=replace(site.edge, first_ssh_port=30000))
    monkeypatch.setattr(wiring, "site", lambda: elsewhere)
    change(world, emmy, admin, services=["gateway", "server", "web", "svn"])
    alpha.refresh_from_db()
    assert ports(alpha) == before


def test_ports_of_who_is_gone_are_free_again(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    before = ports(alpha)
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    world.finish(run.pk)
    assert world.edge.site("alpha") is None
    again = factories.ready_platform(world, emmy, admin, services=["gateway", "server"])
    assert ports(again) == before


def test_where_there_are_no_ports_nothing_is_promised(
    world: World, optics: Project, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = wiring.site()
    full = replace(site, edge=replace(site.edge, first_ssh_port=65532))
    monkeypatch.setattr(wiring, "site", lambda: full)
    factories.submit(emmy, slug="first", services=["web"])
    with pytest.raises(Conflict):
        factories.submit(emmy, services=["gateway"])
    assert not Request.objects.filter(platform__slug="alpha").exists()
    assert factories.submit(emmy, services=["web"]).plan.slug == "alpha", "what needs none is planned"


def test_people_are_told_the_command_and_the_servers_key(
    world: World, alpha: Platform, emmy: User, api: Any
) -> None:
    found = {(e["service"], e["protocol"]): e for e in api(emmy)("GET", "/platforms/alpha")["endpoints"]}
    gateway, server, web = found["gateway", "ssh"], found["server", "ssh"], found["web", "https"]
    domain, own = wiring.site().edge.domain, ports(alpha)
    port = own["alpha-gateway"]
    assert gateway["url"] == f"ssh://alpha-gateway.{domain}:{port}"
    assert gateway["command"] == f"ssh -p {port} emmy@alpha-gateway.{domain}"
    assert server["command"] == f"ssh -p {own['alpha-server']} root@alpha-server.{domain}"
    assert gateway["fingerprint"].startswith("SHA256:") and gateway["fingerprint"] != server["fingerprint"]
    assert (web["command"], web["fingerprint"]) == (None, None)
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    page = client.get("/platforms/alpha/").content.decode()
    for told in (gateway, server):
        assert f'data-copy="{told["command"]}"' in page and told["fingerprint"] in page


def test_the_key_of_the_archive_is_the_one_that_is_told(world: World, alpha: Platform) -> None:
    machine = alpha.plan.machine("gateway")
    public = unpack(seeds.archive(alpha.plan, machine))["root/etc/ssh/ssh_host_ed25519_key.pub"][1]
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=public, capture_output=True, check=True).stdout
    assert seeds.known_by(machine) in shown.decode()
