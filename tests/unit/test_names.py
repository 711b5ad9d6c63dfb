"""Which records a platform has, from its plan."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

from placo.domain.names import BELOW, TYPES, Record, owner_of, records_of
from placo.domain.plan import Plan

Z = "example.org"


def endpoint(service: str, protocol: str, host: str, machine: str = "m") -> SimpleNamespace:
    return SimpleNamespace(service=service, protocol=protocol, host=f"{host}.{Z}", machine=machine)


def told(*endpoints: SimpleNamespace, addresses: tuple[str, ...] = ("192.0.2.1",)) -> set[Record]:
    plan = cast(Plan, SimpleNamespace(endpoints=endpoints))
    return set(
        records_of(plan, addresses=addresses, mail_exchanger="mx.example.org", keys={"post": "k" * 300})
    )


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
