"""What is in a template, what is made of it, and what becomes of a platform when one is damaged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from deploy.client import Lab, wait_for
from tests.lab_world import Made, World
from tests.vm.clones import Nursery
from tests.vm.disks import POOL, FileSystem, Pool, found_in, virsh
from tests.vm.guest import guest

OF_EACH = ("name", "uuid", "genid", "title", "description", "metadata")
"""What a definition says of one machine only; and the sources of disks and network, the MAC, the address of the filter."""


@pytest.fixture
def nursery(lab: Lab) -> Iterator[Nursery]:
    made = Nursery("h1")
    made.find_template()
    yield made
    made.close()


# --- no secret and no identity ---------------------------------------------------------------------------------------


def _secrets(lab: Lab) -> set[bytes]:
    """Whatever the site keeps from others, and whoever finds it could use it: each as one line."""
    config = tomllib.loads((lab.root / "placo.toml").read_text())

    def files(table: dict[str, Any]) -> Iterator[Path]:
        for name, value in table.items():
            if isinstance(value, dict):
                yield from files(value)
            elif name in ("secret_key_file", "password_file", "key_file", "token_file"):
                yield Path(value)

    lines = {line.strip() for file in files(config) for line in file.read_bytes().splitlines()}
    passwords = [account.password.encode() for account in lab.accounts.values()]
    return {line for line in {*lines, *passwords} if len(line) >= 8 and not line.startswith(b"-----")}


def test_a_template_holds_no_secret_and_no_identity(
    lab: Lab, nursery: Nursery, beta: Made, tmp_path: Path
) -> None:
    pool = Pool(nursery.uri)
    secrets = _secrets(lab)
    assert len(secrets) > 5
    inside = guest(lab, "beta", beta.machine("www"))
    # The third line of a private key of OpenSSH is the first that is not the same in all of them.
    of_machine = inside.run("cat /etc/machine-id; sed -n 3p /etc/ssh/ssh_host_ed25519_key").text.split()
    assert len(of_machine) == 2
    words = secrets | {word.encode() for word in of_machine}
    with pool.flattened(pool.path(f"{nursery.template}.qcow2"), tmp_path) as system:
        _nobody(system)
        for file in (system.raw, pool.seen(pool.path(f"{nursery.template}.save"))):
            # What has to be there shows that looking finds something.
            known = {b"placo.template", b"placo-personalise"}
            assert found_in(file, known), file
            count = len(found_in(file, words))  # which ones is not told in an output
            assert count == 0, f"{count} secrets in {file.name}"


def _nobody(system: FileSystem) -> None:
    assert not [name for name in system.names("/etc/ssh") if name.startswith("ssh_host_")]
    assert system.names("/etc/ssl/private") == set()
    assert "random-seed" not in system.names("/var/lib/systemd")
    assert not system.names("/etc/placo") & {"members.conf", "tls", "machine.json", "settings"}
    assert "personalised" not in system.names("/var/lib/placo")
    assert "authorized_keys" not in system.names("/root/.ssh")
    assert system.text("/etc/hostname").strip() in ("", "localhost", "placo")


# --- a normal machine afterwards -------------------------------------------------------------------------------------


def _definition(uri: str, domain: str) -> str:
    """A machine's definition without what is of this machine alone."""
    tree = etree.fromstring(virsh(uri, "dumpxml", "--inactive", domain))
    for name in OF_EACH:
        for element in tree.findall(name):
            element.clear()
    for element in tree.iter("source", "mac"):
        element.attrib.clear()
        element[:] = []
    for parameter in tree.iter("parameter"):
        parameter.set("value", "")
    return etree.tostring(tree, pretty_print=True).decode()


@pytest.fixture
def cold(world: World, beta: Made) -> Iterator[Made]:
    """A platform like beta whose machine has booted, on a host of which the templates are turned off for it."""
    hosts = [host["name"] for host in world.admin("GET", "/hosts") if host["warm"]]
    for name in hosts:
        world.admin("POST", f"/hosts/{name}/warm", on=False)
    try:
        world.ask("booted", "web")
        made = world.ready("booted")
    finally:
        for name in hosts:
            world.admin("POST", f"/hosts/{name}/warm", on=True)
    assert made.machine("www")["way"] == "cold"
    yield made
    world.retire("booted")


def test_after_a_stop_and_a_start_its_definition_is_that_of_a_machine_that_booted(
    lab: Lab, beta: Made, cold: Made
) -> None:
    assert beta.machine("www")["way"] == "warm"
    found = []
    for made in (beta, cold):
        for action in ("stop", "start"):
            run_id = made.owner("POST", f"/platforms/{made.slug}/actions/{action}")["run_id"]
            assert made.owner.wait_for_run(run_id)["state"] == "done"
        inside = guest(lab, made.slug, made.machine("www"))
        found.append(_definition(inside.uri, inside.domain))
    assert found[0] == found[1]


