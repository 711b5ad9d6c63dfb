"""The DNS zone's contract, on every kind of zone."""

from __future__ import annotations

import pytest

from placo.domain.names import Record
from placo.drivers.ports import PlatformNames, Rejected, Unavailable
from tests.contract.at_once import at_once
from tests.contract.zones import ZONE, A, B, ZoneWorld, record

pytest_plugins = ("tests.contract.zones",)

WEB = record("alpha-web")
MAIL = {
    record("alpha", "MX", f"10 mx.{ZONE}."),
    record("alpha", "TXT", '"v=spf1 mx -all"'),
    record("_dmarc.alpha", "TXT", '"v=DMARC1; p=quarantine"'),
    record("placo._domainkey.alpha", "TXT", '"v=DKIM1; p=x" "+/="'),
    record("_imaps._tcp.alpha", "SRV", f"0 1 993 alpha-mail.{ZONE}."),
}
V6 = record("alpha-web", "AAAA", "2001:db8::1")


def test_names_are_there_at_once_and_until_they_go(zone_world: ZoneWorld) -> None:
    assert zone_world.answers("alpha-web", "A") == set()
    zone_world.zone.ensure_names("alpha", A, {WEB, V6, *MAIL})
    assert zone_world.answers("alpha-web", "A") == {"192.0.2.1"}
    assert zone_world.answers("alpha-web", "AAAA") == {"2001:db8::1"}
    for one in MAIL:
        assert zone_world.answers(one.name.removesuffix(f".{ZONE}"), one.type) == {one.value}
    assert zone_world.zone.names() == {"alpha": PlatformNames(A, frozenset({WEB, V6, *MAIL}))}
    for _ in range(2):
        zone_world.zone.remove_names("alpha", A)
        assert zone_world.zone.names() == {}
        assert zone_world.answers("alpha-web", "A") == zone_world.answers("_dmarc.alpha", "TXT") == set()


def test_said_twice_is_as_good_as_once(zone_world: ZoneWorld) -> None:
    for _ in range(2):
        zone_world.zone.ensure_names("alpha", A, {WEB, *MAIL})
    assert zone_world.zone.names() == {"alpha": PlatformNames(A, frozenset({WEB, *MAIL}))}


def test_names_change_and_none_is_as_good_as_removal(zone_world: ZoneWorld) -> None:
    zone_world.zone.ensure_names("alpha", A, {WEB, V6, *MAIL})
    moved = {record("alpha-web", value="192.0.2.2"), record("alpha-web", value="192.0.2.3")}
    wiki = record("alpha-wiki", value="192.0.2.2")
    zone_world.zone.ensure_names("alpha", A, {*moved, wiki})
    assert zone_world.answers("alpha-web", "A") == {"192.0.2.2", "192.0.2.3"}
    assert zone_world.answers("alpha-web", "AAAA") == zone_world.answers("alpha", "MX") == set()
    assert zone_world.zone.names()["alpha"].records == {*moved, wiki}
    zone_world.zone.ensure_names("alpha", A, [])
    assert zone_world.zone.names() == {} and zone_world.answers("alpha-wiki", "A") == set()


def test_slugs_that_begin_alike_are_two_platforms(zone_world: ZoneWorld) -> None:
    """`alpha-web` is a name of `alpha`, and could be one of a platform `alpha-web`."""
    other = {record("alpha-2"), record("alpha-2-web")}
    zone_world.zone.ensure_names("alpha", A, {WEB, *MAIL})
    zone_world.zone.ensure_names("alpha-2", B, other)
    zone_world.zone.ensure_names("alpha", A, {WEB})
    assert zone_world.zone.names()["alpha-2"] == PlatformNames(B, frozenset(other))
    zone_world.zone.remove_names("alpha", A)
    assert zone_world.zone.names() == {"alpha-2": PlatformNames(B, frozenset(other))}
    assert zone_world.answers("alpha-2-web", "A") == {"192.0.2.1"}


