"""The edge's contract, on every kind of edge."""

from __future__ import annotations

import pytest

from deploy.rehearsal.process import free_port
from placo.drivers.ports import EdgeRoute, EdgeStatus, Rejected
from tests.contract.at_once import at_once
from tests.contract.edges import (
    MAIL,
    OTHER,
    OTHER_MAIL,
    OTHER_SSH,
    SSH,
    SVN,
    WEB,
    A,
    B,
    EdgeWorld,
    pair,
    route,
    serve,
    ssh,
    stream,
)

pytest_plugins = ("tests.contract.edges",)


def test_a_site_serves_its_names_as_soon_as_it_is_made(edge_world: EdgeWorld) -> None:
    assert not edge_world.serves(WEB)
    issued = serve(edge_world, WEB, SVN)
    assert edge_world.serves(WEB) and edge_world.serves(SVN) and not edge_world.serves(OTHER)
    assert edge_world.edge.sites() == {"alpha": A}
    assert edge_world.edge.certificate("alpha") == issued.certificate
    assert edge_world.edge.certificates() == ["alpha"]


def test_a_site_changes_and_goes(edge_world: EdgeWorld) -> None:
    serve(edge_world, WEB, SVN)
    renewed = serve(edge_world, WEB)
    assert edge_world.serves(WEB) and not edge_world.serves(SVN)
    assert edge_world.edge.certificate("alpha") == renewed.certificate
    for _ in range(2):
        edge_world.edge.remove_site("alpha", A)
        assert not edge_world.serves(WEB)
        assert edge_world.edge.sites() == {} and edge_world.edge.certificates() == []
        assert edge_world.edge.certificate("alpha") is None


def test_another_platforms_site_is_refused_and_untouched(edge_world: EdgeWorld) -> None:
    issued = serve(edge_world, WEB)
    with pytest.raises(Rejected):
        serve(edge_world, WEB, SVN, uuid=B)
    edge_world.edge.remove_site("alpha", B)
    assert edge_world.serves(WEB) and edge_world.edge.certificate("alpha") == issued.certificate


def test_a_name_that_another_site_serves_is_refused(edge_world: EdgeWorld) -> None:
    serve(edge_world, WEB)
    with pytest.raises(Rejected):
        serve(edge_world, OTHER, WEB, slug="beta", uuid=B)
    assert edge_world.edge.sites() == {"alpha": A}
    assert edge_world.serves(WEB) and not edge_world.serves(OTHER)


def test_a_site_may_have_no_route_yet(edge_world: EdgeWorld) -> None:
    issued = pair(WEB)
    edge_world.edge.ensure_site("alpha", A, [], issued.certificate, issued.key)
    assert edge_world.edge.sites() == {"alpha": A} and not edge_world.serves(WEB)


def test_one_name_has_several_protocols_which_come_and_go(edge_world: EdgeWorld) -> None:
    issued, port = pair(MAIL), edge_world.greeter_port

    def ensure(*routes: EdgeRoute) -> None:
        edge_world.edge.ensure_site("alpha", A, routes, issued.certificate, issued.key)

    ensure(route(edge_world.port, MAIL), stream(port), stream(port, "submissions"))
    assert edge_world.serves(MAIL)
    assert edge_world.routes(MAIL, "imaps") and edge_world.routes(MAIL, "submissions")
    assert not edge_world.routes(MAIL, "xmpps") and not edge_world.routes(OTHER_MAIL, "imaps")
    ensure(stream(port, "submissions"))
    assert edge_world.routes(MAIL, "submissions")
    assert not edge_world.routes(MAIL, "imaps") and not edge_world.serves(MAIL)
    edge_world.edge.remove_site("alpha", A)
    assert not edge_world.routes(MAIL, "submissions")


def test_platforms_share_the_port_of_a_protocol(edge_world: EdgeWorld) -> None:
    port = edge_world.greeter_port
    for slug, uuid, host in (("alpha", A, MAIL), ("beta", B, OTHER_MAIL)):
        issued = pair(host)
        edge_world.edge.ensure_site(slug, uuid, [stream(port, host=host)], issued.certificate, issued.key)
    assert edge_world.routes(MAIL, "imaps") and edge_world.routes(OTHER_MAIL, "imaps")
    edge_world.edge.remove_site("alpha", A)
    assert not edge_world.routes(MAIL, "imaps") and edge_world.routes(OTHER_MAIL, "imaps")


def test_a_stream_of_a_name_that_another_site_has_is_refused(edge_world: EdgeWorld) -> None:
    issued, port = pair(MAIL), edge_world.greeter_port
    edge_world.edge.ensure_site("alpha", A, [stream(port)], issued.certificate, issued.key)
    with pytest.raises(Rejected):
        edge_world.edge.ensure_site("beta", B, [stream(port)], issued.certificate, issued.key)
    assert edge_world.edge.sites() == {"alpha": A} and edge_world.routes(MAIL, "imaps")


