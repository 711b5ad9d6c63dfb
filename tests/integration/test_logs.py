"""Logs: every line says what it is about, in every thread and library; none holds a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from structlog.stdlib import ProcessorFormatter

import tasks
from placo import celery, logs
from placo.drivers.ports import DriverError
from placo.platforms.models import Project, Run, User
from placo.services import accounts, engine
from tests.factories import approve, ready_platform, submit
from tests.fakes import World

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the portal has written since the test began, as JSON."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        ProcessorFormatter(
            processors=logs.processors([settings.SECRET_KEY], json=True), foreign_pre_chain=logs.BEFORE
        )
    )
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)
    logs.forget()


def of(lines: Lines, event: str) -> list[dict[str, Any]]:
    return [line for line in lines() if line["event"] == event]


# --- what a line is about --------------------------------------------------------------------------------------------


def test_a_step_names_itself_and_so_do_drivers_inside(
    world: World, optics: Project, emmy: User, admin: User, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.directory.ensure_platform

    def chatty(*arguments: Any) -> None:
        logging.getLogger("placo.drivers.chatty").info("asking %s", "slapd")
        real(*arguments)

    monkeypatch.setattr(world.directory, "ensure_platform", chatty)
    run = approve(emmy, admin)
    world.finish(run.pk)

    about = {"run": run.pk, "step": "directory", "verb": "ensure", "host": "h1", "platform": "alpha"}
    [asked] = of(lines, "asking slapd")
    [done] = [line for line in of(lines, "step done") if line["step"] == "directory"]
    for line in (asked, done):
        assert {**line, **about} == line
        assert isinstance(line["fence"], int)
    assert (asked["logger"], asked["level"]) == ("placo.drivers.chatty", "info")
    assert "T" in asked["at"]
    assert len(of(lines, "step done")) == run.steps.count()
    assert "run" not in logs.known()


def test_failures_say_why(world: World, optics: Project, emmy: User, admin: User, lines: Lines) -> None:
    world.directory.faults.fail_next("ensure_platform", DriverError("slapd is busy"))
    world.edge.faults.fail_next("ensure_site", ZeroDivisionError("surprise"))
    world.finish(approve(emmy, admin).pk)

    [failed] = of(lines, "step failed")
    assert (failed["step"], failed["why"], failed["level"]) == ("directory", "slapd is busy", "warning")
    [broke] = of(lines, "step broke")
    assert "ZeroDivisionError: surprise" in broke["exception"]
    assert broke["step"] == "edge"


def test_a_request_names_itself(world: World, optics: Project, emmy: User, lines: Lines) -> None:
    browser = Client()
    browser.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    answer = browser.get("/account/?token=nothing", headers={"X-Request-ID": "proxy-12345678"})

    assert answer["X-Request-ID"] == "proxy-12345678"
    [line] = of(lines, "answered")
    about = {"request": "proxy-12345678", "user": "emmy", "method": "GET", "path": "/account/", "status": 200}
    assert {**line, **about} == line
    assert line["seconds"] >= 0


@pytest.mark.parametrize(
    "name",
    ["", "short", "x" * 65, "with space12", "new\nline12345", "é" * 10, "-leading-dash", '"quoted-123"'],
)
def test_a_name_that_is_not_well_formed_is_replaced(name: str, db: None, lines: Lines) -> None:
    answer = Client().get("/login/", headers={"X-Request-ID": name})
    made = answer["X-Request-ID"]
    assert made != name
    assert len(made) == 12
    assert of(lines, "answered")[0]["request"] == made
    assert Client().get("/login/")["X-Request-ID"] != made


def test_the_error_page_shows_the_name(
    world: World, optics: Project, emmy: User, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_kwargs: object) -> None:
        raise RuntimeError("the disk said no")

    monkeypatch.setattr("placo.services.selectors.home", broken)
    browser = Client(raise_request_exception=False)
    browser.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    answer = browser.get("/")
    name = answer["X-Request-ID"]
    assert name in answer.content.decode()
    [line] = of(lines, "a page broke")
    assert (line["reference"], line["request"], line["user"]) == (name, name, "emmy")
    assert "RuntimeError: the disk said no" in line["exception"]


def test_the_api_too(
    world: World, optics: Project, api: Any, emmy: User, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("placo.services.access.owned_projects", broken)
    problem = api(emmy)("GET", "/projects", status=500)
    assert of(lines, "the API broke")[0]["reference"] == problem["reference"]
    assert of(lines, "answered")[0]["request"] == problem["reference"]
    assert of(lines, "answered")[0]["user"] == "emmy"


def test_a_worker_names_task_and_request(world: World, lines: Lines) -> None:
    headers: dict[str, Any] = {}
    with logs.about(request="abcdef123456"):
        celery._carry(headers=headers)
    assert headers == {celery.CARRIED: "abcdef123456"}

    class Told:
        name = "tasks.advance"
        request = type("Request", (), headers)

    celery._begin(task_id="0123456789", task=Told)
    logging.getLogger("placo.x").warning("at work")
    celery._end()
    logging.getLogger("placo.x").warning("after")
    [line] = of(lines, "at work")
    assert (line["task"], line["task_id"], line["request"]) == ("advance", "01234567", "abcdef123456")
    assert "task" not in of(lines, "after")[0]
    celery._begin(task_id="1", task=type("T", (), {"name": "tasks.sweep", "request": object()}))
    assert "request" not in logs.known()


def test_from_a_line_of_the_log_to_the_run_that_came_of_it(
    world: World, optics: Project, emmy: User, admin: User, api: Any, lines: Lines
) -> None:
    request = submit(emmy)
    desk = Client()
    desk.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    desk.post(
        f"/requests/{request.pk}/approve/",
        {"plan_hash": request.plan_hash},
        headers={"X-Request-ID": "proxy-12345678"},
    )
    run = Run.objects.get()
    assert run.web_request == "proxy-12345678"
    [began] = of(lines, "run begins")
    assert (began["request"], began["run"], began["user"]) == ("proxy-12345678", run.pk, "ada")
    found = desk.get("/operations/runs/?q=proxy-12345678").content.decode()
    assert f'href="/runs/{run.pk}/"' in found
    assert f'href="/runs/{run.pk}/"' not in desk.get("/operations/runs/?q=other-12345678").content.decode()
    assert "<code>proxy-12345678</code>" in desk.get(f"/runs/{run.pk}/").content.decode()
    assert api(admin)("GET", f"/runs/{run.pk}")["web_request"] == "proxy-12345678"
    world.finish(run.pk)

    headers = {**api(emmy).headers, "X-Request-ID": "program-12345678"}
    stopped = Client().post("/api/v1/platforms/alpha/actions/stop", headers=headers).json()["run_id"]
    assert Run.objects.get(pk=stopped).web_request == "program-12345678"


def test_a_run_that_came_of_no_call_names_none(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    logs.forget()
    assert approve(emmy, admin).web_request == ""


def test_celery_leaves_logging_alone() -> None:
    """Whoever configures logging for Celery configures the portal's."""
    from celery.signals import setup_logging

    assert setup_logging.receivers


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRET = "Xk3-vR9_sWq2LmTz"
KEY = f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\nabc\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.warning("binding", password=SECRET),
        lambda log: log.warning("binding", bind_password=SECRET),
        lambda log: log.warning("asking", headers={"Authorization": f"Bearer {SECRET}", "Cookie": SECRET}),
        lambda log: log.warning("asking", deep=[{"api_key": SECRET}, ("x", {"token": SECRET})]),
        lambda log: log.warning("issued", key=KEY),
        lambda log: log.warning("issued", pem=KEY),
        lambda log: log.warning("issued", pem=KEY.encode()),
        lambda log: log.warning("cut off", pem=KEY[:-20]),
        lambda log: log.warning(f"Authorization: Bearer {SECRET}"),
        lambda log: log.warning(f"authorization: basic {SECRET}"),
        lambda log: log.warning(f"redis://user:{SECRET}@host/0"),
        lambda log: log.warning(f"password={SECRET} user=x"),
        lambda log: log.warning(f"{{'password': '{SECRET}'}}"),
        lambda log: log.warning(f'{{"secret": "{SECRET}"}}'),
        lambda log: log.warning(f"csrfmiddlewaretoken={SECRET}&x=1"),
        lambda log: log.warning(f"sessionid={SECRET}; path=/"),
        lambda log: logging.getLogger("library").warning("password=%s", SECRET),
        lambda log: logging.getLogger("library").warning("sent", extra={"token": SECRET}),
        lambda log: logging.getLogger("library").error("%r", {"passwd": SECRET}),
    ],
)  # fmt: skip
def test_no_secret_is_written(write: Callable[[Any], object], lines: Lines) -> None:
    write(logs.get_logger("placo.test"))
    text = json.dumps(lines())
    assert logs.HIDDEN in text
    assert SECRET not in text


