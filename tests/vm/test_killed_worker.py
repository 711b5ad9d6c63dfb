"""A worker killed (SIGKILL) at every step of a clone: the next one completes it. Real hosts and directory, a database of the test's own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from deploy.client import Lab
from placo import wiring
from placo.domain.plan import subnet_of
from placo.platforms.models import Host, Machine, Platform, Run, Step, User
from placo.services import audit, engine, placement, platforms, requests, runs, templates
from tests.factories import make_project, make_user
from tests.lab_world import ROOT
from tests.vm.dying_worker import without_edge
from tests.vm.guest import guest

SLUG = "killed"
PLACES = [
    ("template", "after"),
    ("ensure_clone_disk", "after"),
    ("ensure_clone_data", "during"),
    ("ensure_domain", "after"),
    ("ensure_clone_memory", "during"),
    ("ensure_clone_memory", "after"),
    ("resume_clone", "before"),
    ("resume_clone", "during"),
    ("resume_clone", "after"),
    ("personalise", "during"),
    ("personalise", "after"),
]


@pytest.fixture
def host(transactional_db: None, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """A host of the lab in the test's database; addresses that the lab gives away last."""
    entry = wiring.site().hosts[-1]
    row = Host.objects.create(
        name=entry.name,
        uri=entry.uri,
        hypervisor=entry.hypervisor,
        storage_pool=entry.storage_pool,
        domain_type=entry.domain_type,
        reachable=True,
    )
    monkeypatch.setattr(runs, "_send", lambda _run_id, _after: None)
    for name in ("edge", "prober", "zone"):
        monkeypatch.setattr(wiring, name, getattr(wiring, name))  # what comes next is undone afterwards
    without_edge(tmp_path / "edge")
    network = wiring.site().network
    last = 2 ** (network.prefix - network.pool.prefixlen) - 1
    monkeypatch.setattr(
        placement, "subnet_of", lambda pool, prefix, index: subnet_of(pool, prefix, last - 50 - index)
    )
    return row


@pytest.fixture
def people(lab: Lab, host: Host) -> Iterator[tuple[User, User]]:
    """The owner of a project, and an administrator; afterwards nothing is left of the platform, whatever happened."""
    owner = make_user(lab.accounts["owner"].uid)
    make_project(lab.project, owner)
    yield owner, make_user("admin", administrator=True)
    for run in Run.objects.filter(ended_at=None):
        runs.begin_unwinding(run, list(run.steps.all()), "the test is over")
        run.save()
        _finish(run.pk)


def _finish(run_id: int, seconds: float = 90) -> Run:
    """What workers do after the leases of a dead one have ended, until the run has."""
    Step.objects.filter(run=run_id, lease_until__isnull=False).update(lease_until=timezone.now())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        engine.advance(run_id)
        run = Run.objects.get(pk=run_id)
        if run.ended_at:
            return run
        time.sleep(0.1)
    raise AssertionError([(s.name, s.state, s.error, s.message) for s in run.steps.all()])


@pytest.mark.parametrize(("operation", "moment"), PLACES)
def test_the_next_worker_completes_it(
    lab: Lab, people: tuple[User, User], host: Host, operation: str, moment: str, tmp_path: Path
) -> None:
    owner, admin = people
    request = requests.submit_request(
        acting_user=owner,
        project_slug=lab.project,
        slug=SLUG,
        services=["web"],
        days=1,
        justification="A worker dies.",
    )
    templates.keep_templates(host.pk)
    run = requests.approve_request(acting_user=admin, request_id=request.pk)
    words = [str(connection.settings_dict["NAME"]), str(run.pk), operation, moment, str(tmp_path / "edge")]
    died = subprocess.run(
        [sys.executable, "-m", "tests.vm.dying_worker", *words], cwd=ROOT, timeout=180, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert not Run.objects.get(pk=run.pk).ended_at

    assert _finish(run.pk).state == "done"
    machine = Machine.objects.get(platform=run.platform)
    assert (machine.way, machine.state) == ("warm", "answering")
    inside = guest(lab, SLUG, {"name": "www", "host": host.name})
    assert inside.run("cat /etc/machine-id").text.strip() == machine.uuid.hex
    assert inside.run("cat /proc/sys/kernel/hostname; ls /srv/placo/site").text.split() == [
        "www",
        "members",
        "public",
    ]
    volumes = {f.name for f in audit.audit_platform(run.platform) if f.kind == "volume"}
    planned = run.platform.plan.machine("www")
    assert volumes == {planned.system_volume, planned.data_volume}

    retiring = platforms.retire_platform(acting_user=owner, slug=SLUG, confirm=SLUG)
    assert _finish(retiring.pk).state == "done"
    assert audit.audit_platform(Platform.objects.get(pk=run.platform_id)) == []
