"""The doctor: well when all is well, right about what is wrong, never held up, and there when nothing else is."""

from __future__ import annotations

import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client, override_settings
from django.utils import timezone, translation

import tasks
from deploy.rehearsal.servers import PrivateRedis
from placo import config
from placo.drivers.ports import DirectoryStatus, DriverError, Rejected, Unavailable
from placo.platforms.models import Host, LedgerEntry, Platform, Project, Run, Template, User
from placo.services import doctor, engine, heartbeat, reconcile
from placo.services.doctor import Level, Report, programs
from placo.services.errors import Forbidden
from tests.command import Command
from tests.factories import approve, ready_platform
from tests.fakes import World

pytest_plugins = ("tests.integration.private_redis",)
pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(settings.BASE_DIR)
NOWHERE = {"host": "/nonexistent", "uri": "ldapi://%2Fnonexistent"}
"""Of the database; of the directory and of the hosts."""


@pytest.fixture
def site(
    world: World,
    optics: Project,
    emmy: User,
    admin: User,
    redis_server: PrivateRedis,
    monkeypatch: pytest.MonkeyPatch,
    configured: Callable[..., None],
) -> Iterator[World]:
    """A site where everything is well, with one platform; its mails are left alone."""
    configured(mail=None)
    monkeypatch.setattr(heartbeat, "client", redis_server.client)
    monkeypatch.setattr(programs, "ping", lambda: [{"celery@one": {"ok": "pong"}}])
    ready_platform(world, emmy, admin)
    tasks.sweep()
    heartbeat.beat(heartbeat.LISTENER)
    yield world
    redis_server.client().flushall()


def of(report: Report, component: str) -> tuple[Level, str]:
    """The worst that was found at a component, and its words."""
    found = [r for r in report.results if r.component == component]
    return found[0].level, found[0].text


def test_all_is_well(site: World) -> None:
    report = doctor.examine()
    assert [(r.component, r.text) for r in report.results if r.level is not Level.OK] == []
    assert report.status == 0
    assert {r.component for r in report.results} == {
        "database", "redis", "workers", "beat", "directory", "edge", "mail gateway", "names", "certificates", "images",
        "clocks", "books", "world", "listener", "mail", "runs", "templates", "people", "proofs", "host h1", "host h2",
    }  # fmt: skip
    assert all(r.text and not r.remedy for r in report.results)


def _root_for(days: float) -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old root")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=900))
    made = made.not_valid_after(now + timedelta(days=days))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Break:
    """Ways to break a site; each is called with the world."""

    @staticmethod
    def old_sweep(seconds: float) -> Callable[[World], object]:
        return lambda world: heartbeat.client().set(heartbeat.KEY, time.time() - seconds)

    @staticmethod
    def old_beat(seconds: float) -> Callable[[World], object]:
        return lambda world: heartbeat.client().set(heartbeat.LISTENER, time.time() - seconds)

    @staticmethod
    def machine_off(world: World) -> None:
        alpha = Platform.objects.get(slug="alpha")
        world.host_of(alpha).kill_domain(alpha.plan.machine("www").uuid)
        reconcile.reconcile()

    @staticmethod
    def host(**changes: object) -> Callable[[World], object]:
        def act(world: World) -> None:
            real = world.hosts["h1"].status
            from dataclasses import replace

            world.hosts["h1"].status = lambda: replace(real(), **changes)  # type: ignore[method-assign, arg-type]

        return act

    @staticmethod
    def overdue(seconds: float) -> Callable[[World], object]:
        def act(world: World) -> None:
            emmy, admin = User.objects.get(username="emmy"), User.objects.get(username="ada")
            run = approve(emmy, admin, slug="beta", services=["web"])
            Run.objects.filter(pk=run.pk).update(due_at=timezone.now() - timedelta(seconds=seconds))

        return act

    @staticmethod
    def stuck(world: World) -> None:
        emmy, admin = User.objects.get(username="emmy"), User.objects.get(username="ada")
        world.directory.faults.fail_next("ensure_platform", DriverError("no"), times=6)
        assert world.finish(approve(emmy, admin, slug="beta", services=["web"]).pk).state == "stuck"

    @staticmethod
    def waiting(world: World) -> None:
        """The edge was away for a moment, and nobody has tried again yet."""
        emmy, admin = User.objects.get(username="emmy"), User.objects.get(username="ada")
        world.edge.faults.fail_next("ensure_site", Unavailable("restarting"))
        engine.advance(approve(emmy, admin, slug="beta", services=["web"]).pk)

    @staticmethod
    def template(world: World) -> None:
        host = Host.objects.get(name="h1")
        image = world.images.name_for("www")
        Template.objects.create(host=host, image=image, key="k", name="t", state="failed", reason="no room")


