"""The prober's contract: what it says of each way in which a service can be, or not be, there."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.rehearsal.process import short_folder
from placo.drivers.certificates import create_root, issue_from
from placo.drivers.fake_edge import FakeEdge, FakeProber
from placo.drivers.ports import EdgeRoute, Prober, Unavailable
from placo.drivers.probe import EdgeProber
from tests.contract.outside import Greeter, Machine, PlainGreeter, PrivateNginx

ROOT = create_root("PLACO test root")
UUID = "5f0c3d5e-7c59-4c0e-9d39-1f5f3c6f9a10"
WEB = "alpha-web.placo.localhost"


MAIL = "alpha-mail.placo.localhost"
GREETING = {"imaps": b"* OK ready\r\n", "submissions": b"220 ready\r\n", "xmpps": b"<stream:stream id='1'>"}


@dataclass(frozen=True)
class Real:
    folder: Path
    nginx: PrivateNginx
    machine: Machine


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    """A machine that answers under the name WEB, and an edge that knows no platform at all."""
    with short_folder() as folder:
        nginx, machine = PrivateNginx(folder, ROOT), Machine(ROOT, WEB, folder)
        yield Real(folder, nginx, machine)
        machine.stop()
        nginx.server.stop()


@pytest.fixture(params=["fake", "real"])
def prober(request: pytest.FixtureRequest, tmp_path: Path) -> Prober:
    """One for which WEB answers 200 to everything."""
    if request.param == "real":
        world: Real = request.getfixturevalue("real")
        return EdgeProber("127.0.0.1", world.nginx.ca_file, world.machine.port)
    edge, issued = FakeEdge(tmp_path), issue_from(ROOT, [WEB])
    route = EdgeRoute(WEB, "10.77.16.2", 443, "www.alpha.placo.internal")
    edge.ensure_site("alpha", UUID, [route], issued.certificate, issued.key)
    return FakeProber(edge)


def test_the_expected_answer_is_healthy(prober: Prober) -> None:
    result = prober.https(WEB, "/", [200], 5)
    assert result.healthy and "200" in result.answer


def test_another_answer_is_not_and_both_are_named(prober: Prober) -> None:
    result = prober.https(WEB, "/", (403, 401, 401), 5)
    assert not result.healthy
    assert "200" in result.answer and "401 or 403" in result.answer


def test_a_name_that_nobody_serves_is_not_healthy(prober: Prober) -> None:
    assert not prober.https("beta-web.placo.localhost", "/", [200], 5).healthy


def direct(real: Real, greeter: Greeter, protocol: str) -> EdgeProber:
    """One that finds this server where the edge would be."""
    streams = {protocol: ("127.0.0.1", greeter.port)}
    return EdgeProber("127.0.0.1", real.nginx.ca_file, streams=streams)


@pytest.mark.parametrize("protocol", sorted(GREETING))
def test_a_server_that_greets_is_healthy(real: Real, protocol: str) -> None:
    greeter = Greeter(ROOT, MAIL, real.folder, GREETING[protocol])
    prober = direct(real, greeter, protocol)
    assert prober.greeting(MAIL, protocol, 5).healthy
    stranger = prober.greeting(WEB, protocol, 5)
    assert not stranger.healthy and "certificate" in stranger.answer
    greeter.stop()
    assert (stopped := prober.greeting(MAIL, protocol, 5)).healthy is False and stopped.answer


def test_a_server_that_says_something_else_is_not(real: Real) -> None:
    greeter = Greeter(ROOT, MAIL, real.folder, b"* BYE full\r\n")
    said = direct(real, greeter, "imaps").greeting(MAIL, "imaps", 5)
    assert not said.healthy and "* BYE full" in said.answer
    greeter.stop()


def test_ssh_greets_without_tls_at_a_port_of_its_own(real: Real, tmp_path: Path) -> None:
    prober = EdgeProber("127.0.0.1", real.nginx.ca_file)
    greeter, other = PlainGreeter(), PlainGreeter(b"220 mail\r\n")
    try:
        assert prober.greeting(MAIL, "ssh", 5, greeter.port).healthy
        assert "220 mail" in prober.greeting(MAIL, "ssh", 5, other.port).answer
        assert not prober.greeting(MAIL, "ssh", 5).healthy
    finally:
        greeter.stop()
        other.stop()
    assert not prober.greeting(MAIL, "ssh", 5, greeter.port).healthy
    edge, issued = FakeEdge(tmp_path), issue_from(ROOT, [MAIL])
    route = EdgeRoute(MAIL, "10.77.16.2", 22, "mail.alpha.placo.internal", "ssh", 22000)
    edge.ensure_site("alpha", UUID, [route], issued.certificate, issued.key)
    assert FakeProber(edge).greeting(MAIL, "ssh", 5, 22000).healthy
    assert not FakeProber(edge).greeting(MAIL, "ssh", 5, 22001).healthy


def test_a_name_that_no_platform_has_gets_no_greeting(real: Real) -> None:
    ports = real.nginx.stream_ports
    prober = EdgeProber(
        "127.0.0.1", real.nginx.ca_file, streams={n: ("127.0.0.1", p) for n, p in ports.items()}
    )
    assert not prober.greeting("unknown.placo.localhost", "imaps", 5).healthy
    assert "certificate" in prober.greeting(MAIL, "imaps", 5).answer


def test_the_fake_greets_for_what_is_routed(tmp_path: Path) -> None:
    edge, issued = FakeEdge(tmp_path), issue_from(ROOT, [MAIL])
    prober = FakeProber(edge)
    assert not prober.greeting(MAIL, "imaps", 5).healthy
    route = EdgeRoute(MAIL, "10.77.16.2", 993, "mail.alpha.placo.internal", "imaps")
    edge.ensure_site("alpha", UUID, [route], issued.certificate, issued.key)
    assert prober.greeting(MAIL, "imaps", 5).healthy
    assert not prober.greeting(MAIL, "xmpps", 5).healthy
    prober.answers[MAIL] = 503
    assert not prober.greeting(MAIL, "imaps", 5).healthy


def test_the_edge_is_asked_over_its_unix_socket_and_its_certificate_checked(real: Real) -> None:
    prober = EdgeProber(real.nginx.socket, real.nginx.ca_file)
    assert "404" in prober.https("unknown.placo.localhost", "/", [200], 5).answer
    assert prober.https("unknown.placo.localhost", "/x?y=z", [404], 5).healthy
    result = prober.https(WEB, "/", [404], 5)
    assert not result.healthy and "certificate" in result.answer


def test_an_authority_that_is_not_ours_is_not_trusted(real: Real, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(create_root("somebody else").certificate)
    result = EdgeProber("127.0.0.1", tmp_path / "other.pem", real.machine.port).https(WEB, "/", [200], 5)
    assert not result.healthy and "certificate" in result.answer


def test_an_edge_that_is_down_is_an_answer(real: Real) -> None:
    gone = EdgeProber(real.folder / "none.sock", real.nginx.ca_file).https(WEB, "/", [200], 5)
    assert (gone.healthy, gone.answer) == (False, "the edge does not answer")


def test_a_service_that_says_nothing_is_given_up_after_the_timeout(real: Real) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        prober = EdgeProber("127.0.0.1", real.nginx.ca_file, silent.getsockname()[1])
        result = prober.https(WEB, "/", [200], 0.3)
        assert time.monotonic() - started < 30  # it gives up instead of hanging
    assert (result.healthy, result.answer) == (False, "no answer within 0.3 s")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("", "/"),
        ("a b", "/"),
        ("é" * 70, "/"),
        (WEB, "no-slash"),
        (WEB, "/é"),
        (WEB, "/\r\nX: y"),
        ("a\r\nb", "/"),
    ],
)
def test_nonsense_is_an_answer_too(real: Real, host: str, path: str) -> None:
    result = EdgeProber(real.nginx.socket, real.nginx.ca_file).https(host, path, [200], 5)
    assert not result.healthy and result.answer


def test_a_missing_authority_is_an_answer(real: Real, tmp_path: Path) -> None:
    assert not EdgeProber(real.nginx.socket, tmp_path / "none.pem").https(WEB, "/", [200], 5).healthy


def test_the_fake_answers_as_told(tmp_path: Path) -> None:
    prober = FakeProber(FakeEdge(tmp_path))
    prober.answers[WEB] = 503
    assert prober.https(WEB, "/", [503], 5).healthy
    prober.faults.fail_next("https", Unavailable("the edge does not answer"))
    assert prober.https(WEB, "/", [503], 5).answer == "the edge does not answer"
