"""Machines of a stock image: a Debian with cloud-init, of which PLACO knows nothing but the file.

The image is one as Debian publishes them (tests/vm/stock_disk.py), with the packages that two kinds of machine want put in: a platform's
network has no mirror. `gateway` has most that a stock image does not know, accounts of people in the directory by key and password;
`server` is what such an image is for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.client import Lab, wait_for
from deploy.lab.layout import DNS_DOMAIN
from placo.domain.catalogue import load_catalogue
from placo.drivers.images import default_cache
from tests.lab_world import Made
from tests.vm.ssh_client import Client, known_host
from tests.vm.stock_disk import stock_disk
from tests.vm.test_wiring import proven, said_of

ROOT = Path(__file__).resolve().parents[2]
MACHINES = ("gateway", "server")
SLUG = "stock"
PROGRAM_S, RUN_S = 300, 900
BOOT = "cat /proc/sys/kernel/random/boot_id"


def python(*words: str | Path, timeout_s: float = PROGRAM_S) -> subprocess.CompletedProcess[str]:
    """A command of this checkout."""
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="module")
def image() -> str:
    """What the import says: the name for the manifest."""
    catalogue = load_catalogue(ROOT / "catalogue")
    packages = {p for name in MACHINES for s in catalogue.software_of(name)[1:] for p in s.packages}
    disk = stock_disk(default_cache(), packages)
    done = python("-m", "placo.drivers.images", "import", "test", disk)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split('"')[1]


@pytest.fixture(scope="module")
def folder(image: str) -> Iterator[Path]:
    """A catalogue of these two machines, both of the stock image."""
    with tempfile.TemporaryDirectory(prefix="placo-stock-") as place:
        made = Path(shutil.copytree(ROOT / "catalogue", Path(place) / "catalogue"))
        for manifest in made.glob("services/*.toml"):
            if manifest.stem not in MACHINES:
                manifest.unlink()
        for kind in (made / "machines").iterdir():
            if kind.name not in MACHINES:
                shutil.rmtree(kind)
        for name in MACHINES:
            manifest = made / "machines" / name / "machine.toml"
            text = manifest.read_text().replace("memory_mib = 256", "memory_mib = 512", 1)
            manifest.write_text(f'image = "{image}"\n{text}')
        yield made


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[Lab]:
    """A lab on that catalogue, with a platform of both machines. Its hosts keep templates, as far as there can be any."""
    with tempfile.TemporaryDirectory(prefix="placo-stock-lab-", dir=ROOT / "var") as place:
        where = ("--root", Path(place) / "lab")
        try:
            up = python("-m", "deploy.lab", "up", "--catalogue", folder, *where)
            assert up.returncode == 0, up.stdout + up.stderr
            lab = Lab.read(Path(place) / "lab")
            wish = {"project": lab.project, "slug": SLUG, "services": list(MACHINES), "days": 1}
            request = lab.api("owner")("POST", "/requests", **wish, justification="Stock images.")
            run = lab.api("admin")("POST", f"/requests/{request['id']}/approve")
            assert lab.api("owner").wait_for_run(run["run_id"], timeout_s=RUN_S)["state"] == "done"
            yield lab
        finally:
            gone = python("-m", "deploy.lab", "destroy", "--grace", "0", *where)
            assert gone.returncode == 0, gone.stderr


def platform(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.api("owner")("GET", f"/platforms/{SLUG}")
    return found


def machine(lab: Lab, name: str) -> dict[str, Any]:
    return next(m for m in platform(lab)["machines"] if m["name"] == name)


def url_of(lab: Lab, service: str) -> str:
    """Its address of ssh."""
    return next(str(e["url"]) for e in platform(lab)["endpoints"] if e["service"] == service)


@pytest.fixture(scope="module")
def clients(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Client]:
    """Owner, member and outsider, each with a key in the directory. They know the machine by the fingerprint that the portal tells."""
    place = tmp_path_factory.mktemp("keys")
    known = place / "known"
    known.write_text("".join(known_host(lab, e) for e in platform(lab)["endpoints"]))
    found = {role: Client(lab, role, place, known) for role in ("owner", "member", "outsider")}
    for role, client in found.items():
        lab.api(role)("POST", "/account/keys", key=client.make_key(), title="test")
    lab.api("owner")("PUT", f"/platforms/{SLUG}/members/{found['member'].uid}")
    url = url_of(lab, "gateway")
    wait_for(lambda: found["member"].run(url, "true").well or None, 120, "the member to be let in")
    return found


def asked(client: Client, url: str, script: str) -> list[str]:
    """The words that a script prints there; it has to end well."""
    done = client.run(url, script)
    assert done.well, done
    return done.out.split()


def change(lab: Lab, **wish: object) -> None:
    """Ask and approve, to the end."""
    owner, admin = lab.api("owner"), lab.api("admin")
    words = {"justification": "A test on real machines.", **wish}
    request = owner("POST", f"/platforms/{SLUG}/changes", **words)
    run = admin("POST", f"/requests/{request['id']}/approve", plan_hash=request["plan"]["hash"])
    assert owner.wait_for_run(run["run_id"], timeout_s=RUN_S)["state"] == "done"


FACTS = """
set -e
cat /etc/hostname /proc/sys/kernel/hostname
awk '$1 == "127.0.1.1" { print $2 }' /etc/hosts
ip -o -4 addr show scope global | awk '{ sub("/.*", "", $4); print $4 }'
findmnt -no SOURCE,FSTYPE /srv/placo
ls /etc/ssh | grep '^ssh_host_.*key$'
getent passwd 1000 debian | wc -l
ls /dev | grep -c '^vdc' || true
"""


def is_itself(lab: Lab, client: Client, name: str) -> None:
    """What a machine has to be, at each boot: its name and address, with its data, the one host key that was checked on the way in,
    no account of the distribution's; and the disk that brought its secrets is gone."""
    address, fqdn = machine(lab, name)["address"], f"{name}.{SLUG}.{DNS_DOMAIN}"
    data, key, accounts, seeds = ("/dev/vdb", "ext4"), "ssh_host_ed25519_key", "0", "0"
    found = asked(client, url_of(lab, name), FACTS)
    assert found == [name, name, fqdn, address, *data, key, accounts, seeds]


