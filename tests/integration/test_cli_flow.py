"""The main job with the `placo` command, through the real API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections

from placo.cli import follow
from placo.platforms.models import Platform, Project, Request, Run, User
from placo.services import accounts, expiry, reconcile
from tests import factories
from tests.command import Command
from tests.factories import ready_platform
from tests.fakes import World
from tests.integration.conftest import Clock


@pytest.fixture
def placo(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[User], Command]]:
    """The command against the portal of this process; the workers' part is played while it waits."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)  # the connection holds the test's transaction
    run = Command(httpx.WSGITransport(get_wsgi_application()), tmp_path / "home", monkeypatch, capsys)

    def work(_seconds: float) -> None:
        from placo.services import engine

        for run_id in engine.due_runs():
            world.finish(run_id)

    monkeypatch.setattr(follow, "pause", work)

    def made(user: User) -> Command:
        run.logged_in(user.username, accounts.issue_token(acting_user=user))
        return run

    yield made
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_the_main_job(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, admin: User
) -> None:
    owner = placo(emmy)
    assert "Subversion" in owner("services").out
    assert "0 of 8" in owner("projects").out
    asked = owner(
        "request",
        "alpha",
        "web",
        "svn",
        "--project",
        "optics",
        "-m",
        "Workshop",
        "-o",
        "web.php=no",
        "--json",
    )
    number, plan = str(asked.json["id"]), asked.json["plan"]["hash"]
    assert "alpha" in owner("requests").out
    refused = owner("approve", number)
    assert refused.status == 1
    assert "Only an administrator" in refused.err

    administrator = placo(admin)
    assert plan in administrator("requests", number).out
    assert administrator("approve", number, "--plan", "0" * 64).status == 1
    approved = administrator("approve", number, "--plan", plan, "--follow")
    assert (approved.status, approved.err) == (0, "")
    assert "health:www: done" in approved.out
    assert "is done." in approved.out
    assert administrator("approve", number).status == 1
    assert "h1" in administrator("hosts").out
    off = administrator("warm", "h1", "--off", "--json").json
    assert (off["name"], off["warm"]) == ("h1", False)
    assert "placo-www" in administrator("warm", "h1", "--on").out

    machine = Platform.objects.get(slug="alpha").plan.machine("www")
    world.host_of(Platform.objects.get(slug="alpha")).suspend_domain(machine.uuid)
    reconcile.reconcile()
    assert "power: running -> paused" in administrator("drift").out
    (row,) = administrator("drift", "list", "--kind", "paused", "--open", "--json").json
    assert "ada" in administrator("drift", "accept", str(row["id"])).out
    assert administrator("drift", "repair", str(row["id"]), "--follow").status == 0
    reconcile.reconcile()
    assert administrator("drift", "list", "--json").json == []

    owner = placo(emmy)
    assert owner("drift").status == 1
    shown = owner("platform", "alpha").out
    assert "ready" in shown
    assert "https://alpha-web." in shown
    assert re.search(r"(cold \(making\)|warm), \d+(\.\d)? s", shown)
    assert owner("warm", "h1", "--off").status == 1
    assert owner("add", "alpha", "alan", "--follow").status == 0
    assert set(world.directory.members("alpha")) == {"emmy", "alan"}
    assert "Alan Turing" in owner("members", "alpha").out
    nobody = owner("add", "alpha", "al*")
    assert nobody.status == 1
    assert nobody.err.startswith("error: uid: ")
    assert owner("remove", "alpha", "alan", "--follow").status == 0
    assert set(world.directory.members("alpha")) == {"emmy"}
    for action, state in (("stop", "stopped"), ("start", "ready"), ("restart", "ready")):
        assert owner(action, "alpha", "--follow").status == 0
        assert owner("platform", "alpha", "--json").json["state"] == state
    assert owner("retire", "alpha", "--follow", typed="alpha\n").status == 0
    assert world.audit("alpha") == []