def test_ports_of_a_platforms_own_come_and_go(edge_world: EdgeWorld) -> None:
    issued, port, (first, second) = pair(SSH, WEB), edge_world.plain_port, (free_port(), free_port())

    def ensure(*routes: EdgeRoute) -> None:
        edge_world.edge.ensure_site("alpha", A, routes, issued.certificate, issued.key)

    ensure(ssh(port, first), route(edge_world.port, WEB))
    assert edge_world.passes(first) and not edge_world.passes(second) and edge_world.serves(WEB)
    ensure(ssh(port, first), ssh(port, second, OTHER_SSH))
    assert edge_world.passes(first) and edge_world.passes(second)
    ensure(ssh(port, second))
    assert edge_world.passes(second) and not edge_world.passes(first)
    edge_world.edge.remove_site("alpha", A)
    assert not edge_world.passes(second)


def test_a_port_that_another_site_has_is_refused(edge_world: EdgeWorld) -> None:
    issued, port, taken = pair(SSH), edge_world.plain_port, free_port()
    edge_world.edge.ensure_site("alpha", A, [ssh(port, taken)], issued.certificate, issued.key)
    other = pair(OTHER_SSH)
    with pytest.raises(Rejected):
        edge_world.edge.ensure_site("beta", B, [ssh(port, taken, OTHER_SSH)], other.certificate, other.key)
    assert edge_world.edge.sites() == {"alpha": A} and edge_world.passes(taken)


INJECTED = "x; } server { listen 127.0.0.1:1; "


@pytest.mark.parametrize(
    ("slug", "uuid", "bad"),
    [
        ("../alpha", A, route(443)),
        ("alpha.conf", A, route(443)),
        ("Alpha", A, route(443)),
        ("", A, route(443)),
        ("alpha\n", A, route(443)),
        ("alpha", "no uuid\ninclude /etc/passwd;", route(443)),
        ("alpha", A, route(443, host=INJECTED)),
        ("alpha", A, route(443, host="*.placo.localhost")),
        ("alpha", A, route(443, host="~^.*$")),
        ("alpha", A, route(443, host="$host")),
        ("alpha", A, route(443, host="")),
        ("alpha", A, route(443, host=f"{WEB}\n")),
        ("alpha", A, route(443, address="unix:/run/docker.sock")),
        ("alpha", A, route(443, address="machine.test")),
        ("alpha", A, route(443, address=INJECTED)),
        ("alpha", A, route(443, address="fe80::1%lo; }")),
        ("alpha", A, route(443, name=INJECTED)),
        ("alpha", A, stream(443, 'imaps:x" "127.0.0.1:1')),
        ("alpha", A, stream(443, "smtp")),
        ("alpha", A, stream(443, host=INJECTED)),
        ("alpha", A, ssh(22, None)),
        ("alpha", A, ssh(22, 443)),
        ("alpha", A, ssh(22, 65536)),
        ("alpha", A, ssh(22, "22000; } server { listen 1")),  # type: ignore[arg-type]
        ("alpha", A, EdgeRoute(WEB, "127.0.0.1", 443, "www.alpha.placo.internal", "https", 22000)),
        ("alpha", A, route(443, name="")),
        ("alpha", A, route(0)),
        ("alpha", A, route(65536)),
        ("alpha", A, route("443; include /etc/passwd")),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_could_mean_more_is_refused(
    edge_world: EdgeWorld, slug: str, uuid: str, bad: EdgeRoute
) -> None:
    issued = pair()
    with pytest.raises(Rejected):
        edge_world.edge.ensure_site(slug, uuid, [bad], issued.certificate, issued.key)
    assert edge_world.edge.sites() == {} and edge_world.edge.certificates() == []


def test_a_host_routed_twice_is_refused(edge_world: EdgeWorld) -> None:
    with pytest.raises(Rejected):
        serve(edge_world, WEB, WEB)
    assert edge_world.edge.sites() == {}


def test_a_key_of_another_certificate_is_refused_and_the_site_goes_on(
    edge_world: EdgeWorld,
) -> None:
    issued = serve(edge_world, WEB)
    with pytest.raises(Rejected):
        edge_world.edge.ensure_site("alpha", A, [route(edge_world.port)], issued.certificate, pair().key)
    with pytest.raises(Rejected):
        edge_world.edge.ensure_site("alpha", A, [route(edge_world.port)], b"no PEM", issued.key)
    assert edge_world.serves(WEB) and edge_world.edge.certificate("alpha") == issued.certificate


def test_sites_may_be_made_at_the_same_time(edge_world: EdgeWorld) -> None:
    slugs = [f"p{number}" for number in range(4)]

    def make(slug: str) -> None:
        serve(edge_world, f"{slug}.placo.localhost", slug=slug)

    at_once(make, slugs)
    assert sorted(edge_world.edge.sites()) == slugs
    assert all(edge_world.serves(f"{slug}.placo.localhost") for slug in slugs)


def test_it_says_how_it_is(edge_world: EdgeWorld) -> None:
    serve(edge_world, WEB)
    assert edge_world.edge.status() == EdgeStatus(running=True, complaint="")
    with edge_world.down():
        assert edge_world.edge.status() == EdgeStatus(running=False, complaint="")
    with edge_world.spoilt():
        status = edge_world.edge.status()
        assert status.running
        assert status.complaint