@pytest.mark.parametrize(
    ("break_it", "component", "level", "words"),
    [
        (lambda w: setattr(w.directory.faults, "unreachable", True), "directory", "failure", "does not answer"),
        (lambda w: setattr(w.directory, "missing", ("refint",)), "directory", "failure", "refint"),
        (lambda w: setattr(w.edge.faults, "unreachable", True), "edge", "failure", "not running"),
        (lambda w: setattr(w.edge, "complaint", "emerg: sites/x"), "edge", "failure", "emerg: sites/x"),
        (lambda w: setattr(w.hosts["h1"].faults, "unreachable", True), "host h1", "failure", "does not answer"),
        (Break.host(disk_free_gib=9), "host h1", "warning", "9 of"),
        (Break.host(disk_free_gib=1), "host h1", "failure", "1 of"),
        (Break.host(memory_free_mib=1), "host h1", "warning", "1 of"),
        (lambda w: setattr(w.authority, "root", lambda: _root_for(29)), "certificates", "warning", "only"),
        (lambda w: setattr(w.authority, "root", lambda: _root_for(-1)), "certificates", "failure", "only"),
        (lambda w: setattr(w.authority, "root", lambda: b"nothing"), "certificates", "failure", "cannot be read"),
        (lambda w: w.images.unbuilt.add("svn"), "images", "warning", "svn"),
        (Break.old_sweep(31), "beat", "warning", "31 seconds ago"),
        (Break.old_sweep(121), "beat", "failure", "121 seconds ago"),
        (lambda w: heartbeat.client().delete(heartbeat.KEY), "beat", "failure", "No sweep"),
        (lambda w: heartbeat.client().delete(heartbeat.LISTENER), "listener", "warning", "Nobody listens"),
        (Break.old_beat(31), "listener", "warning", "31 seconds"),
        (Break.machine_off, "world", "warning", "1 thing: h"),
        (lambda w: LedgerEntry.objects.update(vcpus=9), "books", "failure", "alpha: The quota ledger"),
        (Break.overdue(31), "runs", "warning", "(beta)"),
        (Break.overdue(121), "runs", "failure", "121 seconds"),
        (Break.stuck, "runs", "warning", "(beta)"),
        (Break.waiting, "runs", "warning", "1 run waits for edge"),
        (Break.template, "templates", "warning", "no room"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    break_it: Callable[[World], object], component: str, level: str, words: str, site: World
) -> None:
    break_it(site)
    report = doctor.examine()

    found, text = of(report, component)
    assert (found.value, words in text) == (level, True), text
    for result in report.results:
        assert bool(result.remedy) == (result.level is not Level.OK)
        assert result.component == component or result.level is Level.OK, "one thing wrong is told once"
    assert report.status == {"ok": 0, "warning": 1, "failure": 2}[level]


def test_workers_that_do_not_answer(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "ping", list)
    assert of(doctor.examine(), "workers")[0] is Level.FAILURE

    def broken() -> Any:
        raise OSError("no broker")

    monkeypatch.setattr(programs, "ping", broken)
    assert "no broker" in of(doctor.examine(), "workers")[1]


def test_redis_down(site: World, redis_server: PrivateRedis) -> None:
    with redis_server.server.stopped():
        report = doctor.examine()
        tasks.sweep()  # goes on without
    assert of(report, "redis") == (Level.FAILURE, of(report, "redis")[1])
    assert of(report, "beat")[0] is Level.FAILURE
    assert of(report, "clocks")[0] is Level.OK


def test_redis_that_takes_no_writes(site: World, redis_server: PrivateRedis) -> None:
    redis_server.client().config_set("maxmemory", 1)
    try:
        assert "cannot be used" in of(doctor.examine(), "redis")[1]
    finally:
        redis_server.client().config_set("maxmemory", 0)


def test_what_hangs_delays_nobody_and_is_not_asked_again(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, asked = threading.Event(), []

    def status() -> DirectoryStatus:
        asked.append(1)
        free.wait(60)
        return DirectoryStatus(1, (), ())

    monkeypatch.setattr(site.directory, "status", status)
    for _time in range(2):
        began = time.monotonic()
        report = doctor.examine(patience_s=1.5)
        assert time.monotonic() - began < 4
        assert "within" in of(report, "directory")[1]
        assert [r.component for r in report.results if r.level is not Level.OK] == ["directory"]
    assert asked == [1]
    free.set()
    [thread] = [t for t in threading.enumerate() if t.name == "doctor-directory"]
    thread.join(10)
    assert of(doctor.examine(), "directory")[0] is Level.OK
    assert asked == [1, 1]


def test_a_look_that_breaks_is_a_finding(site: World) -> None:
    site.directory.faults.fail_next("status", ZeroDivisionError("surprise"))
    assert "ZeroDivisionError: surprise" in of(doctor.examine(), "directory")[1]


def test_threads_leave_no_connections(site: World) -> None:
    def held() -> int:
        with connections["default"].cursor() as cursor:
            pool = connections["default"].pool  # type: ignore[attr-defined]
            cursor.execute("SELECT 1")
            stats = pool.get_stats()
            return int(stats["pool_size"] - stats["pool_available"])

    before = held()
    for _time in range(3):
        doctor.examine()
    assert held() == before


def test_in_french(site: World) -> None:
    site.edge.faults.unreachable = True
    with translation.override("fr"):
        report = doctor.examine()
    assert "nginx ne tourne pas" in of(report, "edge")[1]
    assert "PostgreSQL" in of(report, "database")[1]
    assert "répond" in of(report, "database")[1]


# --- the ways to it --------------------------------------------------------------------------------------------------


def test_for_administrators(site: World, emmy: User, admin: User) -> None:
    with pytest.raises(Forbidden):
        doctor.examine_for(acting_user=emmy)
    assert doctor.examine_for(acting_user=admin).status == 0


def test_by_the_api(site: World, api: Any, emmy: User, admin: User) -> None:
    api(emmy)("GET", "/doctor", status=403)
    api(None)("GET", "/doctor", status=401)
    site.images.unbuilt.add("svn")
    found = api(admin)("GET", "/doctor")
    assert (found["level"], found["status"]) == ("warning", 1)
    assert found["results"][0]["component"] == "images"
    assert "make images" in found["results"][0]["remedy"]


def test_by_the_command_of_the_site(site: World, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("doctor")
    assert "ok       books" in capsys.readouterr().out
    site.edge.faults.unreachable = True
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json")
    assert ended.value.code == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["level"], found["results"][0]["component"]) == ("failure", "edge")


def test_on_the_screen(site: World, admin: User) -> None:
    browser = Client()
    browser.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    page = browser.get("/operations/health/").content.decode()
    assert 'hx-get="/operations/health/report/"' in page
    assert "every 30s" in page
    part = browser.get("/operations/health/report/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "Everything is well." in part
    site.edge.faults.unreachable = True
    site.images.unbuilt.add("svn")
    part = browser.get("/operations/health/report/", headers={"HX-Request": "true"}).content.decode()
    assert "1 failure, 1 warning" in " ".join(part.split())
    assert "nginx is not running" in part
    whole = browser.get("/operations/health/report/").content.decode()
    assert "<html" in whole
    assert "nginx is not running" in whole


def test_when_nothing_is_there(tmp_path: Path) -> None:
    """A real process with a site of which nothing runs: it says so, soon, and does not break."""
    text = config.config_path().read_text()
    lost = text.replace(str(config.config_path().parent), str(tmp_path))
    here = "|".join(sorted({str(Path(p).parent) for p in re.findall(r"/[^\s\"?]*(?:sock|pid)\b", text)}))
    lost = re.sub(here, str(tmp_path), lost)
    lost = re.sub(r'(?m)^(host|uri) = "[^"]*"', lambda m: f'{m[1]} = "{NOWHERE[m[1]]}"', lost)
    lost = re.sub(r'(?m)^address = "[^"]*"', 'address = "127.0.0.9"', lost)
    (tmp_path / "secrets").mkdir()
    for name in ("secret-key", "directory-portal"):
        (tmp_path / "secrets" / name).write_text("x" * 40)
    (tmp_path / "placo.toml").write_text(lost)
    environment = {**os.environ, "PLACO_CONFIG": str(tmp_path / "placo.toml")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json", "--patience", "8"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert time.monotonic() - began < 40
    found = {r["component"]: r for r in json.loads(done.stdout)["results"]}
    for component in (
        "database",
        "redis",
        "workers",
        "beat",
        "directory",
        "edge",
        "mail gateway",
        "names",
        "certificates",
    ):
        assert found[component]["level"] == "failure", found[component]
        assert found[component]["remedy"]
    assert "PostgreSQL does not answer" in found["database"]["text"]
    assert found["books"]["level"] == "warning"


def test_by_the_command_of_people(
    site: World,
    admin: User,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import httpx
    from django.core.wsgi import get_wsgi_application

    from placo.services import accounts

    placo = Command(httpx.WSGITransport(get_wsgi_application()), tmp_path / "home", monkeypatch, capsys)
    refused = placo("doctor")
    assert (refused.status, "not logged in" in refused.err) == (2, True)
    placo.logged_in("ada", accounts.issue_token(acting_user=admin))
    well = placo("doctor")
    assert (well.status, "The clocks agree." in well.out) == (0, True)
    site.images.unbuilt.add("svn")
    assert placo("doctor").status == 1
    site.edge.faults.fail_next("status", Rejected("no such folder"))
    wrong = placo("doctor", "--json")
    assert wrong.status == 2
    assert wrong.json["results"][0]["text"] == "no such folder"


class _MailServer(socketserver.StreamRequestHandler):
    """Says hello, or that it takes nothing; what else it is told is kept."""

    def handle(self) -> None:
        said: list[bytes] = self.server.said  # type: ignore[attr-defined]
        self.wfile.write(self.server.greeting)  # type: ignore[attr-defined]
        for line in self.rfile:
            said.append(line.split()[0].upper())
            self.wfile.write(b"221 bye\r\n" if said[-1] == b"QUIT" else b"250 ok\r\n")
            if said[-1] == b"QUIT":
                return


@pytest.fixture
def mail_server(configured: Callable[..., None]) -> Iterator[socketserver.ThreadingTCPServer]:
    """The site's mail server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _MailServer) as server:
        server.said, server.greeting = [], b"220 here\r\n"  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        configured(mail={"sender": "placo@lab.example", "host": "127.0.0.1", "port": port})
        backend = "django.core.mail.backends.smtp.EmailBackend"
        with override_settings(EMAIL_BACKEND=backend, EMAIL_HOST="127.0.0.1", EMAIL_PORT=port):
            yield server
        server.shutdown()
        thread.join(10)


def test_the_mail_server_is_spoken_to_and_gets_no_mail(site: World, mail_server: Any) -> None:
    assert of(doctor.examine(), "mail") == (
        Level.OK,
        f"The mail server 127.0.0.1:{mail_server.server_address[1]} answers.",
    )
    assert mail_server.said == [b"QUIT"]
    mail_server.greeting = b"554 not today\r\n"
    level, words = of(doctor.examine(), "mail")
    assert (level, "not today" in words) == (Level.FAILURE, True)


def test_a_mail_server_that_is_not_there(site: World, mail_server: Any) -> None:
    mail_server.shutdown()
    mail_server.server_close()
    assert of(doctor.examine(), "mail")[0] is Level.FAILURE


def test_a_folder_for_mails_that_is_not_there(site: World, configured: Callable[..., None]) -> None:
    configured(mail={"sender": "placo@lab.example", "folder": Path("/nonexistent/mails")})
    assert of(doctor.examine(), "mail")[0] is Level.FAILURE
    configured(mail=None)
    assert "notices are read in the portal only" in of(doctor.examine(), "mail")[1]
