"""Which records a platform has, from its plan."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

from placo.domain.names import BELOW, TYPES, Record, owner_of, records_of
from placo.domain.plan import Plan

Z = "example.org"


def endpoint(service: str, protocol: str, host: str, machine: str = "m", **more: object) -> SimpleNamespace:
    known = {
        "service": service,
        "protocol": protocol,
        "host": f"{host}.{Z}",
        "machine": machine,
        "found_as": (),
    }
    return SimpleNamespace(**{**known, **more})


def told(*endpoints: SimpleNamespace, addresses: tuple[str, ...] = ("192.0.2.1",)) -> set[Record]:
    plan = cast(Plan, SimpleNamespace(endpoints=endpoints, slug="a"))
    keys = {"post": "k" * 300}
    return set(records_of(plan, addresses=addresses, port=8443, mail_exchanger="mx.example.org", keys=keys))


def test_a_host_has_the_edges_addresses_once() -> None:
    web = [endpoint("web", "https", "a-web")] * 3
    assert told(*web, addresses=("192.0.2.1", "2001:db8::1")) == {
        Record(f"a-web.{Z}", "A", "192.0.2.1"),
        Record(f"a-web.{Z}", "AAAA", "2001:db8::1"),
    }


def test_programs_find_the_servers_of_an_address_by_its_domain() -> None:
    found = told(
        endpoint("mail", "smtp", "a"),
        endpoint("mail", "imaps", "a-mail"),
        endpoint("mail", "submissions", "a-mail"),
        endpoint("chat", "xmpps", "a-chat"),
        endpoint("gateway", "ssh", "a-gate"),
    )
    assert found == {
        Record(f"a.{Z}", "MX", "10 mx.example.org."),
        Record(f"a.{Z}", "TXT", '"v=spf1 mx -all"'),
        Record(f"_dmarc.a.{Z}", "TXT", '"v=DMARC1; p=quarantine"'),
        Record(f"a-mail.{Z}", "A", "192.0.2.1"),
        Record(f"_imaps._tcp.a.{Z}", "SRV", f"0 1 993 a-mail.{Z}."),
        Record(f"_submissions._tcp.a.{Z}", "SRV", f"0 1 465 a-mail.{Z}."),
        Record(f"a-chat.{Z}", "A", "192.0.2.1"),
        Record(f"_xmpps-client._tcp.a-chat.{Z}", "SRV", f"0 1 5223 a-chat.{Z}."),
        Record(f"a-gate.{Z}", "A", "192.0.2.1"),
    }
    assert {record.type for record in found} <= set(TYPES)


def test_calendars_are_found_by_their_address_and_by_that_of_mail() -> None:
    """RFC 6764, 3 and 4: where the server is, and where on it to begin."""
    agenda = endpoint("agenda", "https", "a-agenda", path="/dav/", found_as=("caldavs", "carddavs"))
    for others, domains in (((), {"a-agenda"}), ((endpoint("mail", "smtp", "a"),), {"a-agenda", "a"})):
        found = told(agenda, *others, endpoint("lists", "smtp", "a-lists"))
        wanted = {
            record
            for domain in domains
            for kind in ("_caldavs", "_carddavs")
            for record in (
                Record(f"{kind}._tcp.{domain}.{Z}", "SRV", f"0 1 8443 a-agenda.{Z}."),
                Record(f"{kind}._tcp.{domain}.{Z}", "TXT", '"path=/dav/"'),
            )
        }
        assert {record for record in found if "dav" in record.name} == wanted


def test_the_key_that_mail_is_signed_with_comes_in_strings_that_are_short_enough() -> None:
    (key,) = [r for r in told(endpoint("mail", "smtp", "a", "post")) if r.name.startswith("placo.")]
    assert (key.name, key.type) == (f"placo._domainkey.a.{Z}", "TXT")
    strings = key.value[1:-1].split('" "')
    assert "".join(strings) == "v=DKIM1; k=rsa; p=" + "k" * 300
    assert max(map(len, strings)) <= 255


def test_whose_a_name_is() -> None:
    for below in BELOW:
        assert owner_of(f"{below}.a.{Z}") == f"a.{Z}"
        assert re.match(r"(placo\.)?_[a-z-]+(\._tcp)?$", below)
    for own in (f"a.{Z}", f"_acme-challenge.a.{Z}", f"_tcp.a.{Z}", f"x._dmarc.a.{Z}"):
        assert owner_of(own) == own
