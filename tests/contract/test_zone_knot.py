"""What only a real server shows of the zone: keys, a power cut, what others add, and who changes it at the same moment."""

from __future__ import annotations

import base64
from pathlib import Path
from unittest import mock

import dns.message
import dns.query
import dns.rcode
import dns.update
import pytest

from placo.drivers.ports import DriverError, PlatformNames, Rejected, Unavailable
from placo.drivers.zone_rfc2136 import Rfc2136Zone
from tests.contract.zones import ZONE, A, B, KnotOutside, record

pytest_plugins = ("tests.contract.zones",)

WEB = record("alpha-web")


@pytest.mark.parametrize("key_name", ["portal", "somebody"])
def test_a_wrong_key_is_refused_and_told(knot_world: KnotOutside, tmp_path: Path, key_name: str) -> None:
    key = tmp_path / "key"
    key.write_text(base64.b64encode(b"another key" * 3).decode())
    zone = Rfc2136Zone(
        ZONE, server="127.0.0.1", port=knot_world.port, key_name=key_name, key_file=key, ttl_s=60
    )
    assert zone.complaint()
    with pytest.raises(DriverError) as refused:
        zone.ensure_names("alpha", A, {WEB})
    assert not isinstance(refused.value, Unavailable | Rejected)
    assert key.read_text() not in str(refused.value)
    assert knot_world.zone.names() == {}


def test_nobody_without_the_key_reads_or_changes_the_zone(knot_world: KnotOutside) -> None:
    update = dns.update.UpdateMessage(ZONE)
    update.add(f"evil.{ZONE}.", 60, "A", "192.0.2.66")
    for message in (update, dns.message.make_query(ZONE, "AXFR")):
        answer = dns.query.tcp(message, "127.0.0.1", port=knot_world.port, timeout=5)
        assert answer.rcode() in (dns.rcode.REFUSED, dns.rcode.NOTAUTH) and not answer.answer
    assert knot_world.answers("evil", "A") == set()


def test_what_was_answered_is_there_after_a_power_cut(knot_world: KnotOutside) -> None:
    knot_world.zone.ensure_names("alpha", A, {WEB})
    knot_world.server.kill()
    knot_world.server.start()
    assert knot_world.zone.names() == {"alpha": PlatformNames(A, frozenset({WEB}))}


def test_what_others_add_to_a_name_stays_until_it_goes(knot_world: KnotOutside) -> None:
    mail = {record("alpha", "MX", f"10 mx.{ZONE}.")}
    knot_world.zone.ensure_names("alpha", A, mail)
    knot_world.add_of_others("other._domainkey.alpha")
    knot_world.add_of_others("x.beta")
    knot_world.zone.ensure_names("alpha", A, {record("alpha", "MX", f"20 mx.{ZONE}.")})
    assert knot_world.answers("other._domainkey.alpha", "A") == {"192.0.2.99"}
    knot_world.zone.remove_names("alpha", A)
    assert knot_world.answers("other._domainkey.alpha", "A") == set()
    assert knot_world.answers("x.beta", "A") == {"192.0.2.99"}


def test_a_name_that_another_takes_at_the_same_moment_is_not_overwritten(knot_world: KnotOutside) -> None:
    """Between reading and writing somebody else is faster."""
    zone, read = knot_world.driver, Rfc2136Zone._read
    others = iter([True])

    def slow(self: Rfc2136Zone) -> object:
        found = read(self)
        if next(others, False):
            with mock.patch.object(Rfc2136Zone, "_read", read):
                zone.ensure_names("beta", B, {record("alpha-web", value="192.0.2.2")})
        return found

    with mock.patch.object(Rfc2136Zone, "_read", slow), pytest.raises(Rejected):
        zone.ensure_names("alpha", A, {WEB})
    assert knot_world.answers("alpha-web", "A") == {"192.0.2.2"}
    assert set(zone.names()) == {"beta"}


def test_one_update_is_taken_as_a_whole_or_not_at_all(knot_world: KnotOutside) -> None:
    names = {record(f"alpha-{number}") for number in range(100)}
    sent = Rfc2136Zone._sent
    with (
        mock.patch.object(Rfc2136Zone, "_sent", side_effect=Unavailable("cut off")),
        pytest.raises(Unavailable),
    ):
        knot_world.zone.ensure_names("alpha", A, names)
    assert knot_world.zone.names() == {}
    with mock.patch.object(Rfc2136Zone, "_sent", autospec=True, side_effect=sent) as sending:
        knot_world.zone.ensure_names("alpha", A, names)
    assert sending.call_count == 1
    assert knot_world.zone.names()["alpha"].records == names