def finished(lab: Lab, client: Client, name: str) -> str:
    """What cloud-init says when it has ended: its result (JSON)."""
    url, file = url_of(lab, name), "/run/cloud-init/result.json"
    wait_for(lambda: client.run(url, f"test -e {file}").well or None, 240, f"cloud-init of {name} to end")
    return " ".join(asked(client, url, f"cat {file}"))


def test_the_catalogue_is_sound(folder: Path) -> None:
    done = python("-m", "placo.cli", "catalogue", "check", folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", MACHINES)
def test_it_comes_up_by_booting_and_it_is_said_why(lab: Lab, name: str) -> None:
    row = machine(lab, name)
    assert (row["way"], row["way_reason"]) == ("cold", "impossible")

    def template() -> dict[str, Any]:
        (host,) = (h for h in lab.api("admin")("GET", "/hosts") if h["name"] == row["host"])
        return next(t for t in host["templates"] if t["machine"] == name)

    wait_for(lambda: template()["state"] == "impossible", 180, "the host to have looked at what there can be")
    assert "stock image" in template()["reason"]


def test_cloud_init_made_a_machine_of_it(lab: Lab, clients: dict[str, Client]) -> None:
    member, url = clients["member"], url_of(lab, "gateway")
    result = finished(lab, member, "gateway")
    assert "DataSourceNoCloud" in result and '"errors": []' in result
    assert "BOOT_IMAGE=/boot/vmlinuz" in " ".join(asked(member, url, "cat /proc/cmdline")), "GRUB's doing"
    # The image's disk has 3 GiB, the machine's 4: cloud-init makes use of all of it.
    assert int(asked(member, url, "df --output=size -BM / | tail -1 | tr -dc 0-9")[0]) > 3500
    is_itself(lab, member, "gateway")


def test_one_logs_in_with_the_account_of_the_directory(lab: Lab, clients: dict[str, Client]) -> None:
    member, outsider, url = clients["member"], clients["outsider"], url_of(lab, "gateway")
    home = f"/srv/placo/gateway/home/{member.uid}"
    done = member.run(url, "id -un; pwd", password=lab.accounts["member"].password)
    assert done.out.split() == [member.uid, home], done
    assert asked(member, url, "id -un; pwd") == [member.uid, home]
    assert not member.run(url, "true", password="not the password").well
    assert not outsider.run(url, "true").well
    assert not outsider.run(url, "true", password=lab.accounts["outsider"].password).well


def test_a_server_of_it_is_its_owners(lab: Lab, clients: dict[str, Client]) -> None:
    """Nothing but the packages of `server` was asked of the image."""
    owner, url = clients["owner"], url_of(lab, "server")
    wait_for(lambda: owner.run(url, "true").well or None, 120, "the owner to be let in")
    assert asked(owner, url, "id -un; test ! -e /usr/lib/placo/boot && echo stock") == ["root", "stock"]
    assert not clients["member"].run(url, "true").well
    assert "DataSourceNoCloud" in finished(lab, owner, "server")
    is_itself(lab, owner, "server")


def test_every_door_lets_in_whom_it_should_and_nobody_else(lab: Lab) -> None:
    state, reason, wrong = said_of(proven(Made(SLUG, lab.api("owner"))))
    assert (state, reason, wrong) == ("passed", "", [])


def test_its_data_volume_grows_while_it_runs(lab: Lab, clients: dict[str, Client]) -> None:
    member, url = clients["member"], url_of(lab, "gateway")
    size = f"df --output=size -BM /srv/placo | tail -1 | tr -d M; {BOOT}"
    before, boot = asked(member, url, f"echo mine > kept; {size}")
    change(lab, sizes={"gateway": {"data_volume_gib": 6}})

    def grown() -> bool | None:
        after, same = asked(member, url, size)
        assert same == boot, "it went on meanwhile"
        return int(after) > int(before) + 1500 or None

    wait_for(grown, 120, "the file system to grow")
    assert asked(member, url, "cat kept") == ["mine"]


def test_a_restart_keeps_everything(lab: Lab, clients: dict[str, Client]) -> None:
    member, url = clients["member"], url_of(lab, "gateway")
    (before,) = asked(member, url, f"echo system > /var/tmp/kept; echo data > kept; {BOOT}")
    run = lab.api("owner")("POST", f"/platforms/{SLUG}/actions/restart")
    assert lab.api("owner").wait_for_run(run["run_id"], timeout_s=RUN_S)["state"] == "done"
    wait_for(lambda: member.run(url, "true").well or None, 120, "the member after the restart")

    system, data, boot, cloud_init = asked(
        member, url, f"cat /var/tmp/kept kept; {BOOT}; test -e /run/cloud-init/result.json || echo off"
    )
    assert (system, data) == ("system", "data") and boot != before
    assert cloud_init == "off", "who it is was said once; the disk that said so is gone"
    is_itself(lab, member, "gateway")
    assert member.run(url, "true", password=lab.accounts["member"].password).well
    assert not clients["outsider"].run(url, "true").well
