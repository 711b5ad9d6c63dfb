"""What only a real nginx can show of the edge driver: what passes through, interrupted calls, faults, outages."""

from __future__ import annotations

import logging
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

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
    stream,
)
from tests.contract.outside import Machine

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
    assert (answer.status_code, answer.text) == (503, "stopped or starting")


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
