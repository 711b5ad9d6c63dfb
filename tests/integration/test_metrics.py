"""Metrics: for the bearer of the token only, true to the database, added up over processes; the alerts name what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from deploy.rehearsal.servers import PrivateRedis
from placo import config
from placo.drivers.ports import DriverError
from placo.platforms.models import Host, LedgerEntry, Project, Run, User
from placo.services import gauges, heartbeat, platforms
from placo.services.agreement import Part
from tests.factories import approve, ready_platform, submit
from tests.fakes import World

pytest_plugins = ("tests.integration.private_redis",)
pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(settings.BASE_DIR)
TOKEN = "a-token-for-prometheus"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "metrics-token"
    path.write_text(f"{TOKEN}\n")
    site = replace(settings.SITE, metrics=config.Metrics(path))
    monkeypatch.setattr(settings, "SITE", site)
    return path


@pytest.fixture
def scrape(
    world: World, token_file: Path, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Samples]:
    """What Prometheus would read now."""
    monkeypatch.setattr(heartbeat, "client", redis_server.client)
    monkeypatch.setattr(gauges, "BOOKS_AGE_S", -1.0)

    def read() -> Samples:
        answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")
        return parsed(answer.content.decode())

    return read


def parsed(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


# --- who may read ----------------------------------------------------------------------------------------------------


def test_without_a_token_file_there_is_no_such_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SITE", replace(settings.SITE, metrics=None))
    assert Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
     {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, {"Authorization": "Bearer é"}],
)  # fmt: skip
def test_only_for_the_bearer(headers: dict[str, str], world: World, token_file: Path) -> None:
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert b"placo_" not in answer.content
    assert "Bearer" in answer["WWW-Authenticate"]


def test_an_empty_token_opens_nothing(world: World, token_file: Path) -> None:
    token_file.write_text("")
    for header in ("Bearer", "Bearer "):
        assert Client().get("/metrics", headers={"Authorization": header}).status_code == 401


def test_not_even_for_an_administrator_and_not_to_be_posted(
    world: World, token_file: Path, admin: User
) -> None:
    browser = Client()
    browser.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    assert browser.get("/metrics").status_code == 401
    assert browser.post("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 405


# --- what the database knows -----------------------------------------------------------------------------------------


def test_runs_and_steps(
    scrape: Callable[[], Samples], world: World, optics: Project, emmy: User, admin: User
) -> None:
    assert value(scrape(), "placo_runs", kind="create", state="running") == 0
    run = approve(emmy, admin)
    samples = scrape()
    assert value(samples, "placo_runs", kind="create", state="running") == 1
    assert value(samples, "placo_active_steps", state="pending") == run.steps.count()
    assert 0 <= (value(samples, "placo_sweep_lag_seconds") or 0) < 60
    world.directory.faults.fail_next("ensure_platform", DriverError("no"), times=6)
    world.finish(run.pk)
    samples = scrape()
    assert value(samples, "placo_runs", kind="create", state="stuck") == 1
    assert value(samples, "placo_runs", kind="create", state="running") == 0
    assert value(samples, "placo_active_steps", state="failed") == 1


def test_runs_that_wait_and_hosts_that_are_lost(
    scrape: Callable[[], Samples], world: World, optics: Project, emmy: User, admin: User
) -> None:
    assert value(scrape(), "placo_waiting_runs", place="h1") == 0
    world.hosts["h1"].faults.unreachable = True
    world.finish(approve(emmy, admin).pk)
    samples = scrape()
    waiting = {place: value(samples, "placo_waiting_runs", place=place) for place in ("h1", "h2", "edge")}
    assert waiting == {"h1": 1, "h2": 0, "edge": 0}
    assert value(samples, "placo_host_lost", host="h1") == 0
    Host.objects.filter(name="h1").update(lost_at=timezone.now())
    assert value(scrape(), "placo_host_lost", host="h1") == 1


def test_the_lag_of_the_sweep(
    scrape: Callable[[], Samples], optics: Project, emmy: User, admin: User
) -> None:
    from datetime import timedelta

    from django.utils import timezone

    assert value(scrape(), "placo_sweep_lag_seconds") == 0
    run = approve(emmy, admin)
    Run.objects.filter(pk=run.pk).update(due_at=timezone.now() - timedelta(seconds=90))
    assert 90 <= (value(scrape(), "placo_sweep_lag_seconds") or 0) < 150
    assert value(scrape(), "placo_last_sweep_timestamp_seconds") is None
    heartbeat.beat()
    assert (value(scrape(), "placo_last_sweep_timestamp_seconds") or 0) > 1e9


def test_the_books(scrape: Callable[[], Samples], optics: Project, emmy: User) -> None:
    submit(emmy)
    assert value(scrape(), "placo_ledger_discrepancies", code="ledger") == 0
    found = scrape()
    assert [value(found, "placo_invariant_discrepancies", part=part.value) for part in Part] == [0] * len(
        Part
    )
    LedgerEntry.objects.update(vcpus=9)
    found = scrape()
    assert value(found, "placo_ledger_discrepancies", code="ledger") == 1
    assert value(found, "placo_invariant_discrepancies", part="ledger") == 1


def test_the_books_are_not_checked_at_every_scrape(
    scrape: Callable[[], Samples], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    monkeypatch.setattr(gauges.books, "check", lambda: checked.append(1) or [])
    monkeypatch.setattr(gauges, "BOOKS_AGE_S", 60.0)
    monkeypatch.setattr(gauges, "READERS", [gauges._Books()])
    for _time in range(3):
        scrape()
    assert checked == [1]


def test_quotas_and_hosts(
    scrape: Callable[[], Samples], world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    Host.objects.filter(name="h2").update(reachable=False)
    world.warm()
    samples = scrape()
    assert value(samples, "placo_quota_used", project="optics", resource="machines") == 2
    assert value(samples, "placo_quota_limit", project="optics", resource="machines") == 8
    assert value(samples, "placo_quota_used", project="topology", resource="machines") == 0
    assert value(samples, "placo_host_reachable", host="h1") == 1
    assert value(samples, "placo_host_reachable", host="h2") == 0
    assert (value(samples, "placo_templates", host="h1", state="ready") or 0) >= 1
    assert value(samples, "placo_database_up") == 1


def test_a_bounded_number_of_queries(
    scrape: Callable[[], Samples],
    world: World,
    optics: Project,
    emmy: User,
    admin: User,
    django_assert_max_num_queries: Any,
) -> None:
    for slug in ("alpha", "beta"):
        ready_platform(world, emmy, admin, slug=slug, services=["web"])
    with django_assert_max_num_queries(24):
        samples = scrape()
    assert value(samples, "placo_runs", kind="create", state="done") == 2


def test_without_the_database(
    scrape: Callable[[], Samples], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> Any:
        raise OperationalError("no server")

    monkeypatch.setattr(gauges, "READERS", [gauges._lag, down])
    samples = scrape()
    assert value(samples, "placo_database_up") == 0
    assert value(samples, "placo_sweep_lag_seconds") is None


# --- what processes count --------------------------------------------------------------------------------------------


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_steps_are_counted_and_timed(
    scrape: Callable[[], Samples], world: World, optics: Project, emmy: User, admin: User
) -> None:
    edge = {"action": "edge", "verb": "ensure"}
    before = {r: counted("placo_step_results_total", **edge, result=r) for r in ("done", "retry")}
    effects, whole = (counted(f"placo_step{n}_seconds_count", **edge) for n in ("_effect", ""))
    gone = counted("placo_step_results_total", action="edge", verb="remove", result="done")
    world.edge.faults.fail_next("ensure_site", DriverError("busy"), times=2)
    ready_platform(world, emmy, admin)
    samples = scrape()
    assert value(samples, "placo_step_results_total", **edge, result="done") == before["done"] + 1
    assert value(samples, "placo_step_results_total", **edge, result="retry") == before["retry"] + 2
    assert value(samples, "placo_step_effect_seconds_count", **edge) == effects + 3
    assert value(samples, "placo_step_seconds_count", **edge) == whole + 1
    world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
    assert counted("placo_step_results_total", action="edge", verb="remove", result="done") == gone + 1


def test_requests_are_timed_by_view(scrape: Callable[[], Samples], emmy: User) -> None:
    labels = {"view": "web:login", "method": "GET", "status": "2xx"}
    before = counted("placo_http_request_seconds_count", **labels)
    Client().get("/login/")
    Client().generic("MADEUP", "/login/")
    Client().get("/nowhere/at/all/")
    samples = scrape()
    assert value(samples, "placo_http_request_seconds_count", **labels) == before + 1
    assert not [labels for name, labels in samples if ("method", "MADEUP") in labels]


def test_doorbells(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from placo.celery import app
    from placo.services import runs

    monkeypatch.undo()
    monkeypatch.setattr(app, "send_task", lambda *args, **options: None)
    before = counted("placo_doorbells_total", when="later"), counted("placo_doorbells_total", when="now")
    runs._send(1, 0)
    runs._send(1, 2.5)
    assert (counted("placo_doorbells_total", when="later"), counted("placo_doorbells_total", when="now")) == (
        before[0] + 1,
        before[1] + 1,
    )


COUNT = """
import os
from placo import metrics
metrics.step_results.labels("edge", "ensure", "done").inc(3)
metrics.effect_seconds.labels("edge", "ensure").observe(0.02)
"""
READ = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from placo import metrics
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_processes_are_added_up(tmp_path: Path) -> None:
    """Two workers that have ended and a portal that reads: nothing of theirs is lost, and who counts nothing leaves nothing."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def python(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    python("from placo import metrics")
    assert list(tmp_path.iterdir()) == []
    python(COUNT)
    python(COUNT)
    samples = parsed(python(READ))
    assert value(samples, "placo_step_results_total", action="edge", verb="ensure", result="done") == 6
    assert value(samples, "placo_step_effect_seconds_count", action="edge", verb="ensure") == 2


# --- deploy/prometheus -----------------------------------------------------------------------------------------------


def test_the_alerts_name_what_is_exported(
    scrape: Callable[[], Samples], world: World, optics: Project, emmy: User, admin: User
) -> None:
    heartbeat.beat()
    Host.objects.update(checked_at="2026-01-01T00:00:00Z")
    world.warm()
    ready_platform(world, emmy, admin)
    scrape()
    exported = {name for name, _labels in scrape()} | {"placo_drift"}
    rules = [rule for group in _yaml("alerts.yml")["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"] and rule["annotations"]["runbook"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        named = set(re.findall(r"\bplaco_\w+", rule["expr"]))
        assert named <= exported | {"placo"}, named - exported


def test_the_scrape_configuration() -> None:
    [job] = _yaml("scrape.yml")["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "Bearer"
    assert job["authorization"]["credentials_file"]


def test_every_metric_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    sources = [(ROOT / "placo" / name).read_text() for name in ("metrics.py", "services/gauges.py")]
    names = {name for source in sources for name in re.findall(r'"(placo_\w+)"', source)}
    assert len(names) > 12
    assert sorted(name for name in names if name not in text) == []


def _yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / "prometheus" / name).read_text())
