"""The mail gateway's contract, on every kind of gateway."""

from __future__ import annotations

from dataclasses import replace

import pytest

from placo.drivers.ports import MailDomain, Rejected
from tests.contract.at_once import at_once
from tests.contract.gateways import ALPHA, BETA, MACHINE_A, UPSTREAM, A, B, GatewayWorld, domain_of

pytest_plugins = ("tests.contract.gateways",)


def test_a_domain_is_taken_as_soon_as_it_is_there_and_until_it_goes(gateway_world: GatewayWorld) -> None:
    assert not gateway_world.takes(ALPHA)
    gateway_world.gateway.ensure_domains("alpha", A, [domain_of(gateway_world)])
    assert gateway_world.takes(ALPHA) and not gateway_world.takes(BETA)
    assert gateway_world.gateway.domains() == {"alpha": A}
    for _ in range(2):
        gateway_world.gateway.remove_domains("alpha", A)
        assert not gateway_world.takes(ALPHA)
        assert gateway_world.gateway.domains() == {}


def test_said_twice_is_as_good_as_once(gateway_world: GatewayWorld) -> None:
    for _ in range(2):
        gateway_world.gateway.ensure_domains("alpha", A, [domain_of(gateway_world)])
    assert gateway_world.takes(ALPHA) and gateway_world.gateway.domains() == {"alpha": A}


def test_domains_change_and_none_is_as_good_as_removal(gateway_world: GatewayWorld) -> None:
    other = f"lists.{ALPHA}"
    both = [domain_of(gateway_world), domain_of(gateway_world, other)]
    gateway_world.gateway.ensure_domains("alpha", A, both)
    assert gateway_world.takes(ALPHA) and gateway_world.takes(other)
    gateway_world.gateway.ensure_domains("alpha", A, both[1:])
    assert not gateway_world.takes(ALPHA) and gateway_world.takes(other)
    gateway_world.gateway.ensure_domains("alpha", A, [])
    assert not gateway_world.takes(other) and gateway_world.gateway.domains() == {}


def test_another_platforms_domains_are_refused_and_untouched(gateway_world: GatewayWorld) -> None:
    gateway = gateway_world.gateway
    gateway.ensure_domains("alpha", A, [domain_of(gateway_world)])
    with pytest.raises(Rejected):
        gateway.ensure_domains("alpha", B, [domain_of(gateway_world, BETA)])
    with pytest.raises(Rejected):
        gateway.ensure_domains("beta", B, [domain_of(gateway_world, BETA), domain_of(gateway_world)])
    gateway.ensure_domains("alpha", B, [])
    gateway.remove_domains("alpha", B)
    assert gateway.domains() == {"alpha": A}
    assert gateway_world.takes(ALPHA) and not gateway_world.takes(BETA)


GOOD = MailDomain(ALPHA, MACHINE_A, 25, UPSTREAM)


@pytest.mark.parametrize(
    ("slug", "uuid", "bad"),
    [
        ("../alpha", A, GOOD),
        (".alpha", A, GOOD),
        ("", A, GOOD),
        ("alpha", "no uuid", GOOD),
        ("alpha", A, replace(GOOD, domain="")),
        ("alpha", A, replace(GOOD, domain=f"{ALPHA}\n{BETA} smtp:[10.0.0.1]")),
        ("alpha", A, replace(GOOD, domain=f"{ALPHA} x")),
        ("alpha", A, replace(GOOD, domain=f"@{ALPHA}")),
        ("alpha", A, replace(GOOD, domain="*")),
        ("alpha", A, replace(GOOD, domain=f".{ALPHA}")),
        ("alpha", A, replace(GOOD, domain="Alpha.placo.localhost")),
        ("alpha", A, replace(GOOD, address="mail.example.org")),
        ("alpha", A, replace(GOOD, address="127.0.0.1]:25 x")),
        ("alpha", A, replace(GOOD, port=0)),
        ("alpha", A, replace(GOOD, port=65536)),
        ("alpha", A, replace(GOOD, port="25 x")),  # type: ignore[arg-type]
        ("alpha", A, replace(GOOD, upstream_name=f"{UPSTREAM} match=.")),
        ("alpha", A, replace(GOOD, upstream_name="")),
    ],
)
def test_a_value_that_could_mean_more_is_refused(
    gateway_world: GatewayWorld, slug: str, uuid: str, bad: MailDomain
) -> None:
    with pytest.raises(Rejected):
        gateway_world.gateway.ensure_domains(slug, uuid, [bad])
    assert gateway_world.gateway.domains() == {}


def test_a_domain_that_is_there_twice_is_refused(gateway_world: GatewayWorld) -> None:
    with pytest.raises(Rejected):
        gateway_world.gateway.ensure_domains("alpha", A, [domain_of(gateway_world)] * 2)
    assert gateway_world.gateway.domains() == {}


def test_platforms_may_come_at_the_same_time(gateway_world: GatewayWorld) -> None:
    slugs = [f"p{number}" for number in range(4)]

    def make(slug: str) -> None:
        domain = domain_of(gateway_world, f"{slug}.placo.localhost")
        gateway_world.gateway.ensure_domains(slug, A, [domain])

    at_once(make, slugs)
    assert sorted(gateway_world.gateway.domains()) == slugs
    assert all(gateway_world.takes(f"{slug}.placo.localhost") for slug in slugs)


def test_it_says_how_it_is(gateway_world: GatewayWorld) -> None:
    assert gateway_world.gateway.answers()
    assert gateway_world.gateway.queued() == 0
    with gateway_world.down():
        assert not gateway_world.gateway.answers()