def test_a_clone_is_backed_up_while_it_runs(nursery: Nursery, tmp_path: Path) -> None:
    """Push backup of a machine that was resumed and never booted: both disks, whole, with what was written last."""
    clone = nursery.many(1)[0]
    nursery.run(clone, "echo precious > /srv/placo/kept; echo here > /root/kept; sync")
    machine_id = nursery.run(clone, "cat /etc/machine-id").strip()
    domain = clone.machine.domain
    pool = Pool(nursery.uri)
    folder = Path(pool.path(clone.machine.system_volume)).parent
    targets = {name: str(folder / f"{nursery.prefix}-backup-{name}") for name in ("vda", "vdb")}
    disks = "".join(
        f"<disk name='{name}' backup='yes' type='file'><driver type='qcow2'/><target file='{path}'/></disk>"
        for name, path in targets.items()
    )
    order = tmp_path / "backup.xml"
    order.write_text(f"<domainbackup mode='push'><disks>{disks}</disks></domainbackup>")
    try:
        virsh(nursery.uri, "backup-begin", domain, str(order))

        def over() -> bool:
            return "None" in virsh(nursery.uri, "domjobinfo", domain).splitlines()[0]

        wait_for(lambda: over() or None, 120, "the end of the backup")
        assert "Backup" in virsh(nursery.uri, "domjobinfo", "--completed", domain)
        assert nursery.run(clone, "cat /srv/placo/kept") == "precious\n", "it runs on"
        for path in targets.values():
            pool.qemu_img("check", path)
        with pool.flattened(targets["vda"], tmp_path) as system:
            assert (system.text("/etc/machine-id").strip(), system.text("/root/kept")) == (
                machine_id,
                "here\n",
            )
        with pool.flattened(targets["vdb"], tmp_path) as data:
            assert data.text("/kept") == "precious\n"
    finally:
        for path in targets.values():
            pool.seen(path).unlink(missing_ok=True)


# --- a damaged template ----------------------------------------------------------------------------------------------


def _cut_off(uri: str, volume: str, head: Path) -> None:
    """Leave a volume its first mebibyte; libvirt makes no volume smaller than what is in it."""
    size = str(1 << 20)
    virsh(uri, "vol-download", volume, str(head), "--pool", POOL, "--length", size)
    virsh(uri, "vol-delete", volume, "--pool", POOL)
    virsh(uri, "vol-create-as", POOL, volume, size, "--format", "raw")
    virsh(uri, "vol-upload", volume, str(head), "--pool", POOL)


def test_a_platform_comes_up_cold_when_its_template_is_damaged(
    lab: Lab, world: World, tmp_path: Path
) -> None:
    """The save volume of its host's template is cut off, after approval was asked for and before it is given."""
    owner, admin = world.owner, world.admin
    request = owner(
        "POST",
        "/requests",
        project=lab.project,
        slug="damaged",
        services=["web"],
        options={},
        days=30,
        justification="A template will be damaged.",
    )
    world.wait_for_templates({"www"})
    host = request["plan"]["host"]
    nursery = Nursery(host)
    nursery.find_template()
    volume = f"{nursery.template}.save"
    _cut_off(nursery.uri, volume, tmp_path / "head")
    run_id = admin("POST", f"/requests/{request['id']}/approve")["run_id"]
    world.runs["damaged"] = run_id
    try:
        wait_for(lambda: _warning(world, nursery.image), 120, "the doctor's warning")
        made = world.ready("damaged")
        www = made.machine("www")
        assert www["way"] == "cold"
        assert www["way_reason"] in ("broken", "making"), "found by the run, or by a worker just before it"
        assert lab.get(made.url("web", "/")).status_code == 200
        # It is made again, under another name, without anybody's doing.
        world.wait_for_templates({"www"})
        there = virsh(nursery.uri, "vol-list", "--pool", POOL).split()
        key = nursery.template.removeprefix(f"{nursery.image}--")[:8]
        memories = [v for v in there if v.startswith(f"{nursery.image}--{key}") and v.endswith(".save")]
        assert set(memories) - {volume}, there
    finally:
        world.retire("damaged")


def _warning(world: World, image: str) -> str | None:
    """What the doctor says of the templates of an image."""
    results = world.admin("GET", "/doctor")["results"]
    texts = [r["text"] for r in results if r["component"] == "templates" and r["level"] == "warning"]
    return next((text for text in texts if image in text), None)
