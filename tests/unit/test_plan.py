"""The plan: everything decided before anything happens, the same for the same, never twice the same for others."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placo.domain.catalogue import Catalogue, load_catalogue
from placo.domain.plan import (
    Placement,
    Plan,
    cost_of,
    from_json,
    make_plan,
    subnet_of,
)
from placo.domain.slugs import RESERVED_SLUGS, SLUG_MAX, slug_problem

POOL = IPv4Network("10.77.16.0/20")
UUID_A, UUID_B = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """The one of this checkout."""
    return load_catalogue(Path(__file__).resolve().parents[2] / "catalogue")


def plan(catalogue: Catalogue, index: int = 0, **changes: Any) -> Plan:
    """A plan for web + svn."""
    place = Placement("h1", subnet_of(POOL, 28, index), "placo.localhost", 8443, "placo.internal")
    sound: dict[str, Any] = {
        "platform_uuid": UUID_A,
        "slug": "alpha",
        "title": "Alpha",
        "project": "optics",
        "owners": ["emmy"],
        "services": ["svn", "web"],
        "options": {"svn": {"repository": "thesis"}},
        "days": 90,
        "placement": place,
        "images": {"www": "placo-www-1", "svn": "placo-svn-1"},
    }
    return make_plan(catalogue, **{**sound, **changes})


def test_the_same_wish_gives_the_same_plan(catalogue: Catalogue) -> None:
    assert plan(catalogue) == plan(catalogue)
    assert plan(catalogue).hash == plan(catalogue).hash
    assert plan(catalogue, owners=["b", "a"]).hash == plan(catalogue, owners=["a", "b"]).hash


@pytest.mark.parametrize(
    "change",
    [
        {"slug": "beta"},
        {"title": "Beta"},
        {"project": "topology"},
        {"owners": ["emmy", "alan"]},
        {"services": ["web"]},
        {"options": {}},
        {"days": 91},
        {"images": {"www": "placo-www-2", "svn": "placo-svn-1"}},
        {"platform_uuid": UUID_B},
        {"index": 1},
    ],
)
def test_whatever_differs_shows_in_the_hash(catalogue: Catalogue, change: dict[str, Any]) -> None:
    changed = {"options": {"svn": {"repository": "thesis"}}, **change}
    if change == {"options": {}}:
        changed = {"options": {"svn": {"repository": "other"}}}
    assert plan(catalogue, **changed).hash != plan(catalogue).hash


def test_a_plan_survives_the_database(catalogue: Catalogue) -> None:
    made = plan(catalogue)
    again = from_json(made.as_json())
    assert again.hash == made.hash
    assert again.machine("svn").fqdn == "svn.alpha.placo.internal"
    with pytest.raises(KeyError):
        again.machine("mail")


def test_addresses_are_in_the_platforms_own_subnet(catalogue: Catalogue) -> None:
    made = plan(catalogue, index=3)
    subnet = IPv4Network(made.network.subnet)
    assert subnet == IPv4Network("10.77.16.48/28")
    addresses = [IPv4Address(made.network.gateway), *(IPv4Address(m.address) for m in made.machines)]
    assert len(set(addresses)) == len(addresses)
    assert all(a in subnet and a not in (subnet.network_address, subnet.broadcast_address) for a in addresses)


def test_nothing_of_two_platforms_is_the_same(catalogue: Catalogue) -> None:
    one = plan(catalogue)
    other = plan(catalogue, index=1, slug="beta", platform_uuid=UUID_B)

    def names(p: Plan) -> set[str]:
        found = {p.uuid, p.network.name, p.network.uuid, p.network.bridge, p.network.mac, p.network.subnet}
        for m in p.machines:
            found |= {
                m.uuid,
                m.domain,
                m.fqdn,
                m.mac,
                m.address,
                m.system_volume,
                m.data_volume,
                m.seed_volume,
            }
        return found | {e.host for e in p.endpoints}

    assert not names(one) & names(other)


@given(st.uuids(version=4))
def test_names_fit_where_they_go(uuid: UUID) -> None:
    made = plan(load_once(), slug="a" * SLUG_MAX, platform_uuid=uuid)
    assert len(made.network.bridge) <= 15  # IFNAMSIZ
    for mac in (made.network.mac, *(m.mac for m in made.machines)):
        assert mac.startswith("52:54:00:")
        assert len(mac) == 17
    for endpoint in made.endpoints:
        assert all(0 < len(label) <= 63 for label in endpoint.host.split("."))
    assert len({m.mac for m in made.machines} | {made.network.mac}) == 3


def load_once() -> Catalogue:
    """The catalogue for tests that cannot take a fixture."""
    if not _loaded:
        _loaded.append(load_catalogue(Path(__file__).resolve().parents[2] / "catalogue"))
    return _loaded[0]


_loaded: list[Catalogue] = []


def test_addresses_for_people(catalogue: Catalogue) -> None:
    urls = {e.url for e in plan(catalogue).endpoints}
    assert "https://alpha-svn.placo.localhost:8443/svn/thesis" in urls
    place = Placement("h1", subnet_of(POOL, 28, 0), "example.org", 443, "placo.internal")
    assert "https://alpha-web.example.org/" in {e.url for e in plan(catalogue, placement=place).endpoints}


def test_addresses_for_machines(catalogue: Catalogue) -> None:
    """Each port once, however many public addresses lead there."""
    p = plan(catalogue)
    domain = p.network.dns_domain
    assert set(p.addresses()) == {f"https://www.{domain}:443 web", f"https://svn.{domain}:443 svn"}


def test_the_cost_is_what_the_catalogue_says(catalogue: Catalogue) -> None:
    cost = cost_of(catalogue, ["web", "svn"])
    kinds = [catalogue.machines[name] for name in ("www", "svn")]
    assert cost == plan(catalogue).cost
    assert (cost.platforms, cost.machines) == (1, 2)
    assert cost.memory_mib == sum(k.memory_mib for k in kinds)
    assert cost.disk_gib == sum(k.system_disk_gib + k.data_volume_gib for k in kinds)


def test_the_pool_has_an_end() -> None:
    assert subnet_of(POOL, 28, 255) == IPv4Network("10.77.31.240/28")
    for index in (-1, 256):
        with pytest.raises(IndexError):
            subnet_of(POOL, 28, index)


# --- slugs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["a", "alpha", "a1", "1a", "a-b", "a-b-c", "a" * SLUG_MAX])
def test_sound_slugs(slug: str) -> None:
    assert slug_problem(slug) is None


@pytest.mark.parametrize(
    ("slug", "problem"),
    [
        ("", "empty"),
        ("a" * (SLUG_MAX + 1), "too-long"),
        ("-a", "characters"),
        ("a-", "characters"),
        ("a--b", "characters"),
        ("A", "characters"),
        ("é", "characters"),
        ("a\n", "characters"),
        ("a b", "characters"),
        ("a.b", "characters"),
        ("a\x00", "characters"),
        ("ａ", "characters"),
        ("xn--a", "characters"),
    ],
)
def test_slugs_that_cannot_be(slug: str, problem: str) -> None:
    assert slug_problem(slug) == problem


@given(st.sampled_from(sorted(RESERVED_SLUGS)))
def test_reserved_slugs(slug: str) -> None:
    assert slug_problem(slug) == "reserved"


@given(st.text(max_size=70))
def test_what_passes_is_a_dns_label(slug: str) -> None:
    if slug_problem(slug) is None:
        assert slug.isascii()
        assert slug == slug.lower()
        assert len(f"{slug}-web".encode("idna")) <= 63