def test_no_secret_in_a_trace(lines: Lines) -> None:
    try:
        raise ValueError(f"cannot bind with password={SECRET}")
    except ValueError:
        logs.get_logger("placo.test").exception("broke")
        logging.getLogger("library").exception("broke too")
    text = json.dumps(lines())
    assert text.count("ValueError: cannot bind") == 2
    assert SECRET not in text


def test_the_sites_own_secrets_wherever_they_stand(lines: Lines) -> None:
    logs.get_logger("placo.test").info(
        f"nobody would look here {settings.SECRET_KEY} and here", field=[settings.SECRET_KEY]
    )
    [line] = lines()
    assert settings.SECRET_KEY not in json.dumps(line)
    assert line["event"] == f"nobody would look here {logs.HIDDEN} and here"


def test_what_is_no_secret_stays(lines: Lines) -> None:
    logs.get_logger("placo.test").info(
        "host h1 answers: 3 of 4", run=7, step="seed:www", seconds=0.25, path="/requests/3/", ok=True, none=None,
        url="https://alpha-web.placo.localhost:8443/x?y=1", names=["a", "b"],
    )  # fmt: skip
    [line] = lines()
    del line["at"], line["level"], line["logger"]
    assert line == {
        "event": "host h1 answers: 3 of 4", "run": 7, "step": "seed:www", "seconds": 0.25, "path": "/requests/3/",
        "ok": True, "none": None, "url": "https://alpha-web.placo.localhost:8443/x?y=1", "names": ["a", "b"],
    }  # fmt: skip


