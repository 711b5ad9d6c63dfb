"""What only a real nginx can show of the edge driver: what passes through, interrupted calls, faults, outages."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from deploy.rehearsal.process import free_port, wait_for
from placo.drivers.certificates import create_root
from placo.drivers.nginx_process import Nginx
from placo.drivers.ports import DriverError, EdgeRoute, KeyPair, Rejected, Unavailable
from tests.contract.edges import (
    MAIL,
    OTHER,
    OTHER_MAIL,
    SVN,
    UPSTREAM,
    WEB,
    A,
    B,
    NginxOutside,
    pair,
    route,
    serve,
    ssh,
    stream,
)
from tests.contract.outside import Machine, PrivateNginx, understandable

pytest_plugins = ("tests.contract.edges",)


def test_the_machine_is_told_the_public_name_and_who_asks(nginx_world: NginxOutside) -> None:
    serve(nginx_world, WEB)
    lies = {"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1", "X-Forwarded-Host": "evil.test"}
    said = nginx_world.nginx.ask(WEB, "/a%20b?c=d", headers=lies, port=8443).json()
    assert (said["machine"], said["path"]) == (UPSTREAM, "/a%20b?c=d")
    headers = said["headers"]
    assert headers["Host"] == headers["X-Forwarded-Host"] == f"{WEB}:8443"
    assert headers["X-Forwarded-Proto"] == "https"
    assert "10.0.0.1" not in str(headers)


def test_browsers_are_kept_to_https(nginx_world: NginxOutside) -> None:
    serve(nginx_world, WEB)
    assert nginx_world.nginx.ask(WEB).headers.get_list("Strict-Transport-Security") == ["max-age=31536000"]
    plain = httpx.get(f"http://127.0.0.1:{nginx_world.nginx.plain_port}/a?b=c", headers={"Host": WEB})
    assert (plain.status_code, plain.headers["Location"]) == (308, f"https://{WEB}/a?b=c")


def test_a_webdav_copy_reaches_the_machine_as_it_was_asked(nginx_world: NginxOutside) -> None:
    serve(nginx_world, SVN)
    wanted = f"https://{SVN}:8443/svn/tags/1"
    said = nginx_world.nginx.ask(
        SVN, "/svn/trunk", method="COPY", headers={"Destination": wanted}, port=8443
    ).json()
    assert (said["method"], said["headers"]["Destination"]) == ("COPY", wanted)
    assert wanted.startswith(f"{said['headers']['X-Forwarded-Proto']}://{said['headers']['Host']}/")


def test_a_large_body_passes(nginx_world: NginxOutside) -> None:
    serve(nginx_world, SVN)
    assert (
        nginx_world.nginx.ask(SVN, method="POST", content=b"x" * 20_000_000).json()["received"] == 20_000_000
    )


def test_a_machine_that_does_not_answer_is_replaced_by_a_page(nginx_world: NginxOutside) -> None:
    issued = pair(WEB)
    nginx_world.edge.ensure_site("alpha", A, [route(1)], issued.certificate, issued.key)
    answer = nginx_world.nginx.ask(WEB)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "10"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers.get_list("Strict-Transport-Security") == ["max-age=31536000"]
    assert understandable(answer.text)


# --- limits ---

REQUESTS_AT_ONCE, STREAMS_AT_ONCE = 1000, 300
"""How many the edge takes from one address (deploy/lab/templates/edge.conf.j2)."""


def hasty(nginx: PrivateNginx, source: str, number: int) -> list[bytes]:
    """The statuses of so many requests from this address, a handful sent before the first is answered.

    A handful fits what the sockets hold, so that one thread can send all of it and read then: an
    SSL connection is not for two threads.
    """
    trusted = ssl.create_default_context(cafile=str(nginx.ca_file))
    plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=30, source_address=(source, 0))
    request = f"GET / HTTP/1.1\r\nHost: {WEB}\r\n\r\n".encode()
    found: list[bytes] = []
    heard = b""
    with plain, trusted.wrap_socket(plain, server_hostname=WEB) as secured:
        while (sent := len(found)) < number:
            wanted = min(sent + 50, number)
            secured.sendall(request * (wanted - sent))
            while len(found) < wanted:
                heard += (more := secured.recv(1 << 16))
                assert more, f"hung up after {len(found)} answers"
                found = re.findall(rb"HTTP/1\.1 (\d\d\d) ", heard)
    return found


def test_who_asks_too_much_is_told_so_and_others_are_served(nginx_world: NginxOutside) -> None:
    issued = pair(WEB)
    nginx_world.edge.ensure_site("alpha", A, [route(1)], issued.certificate, issued.key)
    found: list[bytes] = []
    while b"429" not in found and len(found) < 20 * REQUESTS_AT_ONCE:
        found += hasty(nginx_world.nginx, "127.0.0.1", REQUESTS_AT_ONCE // 2)
    assert set(found) == {b"503", b"429"}, "429 is what it says, for as long as it is too much"
    assert found.index(b"429") >= REQUESTS_AT_ONCE, "a page with many parts is not too much"
    assert hasty(nginx_world.nginx, "127.0.0.2", 5) == [b"503"] * 5
    wait_for(lambda: hasty(nginx_world.nginx, "127.0.0.1", 1) == [b"503"], "it to be let in again", 10)


def test_who_holds_too_many_connections_gets_no_more_and_others_do(nginx_world: NginxOutside) -> None:
    issued, nginx = pair(MAIL), nginx_world.nginx
    nginx_world.edge.ensure_site(
        "alpha", A, [stream(nginx_world.greeter_port)], issued.certificate, issued.key
    )
    where = ("127.0.0.1", nginx.stream_ports["imaps"])
    with contextlib.ExitStack() as held:
        for _ in range(STREAMS_AT_ONCE):
            held.enter_context(socket.create_connection(where, timeout=10))
        with pytest.raises((ConnectionError, ssl.SSLEOFError)):
            nginx.says(MAIL, "imaps")
        assert nginx.says(MAIL, "imaps", source="127.0.0.2").startswith(b"* OK")
    wait_for(lambda: _greeted(nginx), "a place to be free again", 10)


def _greeted(nginx: PrivateNginx) -> bool:
    try:
        return nginx.says(MAIL, "imaps").startswith(b"* OK")
    except (ConnectionError, ssl.SSLEOFError):
        return False


# --- IPv6 ---


def test_a_site_with_ipv6_is_served_at_both_addresses(nginx_world: NginxOutside) -> None:
    issued, nginx, own = pair(WEB, MAIL), nginx_world.nginx, free_port()
    routes = [route(nginx_world.port), stream(nginx_world.greeter_port), ssh(nginx_world.plain_port, own)]
    nginx_world.edge.ensure_site("alpha", A, routes, issued.certificate, issued.key)
    trusted = ssl.create_default_context(cafile=str(nginx.ca_file))
    for address in ("127.0.0.1", "::1"):
        plain = socket.create_connection((address, nginx.port), timeout=10)
        with plain, trusted.wrap_socket(plain, server_hostname=WEB) as secured:
            secured.sendall(f"GET / HTTP/1.1\r\nHost: {WEB}\r\nConnection: close\r\n\r\n".encode())
            assert secured.recv(100).startswith(b"HTTP/1.1 200 ")
        assert nginx.says(MAIL, "imaps", address=address).startswith(b"* OK")
        with socket.create_connection((address, own), timeout=10) as client:
            assert client.recv(100).startswith(b"SSH-2.0-")
        with socket.create_connection((address, nginx.plain_port), timeout=10) as client:
            client.sendall(f"GET / HTTP/1.0\r\nHost: {WEB}\r\n\r\n".encode())
            assert b" 308 " in client.recv(100)


def test_a_machine_that_shows_another_name_is_not_trusted(nginx_world: NginxOutside) -> None:
    issued = pair(WEB)
    imposter = route(nginx_world.port, name="www.beta.placo.internal")
    nginx_world.edge.ensure_site("alpha", A, [imposter], issued.certificate, issued.key)
    assert nginx_world.nginx.ask(WEB).status_code == 503


def test_a_machine_with_a_certificate_of_another_authority_is_not_trusted(nginx_world: NginxOutside) -> None:
    stranger = Machine(create_root("somebody else"), UPSTREAM, nginx_world.nginx.folder / "tmp")
    issued = pair(WEB)
    nginx_world.edge.ensure_site("alpha", A, [route(stranger.port)], issued.certificate, issued.key)
    assert nginx_world.nginx.ask(WEB).status_code == 503
    stranger.stop()


def test_a_stream_to_a_machine_that_shows_another_name_is_cut(nginx_world: NginxOutside) -> None:
    issued = pair(MAIL)
    imposter = EdgeRoute(MAIL, "127.0.0.1", nginx_world.greeter_port, "www.beta.placo.internal", "imaps")
    nginx_world.edge.ensure_site("alpha", A, [imposter], issued.certificate, issued.key)
    assert nginx_world.nginx.says(MAIL, "imaps") == b""


def test_a_stream_to_a_machine_that_is_off_is_cut(nginx_world: NginxOutside) -> None:
    issued = pair(MAIL)
    nginx_world.edge.ensure_site("alpha", A, [stream(1)], issued.certificate, issued.key)
    assert nginx_world.nginx.says(MAIL, "imaps") == b""


def test_a_stream_for_nobody_shows_no_certificate_of_a_platform(nginx_world: NginxOutside) -> None:
    issued = pair(MAIL)
    nginx_world.edge.ensure_site(
        "alpha", A, [stream(nginx_world.greeter_port)], issued.certificate, issued.key
    )
    for stranger in (OTHER_MAIL, WEB):
        with pytest.raises(ssl.SSLCertVerificationError):
            nginx_world.nginx.says(stranger, "imaps")
    assert nginx_world.nginx.says("unknown.placo.localhost", "imaps") == b""


def test_files_are_for_their_owner_alone_and_none_is_left_over(nginx_world: NginxOutside) -> None:
    issued = serve(nginx_world, WEB)
    assert nginx_world.files() == {
        "alpha.conf",
        "alpha.streams",
        "alpha.servers",
        ".alpha.json",
        "alpha.pem",
        "alpha.key",
    }
    for folder in ("sites", "certificates"):
        for path in (nginx_world.nginx.folder / folder).glob("*alpha*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (nginx_world.nginx.folder / "certificates" / "alpha.key").read_bytes() == issued.key
    nginx_world.edge.remove_site("alpha", A)
    assert nginx_world.files() == set()


def test_the_key_is_in_no_message_and_no_log(
    nginx_world: NginxOutside, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    issued = serve(nginx_world, WEB)
    (tmp_path / "broken.conf").write_text("no_such_directive;")
    with pytest.raises(Rejected) as caught:
        nginx_world.driver(tmp_path / "broken.conf").ensure_site(
            "alpha", A, [route(nginx_world.port)], issued.certificate, issued.key
        )
    secret = issued.key.decode().splitlines()[1]
    site = (nginx_world.nginx.folder / "sites" / "alpha.conf").read_text()
    assert secret not in f"{caught.value}{nginx_world.edge!r}{caplog.text}{site}"


def test_asking_again_for_the_same_does_not_disturb_nginx(nginx_world: NginxOutside) -> None:
    issued = serve(nginx_world, WEB)
    before = nginx_world.workers()
    nginx_world.edge.ensure_site("alpha", A, [route(nginx_world.port)], issued.certificate, issued.key)
    nginx_world.edge.remove_site("beta", B)
    assert nginx_world.workers() == before
    serve(nginx_world, WEB)
    assert nginx_world.workers() != before


def test_a_call_that_died_before_the_reload_is_finished_by_the_next(
    nginx_world: NginxOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = pair(WEB)

    def die(self: Nginx) -> None:
        raise KeyboardInterrupt

    calls: list[Callable[[], None]] = [
        lambda: nginx_world.edge.ensure_site(
            "alpha", A, [route(nginx_world.port)], issued.certificate, issued.key
        ),
        lambda: nginx_world.edge.remove_site("alpha", A),
    ]
    for call in calls:
        served = nginx_world.serves(WEB)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Nginx, "reload", die)
            call()
        assert nginx_world.serves(WEB) is served
        assert nginx_world.edge.sites() == {"alpha": A}
        call()
        assert nginx_world.serves(WEB) is not served


def test_a_site_whose_file_was_changed_or_lost_is_written_anew(nginx_world: NginxOutside) -> None:
    issued = serve(nginx_world, WEB)
    site = nginx_world.nginx.folder / "sites" / "alpha.conf"
    damages: list[Callable[[], object]] = [
        lambda: site.write_text("# nothing"),
        site.unlink,
        (site.parent / ".alpha.json").unlink,
    ]
    for damage in damages:
        damage()
        nginx_world.edge.ensure_site("alpha", A, [route(nginx_world.port)], issued.certificate, issued.key)
        assert nginx_world.serves(WEB)


def test_what_nginx_does_not_accept_is_put_back(nginx_world: NginxOutside, tmp_path: Path) -> None:
    issued = serve(nginx_world, WEB)
    before = (
        nginx_world.files(),
        (nginx_world.nginx.folder / "sites" / "alpha.conf").read_bytes(),
        nginx_world.workers(),
    )
    (tmp_path / "broken.conf").write_text("no_such_directive;")
    broken, other = nginx_world.driver(tmp_path / "broken.conf"), pair(OTHER)
    with pytest.raises(Rejected, match="no_such_directive"):
        broken.ensure_site("alpha", A, [route(nginx_world.port)], *_parts(pair(WEB)))
    with pytest.raises(Rejected):
        broken.ensure_site("beta", B, [route(nginx_world.port, OTHER)], *_parts(other))
    assert (
        nginx_world.files(),
        (nginx_world.nginx.folder / "sites" / "alpha.conf").read_bytes(),
        nginx_world.workers(),
    ) == before
    assert nginx_world.edge.certificate("alpha") == issued.certificate
    assert nginx_world.serves(WEB)


def _parts(issued: KeyPair) -> tuple[bytes, bytes]:
    return issued.certificate, issued.key


def test_a_fault_of_the_edge_itself_is_not_the_sites(nginx_world: NginxOutside) -> None:
    broken = nginx_world.nginx.folder / "sites" / "00-by-hand.conf"
    broken.write_text("no_such_directive;")
    with pytest.raises(DriverError) as caught:
        serve(nginx_world, WEB)
    assert not isinstance(caught.value, (Rejected, Unavailable))
    assert nginx_world.edge.sites() == {"00-by-hand": ""}
    broken.unlink()
    serve(nginx_world, WEB)
    assert nginx_world.serves(WEB)


def test_a_stopped_edge_is_unavailable_and_serves_when_it_is_back(nginx_world: NginxOutside) -> None:
    with nginx_world.nginx.server.stopped():
        for _ in range(2):
            with pytest.raises(Unavailable):
                serve(nginx_world, WEB)
    assert nginx_world.serves(WEB)
    serve(nginx_world, WEB)
    with nginx_world.nginx.server.stopped(), pytest.raises(Unavailable):
        nginx_world.edge.remove_site("alpha", A)
    assert not nginx_world.serves(WEB)
    assert nginx_world.edge.sites() == {"alpha": A}
    nginx_world.edge.remove_site("alpha", A)
    assert nginx_world.files() == set()


def test_a_pid_file_that_names_another_process_is_not_signalled(nginx_world: NginxOutside) -> None:
    pid = nginx_world.nginx.pid_file.read_text()
    try:
        for stale in ("1", "", "no number", "99999999"):
            nginx_world.nginx.pid_file.write_text(stale)
            with pytest.raises(Unavailable):
                serve(nginx_world, WEB)
    finally:
        nginx_world.nginx.pid_file.write_text(pid)


def test_a_path_that_nginx_would_misread_is_refused(nginx_world: NginxOutside) -> None:
    with pytest.raises(ValueError, match="spaces"):
        nginx_world.driver(Path("/tmp/a b;.conf"))