def test_machines_are_rebuilt(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    administrator = placo(admin)
    world.images.versions["www"] = 1
    assert re.search(r"alpha +ready +h1 +www", administrator("outdated").out)
    owner = placo(emmy)
    assert owner("rebuild", "alpha", "--machine", "svn").status == 1
    assert owner("rebuild", "alpha", "--machine", "www", "--follow").status == 0
    administrator = placo(admin)
    assert administrator("outdated", "list", "--json").json == []
    world.images.versions["svn"] = 1
    begun = administrator("outdated", "rebuild", "--yes", "--json").json
    assert [one["platform"] for one in begun["begun"]] == ["alpha"]
    world.finish(begun["begun"][0]["run_id"])


def test_more_time(
    placo: Callable[[User], Command], clock: Clock, world: World, optics: Project, emmy: User, admin: User
) -> None:
    factories.ready_platform(world, emmy, admin)
    owner = placo(emmy)
    assert "too early" in owner("renew", "alpha").err
    clock.forward(80)
    expiry.attend()
    [notice] = owner("notices", "--unread", "--json").json
    assert notice["title"] in owner("notices").out
    assert "renew it" in owner("read", str(notice["id"])).out
    assert owner("notices", "--unread", "--json").json == []
    end, until = clock.first + timedelta(days=90), clock.first + timedelta(days=180)
    shown = owner("platform", "alpha").out
    assert f"{end}, data kept until {end + timedelta(days=30)}, can be renewed to {until}" in shown
    renewed = owner("renew", "alpha")
    assert (
        renewed.out.strip() == f"alpha ends on {until}; its data are kept until {until + timedelta(days=30)}."
    )
    assert owner("renew", "alpha").status == 1
    assert owner("end", "alpha", "2099-01-01").status == 1
    assert "alpha ends on 2099-01-01" in placo(admin)("end", "alpha", "2099-01-01").out
    assert "2099-01-01" in owner("platforms").out


def test_a_change_from_the_wish_to_the_new_size(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = ready_platform(world, emmy, admin)
    www = platform.plan.machine("www")
    owner = placo(emmy)
    larger = ("--memory", "www=1024", "--vcpus", "www=2", "--data", "www=20")
    asked = owner("change", "alpha", *larger, "--until", "2001-01-01", "--why", "The site has grown")
    assert asked.status == 1
    assert asked.err.startswith("error: expires_on: ")
    asked = owner("change", "alpha", *larger, "--why", "The site has grown")
    assert asked.status == 0, asked.err
    lines = [" ".join(line.split()) for line in asked.out.splitlines()]
    for line in (
        "kind change",
        f"www memory_mib {www.memory_mib} 1024",
        f"www vcpus {www.vcpus} 2",
        f"www data_volume_gib {www.data_volume_gib} 20",
    ):
        assert line in lines, asked.out
    number = str(Request.objects.get(kind="change").pk)
    assert f"www memory_mib: {www.memory_mib} -> 1024" in " ".join(owner("requests").out.split())
    assert owner("requests", number, "--json").json["changes"]["grown"][0]["machine"] == "www"
    assert placo(admin)("approve", number, "--follow").status == 0
    assert world.host_of(platform).definition(www.uuid)["memory_mib"] == 1024

    owner = placo(emmy)
    wrong = owner("change", "alpha", "--remove", "forum", "--why", "x")
    assert (wrong.status, "no service 'forum'" in wrong.err) == (1, True)
    wrong = owner("change", "alpha", "--memory", "www", "--why", "x")
    assert (wrong.status, "is not a size" in wrong.err) == (1, True)
    less = ("change", "alpha", "--remove", "svn", "--why", "no longer needed")
    wrong = owner(*less, "--confirm", "alpah")
    assert wrong.status == 1
    assert wrong.err.startswith("error: confirm: ")
    assert owner(*less, typed="alpah\n").status == 1
    assert not Request.objects.filter(state="submitted").exists()
    asked = owner(*less, typed="alpha\n")
    assert asked.status == 0
    assert "REMOVED WITH ITS DATA" in asked.out
    number = str(Request.objects.latest("pk").pk)
    assert placo(admin)("approve", number, "--follow").status == 0
    more = placo(emmy)("change", "alpha", "--add", "svn", "-o", "svn.repository=thesis", "--why", "after all")
    assert more.status == 0
    assert Request.objects.latest("pk").plan.options["svn"]["repository"] == "thesis"


def test_following_what_was_called_off_says_what_is_left(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    owner = placo(emmy)
    assert owner("change", "alpha", "--vcpus", "www=2", "--why", "more").status == 0
    placo(admin)("approve", str(Request.objects.get(kind="change").pk))
    number = str(Run.objects.get(kind="change").pk)
    undone = placo(emmy)("undo", number, "--follow")
    assert undone.status == 1
    assert "has been undone" in undone.err
    assert "Everything is as it was before." in undone.err


def test_bad_input_is_told_at_the_field(
    placo: Callable[[User], Command], optics: Project, emmy: User
) -> None:
    result = placo(emmy)("request", "WWW", "forum", "--project", "optics", "-m", "x", "--days", "0")
    assert result.status == 1
    told = {line.split(":")[1].strip() for line in result.err.splitlines() if line.startswith("error: ")}
    assert told == {"slug", "services", "days"}


def test_strangers_find_nothing(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, sofia: User
) -> None:
    placo(emmy)("request", "alpha", "web", "--project", "optics", "-m", "x")
    stranger = placo(sofia)
    for command in (
        ("platform", "alpha"),
        ("stop", "alpha"),
        ("change", "alpha", "--vcpus", "www=2", "--why", "x"),
        ("members", "alpha"),
        ("requests", "1"),
        ("run", "1"),
    ):
        result = stranger(*command)
        assert (result.status, result.out) == (1, ""), command
    assert stranger("retire", "alpha", "--yes-slug", "alpha").status == 1


def test_logging_out_ends_the_token(placo: Callable[[User], Command], optics: Project, emmy: User) -> None:
    owner = placo(emmy)
    assert owner("projects").status == 0
    kept = owner.token_file.read_text()
    out = owner("logout")
    assert (out.status, out.out.strip(), out.err) == (0, "Logged out.", "")
    assert not owner.token_file.exists()
    owner.token_file.write_text(kept)
    again = owner("projects")
    assert (again.status, "Run `placo login`" in again.err) == (1, True)
    assert owner("logout").status == 0, "a token that is void already is no trouble"
    assert owner("logout").out.strip() == "You were not logged in."


def test_a_host_that_is_gone(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = ready_platform(world, emmy, admin)
    name = alpha.host.name
    world.host_of(alpha).faults.unreachable = True
    reconcile.reconcile()
    owner = placo(emmy)
    assert owner("retire", "alpha", "--yes-slug", "alpha").status == 0
    number = str(Run.objects.get(kind="retire").pk)
    world.finish(int(number))
    assert f"waits for host {name}, which has not answered since" in " ".join(
        owner("run", number).out.split()
    )
    assert owner("run", number, "--json").json["waits"][0]["place"] == name
    assert owner("host", "lost", name, "--yes-name", name).status == 1

    administrator = placo(admin)
    assert "unreachable" in administrator("hosts").out
    assert administrator("host", "lost", name, typed="h9\n").status == 1
    assert "unreachable" in administrator("host", "show", name).out
    assert administrator("host", "show", "h9").status == 1
    lost = administrator("host", "lost", name, typed=f"{name}\n")
    assert (lost.status, "lost" in lost.out) == (0, True), lost.err
    assert "lost (retiring)" in placo(emmy)("platforms").out
    assert placo(emmy)("run", number, "--follow").status == 0
    administrator = placo(admin)
    shown = administrator("host", "show", name).out
    assert "Kept for what it may still have" in shown
    assert alpha.plan.network.subnet in shown
    back = administrator("host", "take-back", name)
    assert (back.status, "does not answer" in back.err) == (1, True)
    world.host_of(alpha).faults.clear()
    reconcile.reconcile()
    row = next(one for one in administrator("drift", "list", "--json").json if one["where"] == name)
    assert administrator("drift", "repair", str(row["id"]), "--yes", "--follow").status == 0
    reconcile.reconcile()
    assert "reachable" in administrator("host", "take-back", name).out


def test_following_says_what_is_waited_for(
    placo: Callable[[User], Command],
    world: World,
    optics: Project,
    emmy: User,
    admin: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alpha = ready_platform(world, emmy, admin)
    world.host_of(alpha).faults.unreachable = True
    owner = placo(emmy)
    owner("stop", "alpha")
    number = Run.objects.get(kind="stop").pk
    world.finish(number)

    def mended(_seconds: float) -> None:
        world.host_of(alpha).faults.clear()
        world.finish(number)

    monkeypatch.setattr(follow, "pause", mended)
    followed = owner("run", str(number), "--follow")
    assert followed.status == 0
    assert f"  waits for host {alpha.host.name}, which has not answered since" in followed.out
