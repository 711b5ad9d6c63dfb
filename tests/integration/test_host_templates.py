"""Templates where people look: in the API, on the hosts' page, at home, on machines' pages; and turning them on and off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from placo import wiring
from placo.platforms.models import AuditEvent, Host, Machine, Project, Run, Template, User
from placo.services import auditlog, hosts, progress, templates
from placo.services.errors import Forbidden, NotFound
from tests import factories
from tests.fakes import World

pytestmark = pytest.mark.django_db


def template(host: str, machine: str, state: str, **fields: Any) -> Template:
    """A template of the present image of a kind of machine."""
    image = wiring.images().name_for(machine)
    given = {"key": "k1", "name": f"{image}--k1", "state": state, **fields}
    return Template.objects.create(host=Host.objects.get(name=host), image=image, **given)


def broken_and_remade(host: str, machine: str) -> Template:
    """A template that was found broken and whose successor is being made."""
    row = template(host, machine, Template.MAKING, generation=1)
    auditlog.record(None, "template.broken", row.name, host=host, reason="memory is cut short")
    row.name += "-1"
    row.save()
    return row


def page(user: User, path: str) -> str:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client.get(path).content.decode()


# --- the API ---


def test_hosts_show_a_template_for_every_machine_of_the_catalogue(
    api: Any, optics: Project, admin: User
) -> None:
    now = timezone.now()
    template("h1", "www", Template.READY, made_at=now, seconds=31.5, memory_bytes=140, disk_bytes=5)
    template("h1", "svn", Template.IMPOSSIBLE, key="", name="", reason="no guest agent")
    h1, h2 = api(admin)("GET", "/hosts")

    assert (h1["warm"], h1["resumes_at_once"]) == (True, 3)
    shown = {t["image"]: t for t in h1["templates"]}
    assert set(shown) == {wiring.images().name_for(name) for name in wiring.catalogue().machines}
    www = shown[wiring.images().name_for("www")]
    assert (www["state"], www["seconds"], www["memory_bytes"], www["disk_bytes"]) == ("ready", 31.5, 140, 5)
    svn = shown[wiring.images().name_for("svn")]
    assert (svn["state"], svn["reason"]) == ("impossible", "no guest agent")
    assert {t["state"] for t in h2["templates"]} == {"planned"}


def test_what_is_there_counts_more_than_what_was_not_possible(api: Any, optics: Project, admin: User) -> None:
    template("h1", "www", Template.READY)
    template("h1", "www", Template.IMPOSSIBLE, key="", name="", reason="it was an older libvirt")
    h1, _h2 = api(admin)("GET", "/hosts")
    [www] = [t for t in h1["templates"] if t["image"] == wiring.images().name_for("www")]
    assert www["state"] == "ready"


def test_templates_are_turned_off_and_on(api: Any, optics: Project, admin: User) -> None:
    assert api(admin)("POST", "/hosts/h1/warm", {"on": False})["warm"] is False
    assert not Host.objects.get(name="h1").warm
    assert Host.objects.get(name="h2").warm
    api(admin)("POST", "/hosts/h1/warm", {"on": False})  # nothing happens a second time
    assert api(admin)("POST", "/hosts/h1/warm", {"on": True})["warm"] is True
    deeds = AuditEvent.objects.filter(subject="h1").order_by("id").values_list("actor", "verb")
    assert list(deeds) == [("ada", "host.warm-off"), ("ada", "host.warm-on")]


def test_the_switch_is_for_administrators(api: Any, optics: Project, emmy: User, admin: User) -> None:
    api(emmy)("POST", "/hosts/h1/warm", {"on": False}, status=403)
    api(None)("POST", "/hosts/h1/warm", {"on": False}, status=401)
    api(admin)("POST", "/hosts/nothing/warm", {"on": False}, status=404)
    api(admin)("POST", "/hosts/h1/warm", {"warm": False}, status=422)
    assert Host.objects.get(name="h1").warm
    with pytest.raises(Forbidden):
        hosts.set_warm(acting_user=emmy, host_name="h1", warm=False)
    with pytest.raises(NotFound):
        hosts.set_warm(acting_user=admin, host_name="h\x001", warm=False)


def test_a_machine_says_how_it_came_up_and_only_administrators_read_the_details(
    world: World, api: Any, optics: Project, emmy: User, admin: User
) -> None:
    platform = factories.ready_platform(world, emmy, admin, services=["web"])
    [before] = api(emmy)("GET", "/platforms/alpha")["machines"]
    assert before["way"] in ("warm", "cold")
    assert before["took_s"] is not None
    Machine.objects.filter(platform=platform).update(
        way="cold", way_reason="failed", way_detail="h1: no room", took_s=21.4
    )
    [seen] = api(emmy)("GET", "/platforms/alpha")["machines"]
    assert (seen["way"], seen["way_reason"], seen["way_detail"], seen["took_s"]) == (
        "cold",
        "failed",
        "",
        21.4,
    )
    [seen] = api(admin)("GET", "/platforms/alpha")["machines"]
    assert seen["way_detail"] == "h1: no room"
    [listed] = api(emmy)("GET", "/platforms")[0]["machines"]
    assert listed["way_detail"] == ""


def test_a_machine_that_does_not_exist_yet_has_no_way(api: Any, optics: Project, emmy: User) -> None:
    factories.submit(emmy)
    for machine in api(emmy)("GET", "/platforms/alpha")["machines"]:
        assert (machine["way"], machine["way_reason"], machine["took_s"]) == ("", "", None)


# --- the site's configuration ---


def test_the_configuration_file_does_not_overrule_an_administrator(
    world: World, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("sync_site")
    name = wiring.site().hosts[0].name
    assert Host.objects.get(name=name).warm == wiring.site().hosts[0].warm
    hosts.set_warm(acting_user=admin, host_name=name, warm=False)
    call_command("sync_site")
    assert not Host.objects.get(name=name).warm


# --- screens ---


def test_trouble_is_told_at_home_and_on_the_hosts_page_until_it_is_over(
    optics: Project, emmy: User, admin: User
) -> None:
    assert "template of" not in page(admin, "/")
    remade = broken_and_remade("h1", "www")
    template("h2", "svn", Template.FAILED, reason="the guest never settled", checked_at=timezone.now())

    home = page(admin, "/")
    assert "The template of www on h1 is damaged" in home
    assert "it is being made again" in home
    assert "The template of svn on h2 could not be made" in home
    assert "template of" not in page(emmy, "/")
    shown = page(admin, "/operations/hosts/")
    assert "memory is cut short" in shown
    assert "the guest never settled" in shown
    assert "New machines of this kind boot meanwhile" in shown

    remade.state, remade.made_at = Template.READY, timezone.now()
    remade.save()
    Template.objects.filter(state=Template.FAILED).delete()
    assert "template of" not in page(admin, "/")


def test_no_trouble_is_told_of_hosts_that_do_without_or_do_not_answer(optics: Project) -> None:
    broken_and_remade("h1", "www")
    template("h2", "www", Template.FAILED)
    assert len(hosts.troubled_templates()) == 2
    Host.objects.filter(name="h1").update(warm=False)
    Host.objects.filter(name="h2").update(reachable=False)
    assert hosts.troubled_templates() == []


def test_a_template_that_was_broken_long_ago_and_is_ready_is_no_trouble(optics: Project) -> None:
    row = broken_and_remade("h1", "www")
    AuditEvent.objects.update(at=timezone.now() - timedelta(days=3))
    [view] = hosts.troubled_templates()
    assert (view.trouble, view.reason) == ("broken", "memory is cut short")
    assert view.since is not None
    assert view.since < timezone.now() - timedelta(days=2)
    row.state = Template.READY
    row.save()
    assert hosts.troubled_templates() == []


def test_the_hosts_page_turns_templates_off_and_on(optics: Project, admin: User) -> None:
    client = Client()
    client.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    assert client.post("/operations/hosts/h1/templates/off/").status_code == 302
    assert not Host.objects.get(name="h1").warm
    shown = page(admin, "/operations/hosts/")
    assert 'action="/operations/hosts/h1/templates/on/"' in shown
    assert 'action="/operations/hosts/h2/templates/off/"' in shown
    assert "New machines of this host boot." in shown
    assert client.post("/operations/hosts/h1/templates/on/").status_code == 302
    assert Host.objects.get(name="h1").warm
    assert client.post("/operations/hosts/h1/templates/perhaps/").status_code == 404
    assert "turned its templates off" in page(admin, "/operations/audit/")


def test_machines_and_the_picture_say_how_they_came_up(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = factories.ready_platform(world, emmy, admin, services=["web"])
    rows = Machine.objects.filter(platform=platform)
    rows.update(way="warm", way_reason="", way_detail="", took_s=2.34)
    for path in ("/platforms/alpha/", "/platforms/alpha/machines/www/"):
        assert "resumed from a template in 2.3 s" in page(emmy, path)
    rows.update(way="cold", way_reason="memory", way_detail="h1: 12 MiB free", took_s=21.2)
    for path in ("/platforms/alpha/", "/platforms/alpha/machines/www/"):
        assert "booted in 21 s: its host was short of memory at that moment" in page(emmy, path)
    assert "12 MiB free" not in page(emmy, "/platforms/alpha/machines/www/")
    assert "12 MiB free" in page(admin, "/platforms/alpha/machines/www/")


def test_a_run_reads_in_the_way_of_each_machine(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = factories.ready_platform(world, emmy, admin, services=["web"])
    run, rows = platform.runs.get(), Machine.objects.filter(platform=platform)
    for way, needless in (("warm", ("settings", "tidying")), ("cold", ("memory", "identity"))):
        rows.update(way=way, way_reason="")
        shown = page(emmy, f"/runs/{run.pk}/")
        assert shown.count("not needed") == len(needless)
        for word in needless:
            assert f"<span>{word}</span> <small>not needed</small>" in shown
        assert progress.progress(acting_user=emmy, run_id=run.pk).pace == way


def test_details_of_the_choice_are_not_in_the_run(
    world: World, api: Any, optics: Project, emmy: User, admin: User
) -> None:
    template(
        "h1", "www", Template.FAILED, reason="h1: /var/lib/secret/place is full", checked_at=timezone.now()
    )
    template(
        "h2", "www", Template.FAILED, reason="h2: /var/lib/secret/place is full", checked_at=timezone.now()
    )
    spec = templates._spec_of_kind(wiring.catalogue().machines["www"])
    for row in Template.objects.select_related("host"):
        row.key = world.hosts[row.host.name].template_key(spec)
        row.save()
    platform = factories.ready_platform(world, emmy, admin, services=["web"])
    run = platform.runs.get()
    assert Machine.objects.get(platform=platform).way_reason == Template.FAILED
    [way] = [s for s in api(emmy)("GET", f"/runs/{run.pk}")["steps"] if s["action"] == "way"]
    assert way["message"] == "cold: failed"
    shown = page(emmy, f"/runs/{run.pk}/")
    assert "boots: the template of its image could not be made" in shown
    assert "secret" not in shown


def test_the_usual_duration_is_that_of_runs_of_the_same_pace(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    now = timezone.now()
    for slug, way, seconds in (("a", "warm", 3), ("b", "cold", 40), ("c", "warm", 5)):
        platform = factories.ready_platform(world, emmy, admin, slug=slug, services=["web"])
        Machine.objects.filter(platform=platform).update(way=way)
        platform.runs.update(created_at=now - timedelta(seconds=seconds), ended_at=now)
    run = factories.approve(emmy, admin, slug="d", services=["web"])
    assert progress.usual_seconds(run, "warm") == pytest.approx(4)
    assert progress.usual_seconds(run, "cold") == pytest.approx(40)
    assert progress.usual_seconds(run) == pytest.approx(5)
    assert progress.progress(acting_user=emmy, run_id=run.pk).pace == ""


def test_stopping_and_starting_have_no_way(world: World, optics: Project, emmy: User, admin: User) -> None:
    factories.ready_platform(world, emmy, admin, services=["web"])
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    client.post("/platforms/alpha/power/stop/")
    run = Run.objects.latest("id")
    view = progress.progress(acting_user=emmy, run_id=run.pk)
    assert (view.ways, view.pace) == ({}, "")
    assert "not needed" not in page(emmy, f"/runs/{run.pk}/")
