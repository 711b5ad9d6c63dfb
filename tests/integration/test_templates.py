"""Machines resumed from templates, on the fakes: warm where that can be, cold with the reason where not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from placo import wiring
from placo.drivers.ports import DriverError, Power
from placo.platforms.models import AuditEvent, Host, Project, Template, User
from placo.services import audit, engine, hosts, platforms, templates
from placo.services.requests import approve_request
from tests.factories import approve, ready_platform, submit
from tests.fakes import World
from tests.integration.warm import (
    SLUG,
    Death,
    all_,
    assert_complete,
    damaged,
    failed,
    impossible,
    machines,
    members,
    no_memory,
    none_yet,
    off,
    other_version,
    ways,
)

# --- warm ------------------------------------------------------------------------------------------------------------


def test_a_platform_comes_up_warm(warm: World, emmy: User, admin: User) -> None:
    run = warm.finish(approve(emmy, admin).pk)

    assert ways() == all_("warm")
    assert_complete(warm, run)
    host = warm.host_of(run.platform)
    plan = run.platform.plan
    keys = set()
    for m in plan.machines:
        row = machines()[m.name]
        assert row.template.startswith(f"{m.image}--")
        assert row.took_s is not None
        assert (row.state, row.way_detail) == ("answering", "")
        found = members(host.templates.archive(m.uuid))
        assert f"PLACO_MACHINE_UUID={m.uuid}\n".encode() in found["settings.env"]
        keys |= {
            found["entropy"],
            found["root/etc/placo/tls/key.pem"],
            found["root/etc/ssh/ssh_host_ed25519_key"],
        }
    assert len(keys) >= 2 * len(plan.machines)  # nothing secret is shared by two machines
    assert not [v for v in host.inventory().volumes if v.endswith(("-memory.save", "-seed.iso"))]


def test_a_warm_platform_lives_like_any_other(warm: World, emmy: User, admin: User) -> None:
    platform = ready_platform(warm, emmy, admin)
    host = warm.host_of(platform)
    for action in ("stop", "start", "restart"):
        run = warm.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=action).pk)
        assert run.state == "done", action
        running = action != "stop"
        assert {d.power for d in host.inventory().domains} == {Power.RUNNING if running else Power.STOPPED}
    assert all(host.live_xml(m.uuid) is None for m in platform.plan.machines)  # who was off has booted
    run = warm.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)

    assert run.state == "done"
    assert warm.audit(SLUG) == []
    assert audit.orphans() == []
    assert set(Template.objects.values_list("state", flat=True)) == {Template.READY}


def test_the_link_is_down_until_the_settings_are_taken(warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    host = warm.host_of(run.platform)
    uuids = [m.uuid for m in run.platform.plan.machines]
    host.templates.mute_guests |= set(uuids)
    for _round in range(5):
        engine.advance(run.pk)
        warm.let_time_pass(run.pk)
    assert [host.link(uuid) for uuid in uuids] == ["down", "down"]
    assert [d.autostart for d in host.inventory().domains] == [False, False]
    first = [host.templates.archive(uuid) for uuid in uuids]
    assert None not in first
    host.templates.mute_guests.clear()

    assert_complete(warm, warm.finish(run.pk))
    assert [host.templates.archive(uuid) for uuid in uuids] == first  # an order that was given holds
    assert ways() == all_("warm")


# --- cold, and why ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (off, Template.OFF, ""),
        (none_yet, Template.MAKING, ""),
        (impossible, Template.IMPOSSIBLE, "Xen does not resume"),
        (other_version, Template.MAKING, ""),
        (no_memory, Template.MEMORY, "300 MiB free"),
        (damaged, Template.BROKEN, "blank.qcow2 is missing"),
        (failed, Template.FAILED, "no guest agent"),
    ],
)
def test_cold_and_why(
    change: Callable[[World], None], reason: str, detail: str, warm: World, emmy: User, admin: User
) -> None:
    change(warm)
    run = warm.finish(approve(emmy, admin).pk)

    assert ways() == all_("cold", reason)
    assert all(detail in m.way_detail for m in machines().values())
    assert_complete(warm, run)
    assert not run.journal.filter(event__in=["retry", "cold"]).exists()


def test_after_an_update_templates_are_made_anew(warm: World, emmy: User, admin: User) -> None:
    old = set(Template.objects.values_list("host__name", "name"))
    other_version(warm)
    warm.finish(approve(emmy, admin).pk)
    assert ways() == all_("cold", Template.MAKING)
    warm.warm()
    warm.finish(approve(emmy, admin, slug="beta").pk)

    assert ways("beta") == all_("warm")
    new = set(Template.objects.values_list("host__name", "name"))
    assert len(new) == len(old)
    assert not old & new
    volumes = {(name, v) for name, host in warm.hosts.items() for v in host.inventory().volumes}
    assert not [(h, t) for h, t in old for part in ("qcow2", "save") if (h, f"{t}.{part}") in volumes]


def test_an_image_that_was_replaced_is_another_template(warm: World, emmy: User, admin: User) -> None:
    warm.images.versions |= {"www": 1}
    run = warm.finish(approve(emmy, admin).pk)

    assert ways() == {"www": ("cold", Template.MAKING), "svn": ("warm", "")}
    assert_complete(warm, run)


def test_a_template_that_disappeared_is_noticed_before_anything_is_made_of_it(
    warm: World, emmy: User, admin: User
) -> None:
    for host in warm.hosts.values():
        host.remove_templates("placo-www-", [])
    run = warm.finish(approve(emmy, admin).pk)

    assert ways() == {"www": ("cold", Template.BROKEN), "svn": ("warm", "")}
    assert_complete(warm, run)
    assert AuditEvent.objects.get(verb="template.broken").detail["reason"].endswith("is gone")


# --- keeping templates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["ensure_image", "ensure_template", "boot", "save", "seal", "template"])
def test_a_keeper_dies_and_the_next_one_makes_it(
    point: str, world: World, optics: Project, emmy: User, admin: User
) -> None:
    for host in world.hosts.values():
        host.faults.fail_next(point, Death())
    for row in Host.objects.all():
        with pytest.raises(Death):
            templates.keep_templates(row.pk)
    assert not Template.objects.filter(state=Template.READY).exists()
    run = world.finish(approve(emmy, admin).pk)
    assert ways() == {m.name: ("cold", Template.MAKING) for m in run.platform.plan.machines}
    world.warm()

    assert set(Template.objects.values_list("state", flat=True)) == {Template.READY}
    for host in world.hosts.values():
        assert not [d.name for d in host.inventory().domains if d.platform_uuid is None]


def test_a_template_that_cannot_be_made_is_tried_again_later(
    world: World, optics: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = world.hosts["h1"]
    host.faults.fail_next("boot", DriverError("no guest agent"), times=2)
    world.warm()
    failed = Template.objects.filter(state=Template.FAILED)
    assert set(failed.values_list("reason", flat=True)) == {"no guest agent"}
    assert failed.count() == 2
    world.warm()
    assert failed.count() == 2  # not at once
    monkeypatch.setattr(templates, "RETRY", -templates.RETRY)
    world.warm()
    assert failed.count() == 0
    assert all(row.seconds is not None and row.memory_bytes > 0 for row in Template.objects.all())


def test_keeping_again_makes_nothing_again(warm: World) -> None:
    before = list(Template.objects.values_list("pk", "name", "made_at", "generation"))
    for host in warm.hosts.values():
        host.faults.fail_next("ensure_template", AssertionError("made twice"))
    warm.warm()

    assert list(Template.objects.values_list("pk", "name", "made_at", "generation")) == before


def test_while_people_wait_no_template_is_made(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    templates.keep_templates(run.platform.host_id)
    assert not Template.objects.exists()
    world.finish(run.pk)
    templates.keep_templates(run.platform.host_id)
    assert Template.objects.filter(state=Template.READY).count() == len(wiring.catalogue().machines)


def test_a_site_may_have_only_the_templates_that_are_asked_for(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = wiring.site()
    sparing = replace(site, site=replace(site.site, templates_ahead=False))
    monkeypatch.setattr(wiring, "site", lambda: sparing)
    world.warm()
    assert not Template.objects.exists()
    request = submit(emmy, services=["web"])
    world.warm()
    made = Template.objects.get()
    assert (made.host, made.state) == (request.platform.host, Template.READY)
    assert made.image == wiring.images().name_for("www")
    shown = hosts.templates_of(Host.objects.all())
    assert {pk: [view.machine for view in views] for pk, views in shown.items()} == {
        host.pk: ["www"] if host == made.host else [] for host in Host.objects.all()
    }
    world.finish(approve_request(acting_user=admin, request_id=request.pk).pk)
    assert ways() == {"www": ("warm", "")}
    world.warm()
    assert Template.objects.get() == made  # of a platform that lives it stays


def test_hosts_that_do_not_take_part_are_left_alone(world: World, optics: Project) -> None:
    Host.objects.filter(name="h1").update(warm=False)
    Host.objects.filter(name="h2").update(enabled=False)
    assert templates.hosts_with_templates() == []
    world.warm()
    assert not Template.objects.exists()


def test_a_host_that_cannot_says_so_once(world: World, optics: Project) -> None:
    impossible(world)
    for _turn in range(2):
        world.warm()
    rows = Template.objects.filter(host__name="h1")
    assert {(row.state, row.key) for row in rows} == {(Template.IMPOSSIBLE, "")}
    assert rows.count() == len(wiring.catalogue().machines)
    assert all("Xen" in row.reason for row in rows)


def test_an_outage_while_keeping_is_no_fault_of_the_template(warm: World) -> None:
    for host in warm.hosts.values():
        host.faults.unreachable = True
    warm.warm()
    assert set(Template.objects.values_list("state", flat=True)) == {Template.READY}


def test_a_disk_stays_for_as_long_as_clones_lie_over_it(warm: World, emmy: User, admin: User) -> None:
    platform = ready_platform(warm, emmy, admin)
    host = warm.host_of(platform)
    used = {machine.template for machine in machines().values()}
    other_version(warm)
    warm.warm()

    def left() -> set[str]:
        return {v for v in host.inventory().volumes if v.partition(".")[0] in used}

    assert left() == {f"{name}.qcow2" for name in used}
    warm.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    warm.warm()
    assert left() == set()
