"""The edge's contract, on the fake and on a private nginx that runs the lab's edge configuration."""

from __future__ import annotations

import logging
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from placo.drivers.certificates import create_root, issue_from
from placo.drivers.edge_nginx import NginxEdge
from placo.drivers.fake_edge import FakeEdge
from placo.drivers.nginx_process import Nginx
from placo.drivers.ports import DriverError, Edge, EdgeRoute, KeyPair, Rejected, Unavailable
from tests.contract.outside import Machine, PrivateNginx, short_folder

ROOT = create_root("PLACO test root")
A, B = str(uuid4()), str(uuid4())
WEB, SVN, OTHER = (f"{label}.placo.localhost" for label in ("alpha-web", "alpha-svn", "beta-web"))
UPSTREAM = "www.alpha.placo.internal"


class FakeOutside:
    def __init__(self) -> None:
        self.fake = FakeEdge()
        self.edge: Edge = self.fake
        self.port = 443

    def serves(self, host: str) -> bool:
        return any(route.host == host for site in self.fake.served.values() for route in site.routes)


class NginxOutside:
    """A running nginx, the driver for it, and one machine behind it."""

    def __init__(self, nginx: PrivateNginx, machine: Machine) -> None:
        self.nginx = nginx
        self.machine = machine
        self.port = machine.port
        self.edge = self.driver()

    def driver(self, *includes: Path) -> NginxEdge:
        return NginxEdge(
            sites_dir=self.nginx.folder / "sites",
            certificates_dir=self.nginx.folder / "certificates",
            pid_file=self.nginx.pid_file,
            config_file=self.nginx.config_file,
            ca_file=self.nginx.ca_file,
            listens=(f"127.0.0.1:{self.nginx.port} ssl", f"unix:{self.nginx.socket} ssl"),
            includes=(self.nginx.stopped_snippet, *includes),
        )

    def serves(self, host: str) -> bool:
        return self.nginx.serves(host)

    def files(self) -> set[str]:
        found = [*(self.nginx.folder / "sites").iterdir(), *(self.nginx.folder / "certificates").iterdir()]
        return {path.name for path in found} - {".lock"}

    def workers(self) -> str:
        """The pids of nginx's workers: they change with each reload."""
        master = self.nginx.pid_file.read_text().strip()
        return Path(f"/proc/{master}/task/{master}/children").read_text()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PrivateNginx, Machine]]:
    with short_folder() as folder:
        nginx, machine = PrivateNginx(folder, ROOT), Machine(ROOT, UPSTREAM, folder)
        yield nginx, machine
        machine.stop()
        nginx.server.stop()


@pytest.fixture
def real(servers: tuple[PrivateNginx, Machine]) -> Iterator[NginxOutside]:
    world = NginxOutside(*servers)
    yield world
    for slug, uuid in world.edge.sites().items():
        world.edge.remove_site(slug, uuid)
    assert world.files() == set()


@pytest.fixture(params=["fake", "nginx"])
def outside(request: pytest.FixtureRequest) -> FakeOutside | NginxOutside:
    if request.param == "fake":
        return FakeOutside()
    world: NginxOutside = request.getfixturevalue("real")
    return world


def pair(*names: str) -> KeyPair:
    return issue_from(ROOT, names or (WEB, SVN))


def route(port: int, host: str = WEB, address: str = "127.0.0.1", name: str = UPSTREAM) -> EdgeRoute:
    return EdgeRoute(host, address, port, name)


def serve(world: FakeOutside | NginxOutside, *hosts: str, slug: str = "alpha", uuid: str = A) -> KeyPair:
    """A site with these hosts, all of them the one machine."""
    issued = pair(*hosts)
    routes = [route(world.port, host) for host in hosts]
    world.edge.ensure_site(slug, uuid, routes, issued.certificate, issued.key)
    return issued


# --- the contract ---


