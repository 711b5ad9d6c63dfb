"""Machines of a stock image: a Debian with cloud-init, of which PLACO knows nothing but the file, on two kinds of machine at once.

The image is one as Debian publishes them (tests/vm/stock_disk.py), with the packages that the two machines want put in: a platform's
network has no mirror. `server` is what such an image is for; `gateway` has most that a stock image does not know: accounts of
people in the directory, by password too.
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
from placo.domain.catalogue import load_catalogue
from placo.drivers.images import default_cache
from tests.vm.ssh_client import Client, known_host
from tests.vm.stock_disk import stock_disk

ROOT = Path(__file__).resolve().parents[2]
MACHINES = ("gateway", "server")
TRIED_S = 1200
RESTARTED_S = 900


def python(*words: str | Path, timeout_s: float = TRIED_S) -> subprocess.CompletedProcess[str]:
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
        service = made / "services/server.toml"
        service.write_text(service.read_text().replace("needs = []", 'needs = ["gateway"]', 1))
        yield made


@pytest.fixture(scope="module")
def tried(folder: Path) -> Iterator[tuple[str, Lab]]:
    """What trying it says, and the lab in which that was done. Its host keeps templates, as far as there can be any."""
    with tempfile.TemporaryDirectory(prefix="placo-trial-", dir=ROOT / "var") as place:
        root = Path(place) / "lab"
        try:
            command = [
                "-m",
                "placo.cli",
                "catalogue",
                "try",
                "server",
                folder,
                "--warm",
                "--root",
                root,
                "--keep",
            ]
            done = python(*command)
            assert done.returncode == 0, done.stdout + done.stderr
            yield done.stdout, Lab.read(root)
        finally:
            gone = python("-m", "deploy.lab", "destroy", "--grace", "0", "--root", root)
            assert gone.returncode == 0, gone.stderr


@pytest.fixture(scope="module")
def lab(tried: tuple[str, Lab]) -> Lab:
    return tried[1]


def platform(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.api("owner")("GET", "/platforms/trial")
    return found


def machine(lab: Lab, name: str) -> dict[str, Any]:
    return next(m for m in platform(lab)["machines"] if m["name"] == name)


@pytest.fixture(scope="module")
def urls(lab: Lab) -> dict[str, str]:
    """Service -> its address of ssh."""
    return {e["service"]: e["url"] for e in platform(lab)["endpoints"]}


@pytest.fixture(scope="module")
def clients(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Client]:
    """Owner, member and outsider, each with a key in the directory. They know the machines by the fingerprints that the portal tells."""
    place = tmp_path_factory.mktemp("keys")
    known = place / "known"
    known.write_text("".join(known_host(lab, e) for e in platform(lab)["endpoints"]))
    found = {role: Client(lab, role, place, known) for role in ("owner", "member", "outsider")}
    for role, client in found.items():
        lab.api(role)("POST", "/account/keys", key=client.make_key(), title="test")
    lab.api("owner")("PUT", f"/platforms/trial/members/{found['member'].uid}")
    wait_for(lambda: found["member"].run(urls_of(lab)["gateway"], "true").well or None, 120, "the member")
    return found


def urls_of(lab: Lab) -> dict[str, str]:
    return {e["service"]: e["url"] for e in platform(lab)["endpoints"]}


def asked(client: Client, url: str, script: str) -> str:
    """What a script prints there; it has to end well."""
    done = client.run(url, script)
    assert done.well, done
    return done.out.strip()


def test_the_catalogue_is_sound(folder: Path) -> None:
    done = python("-m", "placo.cli", "catalogue", "check", folder)
    assert done.returncode == 0, done.stdout


def test_it_comes_up_by_booting_and_it_is_said_why(tried: tuple[str, Lab]) -> None:
    said, lab = tried
    assert said.rstrip().endswith("server works")
    for name in MACHINES:
        row = machine(lab, name)
        assert (row["way"], row["way_reason"]) == ("cold", "impossible")
    assert "machines of a stock image boot" in said
    templates = [t for host in lab.api("admin")("GET", "/hosts") for t in host["templates"]]
    assert {t["state"] for t in templates} == {"impossible"}


def test_cloud_init_made_a_machine_of_it(lab: Lab, clients: dict[str, Client], urls: dict[str, str]) -> None:
    owner, server = clients["owner"], urls["server"]
    wait_for(
        lambda: owner.run(server, "test -e /run/cloud-init/result.json").well or None,
        180,
        "cloud-init to end",
    )
    result = asked(owner, server, "cat /run/cloud-init/result.json")
    assert "DataSourceNoCloud" in result and '"errors": []' in result
    assert "BOOT_IMAGE=/boot/vmlinuz" in asked(owner, server, "cat /proc/cmdline"), "GRUB's doing"
    # The whole of the system disk, of which the image is a part.
    assert int(asked(owner, server, "df --output=size -BG / | tail -1 | tr -dc 0-9")) >= 15


def facts(lab: Lab, client: Client, url: str, name: str) -> None:
    """What a machine has to be, at each boot."""
    row = machine(lab, name)
    fqdn = f"{name}.trial."
    assert asked(client, url, "cat /etc/hostname /proc/sys/kernel/hostname").split() == [name, name]
    assert asked(client, url, f"getent hosts 127.0.1.1 | grep -c ' {fqdn}'") == "1"
    addresses = asked(client, url, "ip -o -4 addr show scope global | awk '{ print $4 }'")
    assert [one.split("/")[0] for one in addresses.split()] == [row["address"]]
    mounted = asked(client, url, "findmnt -no SOURCE,FSTYPE /srv/placo")
    assert mounted.split() == ["/dev/vdb", "ext4"]
    keys = asked(client, url, "ls /etc/ssh/ | grep '^ssh_host_.*key$'")
    assert keys == "ssh_host_ed25519_key", "no key of the image's or of cloud-init's own"
    assert asked(client, url, "getent passwd 1000 debian | wc -l") == "0", "nobody of the distribution's"
    # The disk that brought the secrets is gone.
    assert asked(client, url, "ls /dev | grep -c '^vdc' || true") == "0"


def test_it_is_the_machine_that_it_should_be(
    lab: Lab, clients: dict[str, Client], urls: dict[str, str]
) -> None:
    for role, name in (("owner", "server"), ("member", "gateway")):
        facts(lab, clients[role], urls[name], name)


def test_one_logs_in_with_the_account_of_the_directory(
    lab: Lab, clients: dict[str, Client], urls: dict[str, str]
) -> None:
    owner, member, outsider = (clients[role] for role in ("owner", "member", "outsider"))
    assert asked(owner, urls["server"], "id -un") == "root"
    password = lab.accounts["member"].password
    done = member.run(urls["gateway"], "id -un; pwd", password=password)
    assert done.out.split() == [member.uid, f"/srv/placo/gateway/home/{member.uid}"], done
    assert not member.run(urls["gateway"], "true", password="not the password").well
    assert not member.run(urls["server"], "true").well
    for service in MACHINES:
        assert not outsider.run(urls[service], "true").well
        assert not outsider.run(urls[service], "true", password=lab.accounts["outsider"].password).well


def test_its_data_volume_grows_while_it_runs(
    lab: Lab, clients: dict[str, Client], urls: dict[str, str]
) -> None:
    owner, server = clients["owner"], urls["server"]
    size = "df --output=size -BM /srv/placo | tail -1 | tr -dc 0-9"
    boot = asked(owner, server, "cat /proc/sys/kernel/random/boot_id")
    before = int(asked(owner, server, size))
    wish = {"sizes": {"server": {"data_volume_gib": 10}}, "justification": "A test on real machines."}
    request = lab.api("owner")("POST", "/platforms/trial/changes", **wish)
    approved = lab.api("admin")(
        "POST", f"/requests/{request['id']}/approve", plan_hash=request["plan"]["hash"]
    )
    assert lab.api("owner").wait_for_run(approved["run_id"])["state"] == "done"
    wait_for(lambda: int(asked(owner, server, size)) > before + 1500 or None, 60, "the file system to grow")
    assert asked(owner, server, "cat /proc/sys/kernel/random/boot_id") == boot


def test_a_restart_keeps_everything(lab: Lab, clients: dict[str, Client], urls: dict[str, str]) -> None:
    owner, member = clients["owner"], clients["member"]
    asked(owner, urls["server"], "echo kept > /root/kept; echo data > /srv/placo/kept; sync")
    asked(member, urls["gateway"], "echo mine > kept")
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = asked(owner, urls["server"], boot)
    run = lab.api("owner")("POST", "/platforms/trial/actions/restart")
    assert lab.api("owner").wait_for_run(run["run_id"], timeout_s=RESTARTED_S)["state"] == "done"
    wait_for(lambda: owner.run(urls["server"], "true").well or None, 120, "the owner after the restart")
    wait_for(lambda: member.run(urls["gateway"], "true").well or None, 120, "the member after the restart")

    assert asked(owner, urls["server"], boot) != before
    assert asked(owner, urls["server"], "cat /root/kept /srv/placo/kept").split() == ["kept", "data"]
    assert asked(member, urls["gateway"], "cat kept") == "mine"
    for role, name in (("owner", "server"), ("member", "gateway")):
        facts(lab, clients[role], urls[name], name)
    # It is not asked again who it is: the disk that said so is gone.
    assert asked(owner, urls["server"], "test -e /run/cloud-init/result.json || echo off") == "off"
    assert not clients["outsider"].run(urls["gateway"], "true").well
