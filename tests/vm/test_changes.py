"""A living platform changes on real machines: more memory and disk, a service more, a service less. Its data stays."""

from __future__ import annotations

from typing import Any

from deploy.client import Lab
from tests.lab_world import World
from tests.vm.guest import Guest, guest

SLUG = "changing"
FILE = "/srv/placo/site/public/precious.html"


def change(world: World, **wish: Any) -> dict[str, Any]:
    """Ask and approve; the run, ended."""
    asked = world.owner(
        "POST", f"/platforms/{SLUG}/changes", justification="A test on real machines.", **wish
    )
    run = world.admin("POST", f"/requests/{asked['id']}/approve", plan_hash=asked["plan"]["hash"])
    ended: dict[str, Any] = world.owner.wait_for_run(run["run_id"])
    assert ended["state"] == "done", ended
    return ended


def sizes(inside: Guest) -> tuple[int, int]:
    """Memory and data volume as the guest sees them: MiB, GiB."""
    memory = inside.run("awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo").text
    disk = inside.run("df -BM --output=size /srv/placo | tail -1 | tr -dc 0-9").text
    return int(memory), round(int(disk) / 1024)


def test_a_platform_grows_and_shrinks(lab: Lab, world: World) -> None:
    world.ask(SLUG, "web")
    made = world.ready(SLUG)
    try:
        www = guest(lab, SLUG, made.machine("www"))
        memory, disk = sizes(www)
        www.run(f"echo precious > {FILE}; sync")
        boot = www.run("cat /proc/sys/kernel/random/boot_id").text

        change(world, sizes={"www": {"data_volume_gib": disk + 3}})
        assert sizes(www)[1] in (disk + 2, disk + 3)
        assert www.run("cat /proc/sys/kernel/random/boot_id").text == boot, "it went on meanwhile"

        change(world, services=["web", "svn"], sizes={"www": {"memory_mib": 768}})
        assert sizes(www)[0] > memory + 100
        assert www.run("cat /proc/sys/kernel/random/boot_id").text != boot
        assert www.run(f"cat {FILE}").text.strip() == "precious"
        svn = made.url("svn") + "/"
        assert lab.get(svn).status_code == 401
        assert lab.get(svn, "owner").status_code == 200

        change(world, services=["web"], confirm=SLUG)
        assert [m["name"] for m in made.now["machines"]] == ["www"]
        assert lab.get(svn).status_code == 404
        assert lab.get(made.url("web", "/").rstrip("/") + "/precious.html").text.strip() == "precious"
    finally:
        world.retire(SLUG)
