"""The end of a platform, and the end of the lab under a platform."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from deploy import demo
from deploy.client import Lab, wait_for
from deploy.lab.layout import PORTAL_ADDRESS
from deploy.lab.layout import Lab as Layout
from deploy.lab.programs import in_portal
from tests.contract.outside import understandable
from tests.lab_world import ROOT, Made, World
from tests.vm.guest import guest
from tests.vm.mail import told

Audit = Callable[[str], list[str]]


@pytest.fixture
def audit(lab: Lab) -> Audit:
    """The world audit, run by the lab's own management command against its own database, where its name server can be reached."""

    def run(slug: str) -> list[str]:
        done = subprocess.run(
            in_portal(Layout.at(lab.root), [sys.executable, "manage.py", "audit_platform", slug]),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            env={"PLACO_CONFIG": str(lab.root / "placo.toml"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout.splitlines()

    return run


def test_retiring_leaves_nothing_behind(lab: Lab, world: World, audit: Audit) -> None:
    gamma = world.ready("gamma")
    www = guest(lab, "gamma", gamma.machine("www"))
    found = "\n".join(audit("gamma"))
    for kind in (
        "domain",
        "volume",
        "network",
        "directory entry",
        "edge route",
        "certificate",
        "addresses",
        "quota",
    ):
        assert kind in found, f"the audit sees a living platform's {kind}"
    address = gamma.url("web", "/")
    assert lab.get(address).status_code == 200
    name = httpx.URL(address).host
    assert told(lab, name, "A") == [PORTAL_ADDRESS]
    assert told(lab, f"_placo.{name}", "TXT") != []
    world.retire("gamma")
    assert audit("gamma") == []
    assert lab.get(address).status_code == 404
    assert told(lab, name, "A") == [] and told(lab, f"_placo.{name}", "TXT") == []
    stray = ["vol-create-as", "placo", "placo-gamma-www-data.qcow2", "1M", "--format", "qcow2"]
    subprocess.run(["virsh", "-c", www.uri, *stray], check=True, capture_output=True)
    try:
        assert [line.split()[0] for line in audit("gamma")] == ["volume"], "the audit can fail"
    finally:
        subprocess.run(
            ["virsh", "-c", www.uri, "vol-delete", "placo-gamma-www-data.qcow2", "--pool", "placo"],
            check=True,
            capture_output=True,
        )


def test_both_hosts_carry_a_platform(alpha: Made, beta: Made, world: World) -> None:
    gamma = world.ready("gamma")  # ready once, whatever became of it since
    assert {platform.now["host"] for platform in (alpha, beta, gamma)} == {"h1", "h2"}


def test_stop_and_start_keep_the_data(lab: Lab, beta: Made) -> None:
    inside = guest(lab, "beta", beta.machine("www"))
    assert inside.run("echo precious > /srv/placo/kept; sync").status == 0
    owner = beta.owner
    stopped = owner("POST", "/platforms/beta/actions/stop")["run_id"]
    assert owner.wait_for_run(stopped)["state"] == "done"
    assert beta.now["state"] == "stopped"
    for language in ("en", "fr"):  # whoever asks reads both
        answer = lab.get(beta.url("web", "/"), headers={"Accept-Language": language})
        assert answer.status_code == 503 and understandable(answer.text), answer.text
    started = owner("POST", "/platforms/beta/actions/start")["run_id"]
    assert owner.wait_for_run(started)["state"] == "done"
    assert inside.run("cat /srv/placo/kept").text == "precious\n"


def test_restart_boots_the_machine_again(lab: Lab, beta: Made) -> None:
    inside = guest(lab, "beta", beta.machine("www"))
    before = inside.run("cat /proc/sys/kernel/random/boot_id").text
    run_id = beta.owner("POST", "/platforms/beta/actions/restart")["run_id"]
    assert beta.owner.wait_for_run(run_id)["state"] == "done"
    assert beta.now["state"] == "ready"
    assert inside.run("cat /proc/sys/kernel/random/boot_id").text != before
    assert lab.get(beta.url("web", "/")).status_code == 200


def test_a_suspended_machine_goes_on_where_it_was(lab: Lab, beta: Made) -> None:
    inside = guest(lab, "beta", beta.machine("www"))
    before = inside.run("cat /proc/sys/kernel/random/boot_id").text
    for action, state in (("suspend", "suspended"), ("resume", "ready")):
        run_id = beta.owner("POST", f"/platforms/beta/actions/{action}")["run_id"]
        assert beta.owner.wait_for_run(run_id)["state"] == "done"
        assert beta.now["state"] == state
    assert inside.run("cat /proc/sys/kernel/random/boot_id").text == before
    assert lab.get(beta.url("web", "/")).status_code == 200


def test_the_demo_does_the_main_job_and_again(lab: Lab, world: World) -> None:
    demo.demonstrate(lab)
    demo.demonstrate(lab)
    assert world.owner("GET", "/platforms/demo")["state"] == "ready"
    world.retire("demo")


def test_platforms_come_back_with_the_lab(lab: Lab, alpha: Made, beta: Made) -> None:
    verb = [sys.executable, "-m", "deploy.lab"]
    subprocess.run([*verb, "down", "--root", str(lab.root)], cwd=ROOT, check=True, timeout=300)
    subprocess.run([*verb, "up", "--root", str(lab.root)], cwd=ROOT, check=True, timeout=300)
    pages = [alpha.url("web", "/"), beta.url("web", "/")]
    wait_for(lambda: all(lab.get(p).status_code == 200 for p in pages), 300, "the platforms to answer again")
    assert alpha.now["state"] == beta.now["state"] == "ready"