def test_nothing_of_a_whole_life_is_in_the_logs(
    world: World, optics: Project, emmy: User, admin: User, lines: Lines, api: Any
) -> None:
    """A platform is made, by way of the API too, with everything written that anybody wants to write."""
    platform = ready_platform(world, emmy, admin)
    token = accounts.issue_token(acting_user=emmy)
    Client().get("/api/v1/platforms", headers={"Authorization": f"Bearer {token}"})
    Client().post("/login/", {"username": "emmy", "password": SECRET})
    tasks.sweep()
    engine.advance(platform.runs.get().pk)
    from placo import wiring

    secrets = [wiring.machine_secret(m.uuid, "directory") for m in platform.machines.all()]
    text = json.dumps(lines())
    assert len(lines()) > 20
    for secret in (*secrets, token, SECRET, settings.SECRET_KEY):
        assert secret not in text


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "tty", "json"),
    [("", True, False), ("", False, True), ("json", True, True), ("plain", False, False)],
)
def test_json_unless_somebody_looks_on(
    asked: str, tty: bool, json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACO_LOG", asked)
    monkeypatch.setattr(
        "sys.stderr", type("Stream", (), {"isatty": lambda self: tty, "write": lambda self, text: None})()
    )
    assert logs.wants_json() is json


def test_readable_on_a_terminal() -> None:
    formatter = ProcessorFormatter(processors=logs.processors([], json=False), foreign_pre_chain=logs.BEFORE)
    with logs.about(run=7):
        record = logging.LogRecord("placo.x", logging.WARNING, "", 0, "step failed", None, None)
        text = formatter.format(record)
    assert "step failed" in text
    assert "run=7" in text
    assert "\x1b" not in text