def test_a_site_serves_its_names_as_soon_as_it_is_made(outside: FakeOutside | NginxOutside) -> None:
    assert not outside.serves(WEB)
    issued = serve(outside, WEB, SVN)
    assert outside.serves(WEB) and outside.serves(SVN) and not outside.serves(OTHER)
    assert outside.edge.sites() == {"alpha": A}
    assert outside.edge.certificate("alpha") == issued.certificate
    assert outside.edge.certificates() == ["alpha"]


def test_a_site_changes_and_goes(outside: FakeOutside | NginxOutside) -> None:
    serve(outside, WEB, SVN)
    renewed = serve(outside, WEB)
    assert outside.serves(WEB) and not outside.serves(SVN)
    assert outside.edge.certificate("alpha") == renewed.certificate
    for _ in range(2):
        outside.edge.remove_site("alpha", A)
        assert not outside.serves(WEB)
        assert outside.edge.sites() == {} and outside.edge.certificates() == []
        assert outside.edge.certificate("alpha") is None


def test_another_platforms_site_is_refused_and_untouched(outside: FakeOutside | NginxOutside) -> None:
    issued = serve(outside, WEB)
    with pytest.raises(Rejected):
        serve(outside, WEB, SVN, uuid=B)
    outside.edge.remove_site("alpha", B)
    assert outside.serves(WEB) and outside.edge.certificate("alpha") == issued.certificate


def test_a_name_that_another_site_serves_is_refused(outside: FakeOutside | NginxOutside) -> None:
    serve(outside, WEB)
    with pytest.raises(Rejected):
        serve(outside, OTHER, WEB, slug="beta", uuid=B)
    assert outside.edge.sites() == {"alpha": A}
    assert outside.serves(WEB) and not outside.serves(OTHER)


def test_a_site_may_have_no_route_yet(outside: FakeOutside | NginxOutside) -> None:
    issued = pair(WEB)
    outside.edge.ensure_site("alpha", A, [], issued.certificate, issued.key)
    assert outside.edge.sites() == {"alpha": A} and not outside.serves(WEB)


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
        ("alpha", A, route(443, name="")),
        ("alpha", A, route(0)),
        ("alpha", A, route(65536)),
        ("alpha", A, route("443; include /etc/passwd")),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_could_mean_more_is_refused(
    outside: FakeOutside | NginxOutside, slug: str, uuid: str, bad: EdgeRoute
) -> None:
    issued = pair()
    with pytest.raises(Rejected):
        outside.edge.ensure_site(slug, uuid, [bad], issued.certificate, issued.key)
    assert outside.edge.sites() == {} and outside.edge.certificates() == []


def test_a_host_routed_twice_is_refused(outside: FakeOutside | NginxOutside) -> None:
    with pytest.raises(Rejected):
        serve(outside, WEB, WEB)
    assert outside.edge.sites() == {}


def test_a_key_of_another_certificate_is_refused_and_the_site_goes_on(
    outside: FakeOutside | NginxOutside,
) -> None:
    issued = serve(outside, WEB)
    with pytest.raises(Rejected):
        outside.edge.ensure_site("alpha", A, [route(outside.port)], issued.certificate, pair().key)
    with pytest.raises(Rejected):
        outside.edge.ensure_site("alpha", A, [route(outside.port)], b"no PEM", issued.key)
    assert outside.serves(WEB) and outside.edge.certificate("alpha") == issued.certificate


def test_sites_may_be_made_at_the_same_time(outside: FakeOutside | NginxOutside) -> None:
    slugs, failures = [f"p{number}" for number in range(4)], []

    def make(slug: str) -> None:
        try:
            serve(outside, f"{slug}.placo.localhost", slug=slug)
        except DriverError as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(slug,)) for slug in slugs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(outside.edge.sites()) == slugs
    assert all(outside.serves(f"{slug}.placo.localhost") for slug in slugs)


# --- nginx alone ---