def test_another_platforms_names_are_refused_and_untouched(zone_world: ZoneWorld) -> None:
    zone = zone_world.zone
    zone.ensure_names("alpha", A, {WEB})
    with pytest.raises(Rejected):
        zone.ensure_names("alpha", B, {record("alpha-wiki")})
    with pytest.raises(Rejected):
        zone.ensure_names("beta", B, {record("beta-web"), record("alpha-web", value="192.0.2.66")})
    zone.ensure_names("alpha", B, [])
    zone.remove_names("alpha", B)
    assert zone.names() == {"alpha": PlatformNames(A, frozenset({WEB}))}
    assert zone_world.answers("alpha-web", "A") == {"192.0.2.1"}
    assert zone_world.answers("beta-web", "A") == set()


def test_what_somebody_else_put_there_is_not_taken(zone_world: ZoneWorld) -> None:
    zone_world.add_of_others("alpha-web")
    with pytest.raises(Rejected):
        zone_world.zone.ensure_names("alpha", A, {record("alpha-wiki"), WEB})
    assert zone_world.zone.names() == {}
    assert zone_world.answers("alpha-wiki", "A") == set()


@pytest.mark.parametrize(
    ("slug", "uuid", "bad"),
    [
        ("../alpha", A, WEB),
        ("", A, WEB),
        ("alpha", "no uuid", WEB),
        ("alpha", A, Record("alpha-web.example.org", "A", "192.0.2.1")),
        ("alpha", A, Record(ZONE, "A", "192.0.2.1")),
        ("alpha", A, Record(f"alpha-web.{ZONE}.", "A", "192.0.2.1")),
        ("alpha", A, Record(f"*.{ZONE}", "A", "192.0.2.1")),
        ("alpha", A, Record(f"_acme-challenge.alpha.{ZONE}", "TXT", '"x"')),
        ("alpha", A, Record(f"a b.{ZONE}", "A", "192.0.2.1")),
        ("alpha", A, record("alpha", "CNAME", "www.example.org.")),
        ("alpha", A, record("alpha", "NS", f"ns.{ZONE}.")),
        ("alpha", A, record("alpha", "A", "192.0.2.1\nx")),
        ("alpha", A, record("alpha", "TXT", '"x""y"')),
        ("alpha", A, record("alpha", "TXT", '"x" y')),
        ("alpha", A, record("alpha", "TXT", '"x')),
        ("alpha", A, record("alpha", "A", "")),
        pytest.param("alpha", A, record("alpha", "MX", f"10 {'a' * 80};"), id="to be seen at once"),
    ],
)
def test_a_value_that_could_mean_more_is_refused(
    zone_world: ZoneWorld, slug: str, uuid: str, bad: Record
) -> None:
    with pytest.raises(Rejected):
        zone_world.zone.ensure_names(slug, uuid, [bad])
    assert zone_world.zone.names() == {}


def test_platforms_may_come_at_the_same_time(zone_world: ZoneWorld) -> None:
    slugs = [f"p{number}" for number in range(6)]

    def make(slug: str) -> None:
        zone_world.zone.ensure_names(slug, A, {record(f"{slug}-web")})

    at_once(make, slugs)
    assert sorted(zone_world.zone.names()) == slugs


def test_it_says_how_it_is_and_is_as_it_was_when_it_is_back(zone_world: ZoneWorld) -> None:
    zone_world.zone.ensure_names("alpha", A, {WEB})
    assert zone_world.zone.complaint() == ""
    with zone_world.down():
        assert "does not answer" in zone_world.zone.complaint()
        for call in (
            zone_world.zone.names,
            lambda: zone_world.zone.ensure_names("beta", B, {record("beta-web")}),
            lambda: zone_world.zone.remove_names("alpha", A),
        ):
            with pytest.raises(Unavailable):
                call()
    assert zone_world.zone.names() == {"alpha": PlatformNames(A, frozenset({WEB}))}