def test_the_machine_is_told_the_public_name_and_who_asks(real: NginxOutside) -> None:
    serve(real, WEB)
    lies = {"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1", "X-Forwarded-Host": "evil.test"}
    said = real.nginx.ask(WEB, "/a%20b?c=d", headers=lies, port=8443).json()
    assert (said["machine"], said["path"]) == (UPSTREAM, "/a%20b?c=d")
    headers = said["headers"]
    assert headers["Host"] == headers["X-Forwarded-Host"] == f"{WEB}:8443"
    assert headers["X-Forwarded-Proto"] == "https"
    assert "10.0.0.1" not in str(headers)


def test_a_webdav_copy_reaches_the_machine_as_it_was_asked(real: NginxOutside) -> None:
    serve(real, SVN)
    wanted = f"https://{SVN}:8443/svn/tags/1"
    said = real.nginx.ask(SVN, "/svn/trunk", method="COPY", headers={"Destination": wanted}, port=8443).json()
    assert (said["method"], said["headers"]["Destination"]) == ("COPY", wanted)
    assert wanted.startswith(f"{said['headers']['X-Forwarded-Proto']}://{said['headers']['Host']}/")


def test_a_large_body_passes(real: NginxOutside) -> None:
    serve(real, SVN)
    assert real.nginx.ask(SVN, method="POST", content=b"x" * 20_000_000).json()["received"] == 20_000_000


def test_a_machine_that_does_not_answer_is_replaced_by_a_page(real: NginxOutside) -> None:
    issued = pair(WEB)
    real.edge.ensure_site("alpha", A, [route(1)], issued.certificate, issued.key)
    answer = real.nginx.ask(WEB)
    assert (answer.status_code, answer.text) == (503, "stopped or starting")


def test_a_machine_that_shows_another_name_is_not_trusted(real: NginxOutside) -> None:
    issued = pair(WEB)
    imposter = route(real.port, name="www.beta.placo.internal")
    real.edge.ensure_site("alpha", A, [imposter], issued.certificate, issued.key)
    assert real.nginx.ask(WEB).status_code == 503


def test_a_machine_with_a_certificate_of_another_authority_is_not_trusted(real: NginxOutside) -> None:
    stranger = Machine(create_root("somebody else"), UPSTREAM, real.nginx.folder / "tmp")
    issued = pair(WEB)
    real.edge.ensure_site("alpha", A, [route(stranger.port)], issued.certificate, issued.key)
    assert real.nginx.ask(WEB).status_code == 503
    stranger.stop()


def test_files_are_for_their_owner_alone_and_none_is_left_over(real: NginxOutside) -> None:
    issued = serve(real, WEB)
    assert real.files() == {"alpha.conf", ".alpha.json", "alpha.pem", "alpha.key"}
    for folder in ("sites", "certificates"):
        for path in (real.nginx.folder / folder).glob("*alpha*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (real.nginx.folder / "certificates" / "alpha.key").read_bytes() == issued.key
    real.edge.remove_site("alpha", A)
    assert real.files() == set()


def test_the_key_is_in_no_message_and_no_log(
    real: NginxOutside, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    issued = serve(real, WEB)
    (tmp_path / "broken.conf").write_text("no_such_directive;")
    with pytest.raises(Rejected) as caught:
        real.driver(tmp_path / "broken.conf").ensure_site(
            "alpha", A, [route(real.port)], issued.certificate, issued.key
        )
    secret = issued.key.decode().splitlines()[1]
    site = (real.nginx.folder / "sites" / "alpha.conf").read_text()
    assert secret not in f"{caught.value}{real.edge!r}{caplog.text}{site}"


def test_asking_again_for_the_same_does_not_disturb_nginx(real: NginxOutside) -> None:
    issued = serve(real, WEB)
    before = real.workers()
    real.edge.ensure_site("alpha", A, [route(real.port)], issued.certificate, issued.key)
    real.edge.remove_site("beta", B)
    assert real.workers() == before
    serve(real, WEB)
    assert real.workers() != before


def test_a_call_that_died_before_the_reload_is_finished_by_the_next(
    real: NginxOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = pair(WEB)

    def die(self: Nginx) -> None:
        raise KeyboardInterrupt

    for call in (
        lambda: real.edge.ensure_site("alpha", A, [route(real.port)], issued.certificate, issued.key),
        lambda: real.edge.remove_site("alpha", A),
    ):
        served = real.serves(WEB)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Nginx, "reload", die)
            call()
        assert real.serves(WEB) is served
        assert real.edge.sites() == {"alpha": A}
        call()
        assert real.serves(WEB) is not served


def test_a_site_whose_file_was_changed_or_lost_is_written_anew(real: NginxOutside) -> None:
    issued = serve(real, WEB)
    site = real.nginx.folder / "sites" / "alpha.conf"
    for damage in (lambda: site.write_text("# nothing"), site.unlink, (site.parent / ".alpha.json").unlink):
        damage()
        real.edge.ensure_site("alpha", A, [route(real.port)], issued.certificate, issued.key)
        assert real.serves(WEB)


def test_what_nginx_does_not_accept_is_put_back(real: NginxOutside, tmp_path: Path) -> None:
    issued = serve(real, WEB)
    before = real.files(), (real.nginx.folder / "sites" / "alpha.conf").read_bytes(), real.workers()
    (tmp_path / "broken.conf").write_text("no_such_directive;")
    broken, other = real.driver(tmp_path / "broken.conf"), pair(OTHER)
    with pytest.raises(Rejected, match="no_such_directive"):
        broken.ensure_site("alpha", A, [route(real.port)], *_parts(pair(WEB)))
    with pytest.raises(Rejected):
        broken.ensure_site("beta", B, [route(real.port, OTHER)], *_parts(other))
    assert (real.files(), (real.nginx.folder / "sites" / "alpha.conf").read_bytes(), real.workers()) == before
    assert real.edge.certificate("alpha") == issued.certificate
    assert real.serves(WEB)


def _parts(issued: KeyPair) -> tuple[bytes, bytes]:
    return issued.certificate, issued.key


def test_a_fault_of_the_edge_itself_is_not_the_sites(real: NginxOutside) -> None:
    broken = real.nginx.folder / "sites" / "00-by-hand.conf"
    broken.write_text("no_such_directive;")
    with pytest.raises(DriverError) as caught:
        serve(real, WEB)
    assert not isinstance(caught.value, (Rejected, Unavailable))
    assert real.edge.sites() == {"00-by-hand": ""}
    broken.unlink()
    serve(real, WEB)
    assert real.serves(WEB)


def test_a_stopped_edge_is_unavailable_and_serves_when_it_is_back(real: NginxOutside) -> None:
    with real.nginx.server.stopped():
        for _ in range(2):
            with pytest.raises(Unavailable):
                serve(real, WEB)
    assert real.serves(WEB)
    serve(real, WEB)
    with real.nginx.server.stopped(), pytest.raises(Unavailable):
        real.edge.remove_site("alpha", A)
    assert not real.serves(WEB)
    assert real.edge.sites() == {"alpha": A}
    real.edge.remove_site("alpha", A)
    assert real.files() == set()


def test_a_pid_file_that_names_another_process_is_not_signalled(real: NginxOutside) -> None:
    pid = real.nginx.pid_file.read_text()
    try:
        for stale in ("1", "", "no number", "99999999"):
            real.nginx.pid_file.write_text(stale)
            with pytest.raises(Unavailable):
                serve(real, WEB)
    finally:
        real.nginx.pid_file.write_text(pid)


def test_a_path_that_nginx_would_misread_is_refused(real: NginxOutside) -> None:
    with pytest.raises(ValueError, match="spaces"):
        real.driver(Path("/tmp/a b;.conf"))
