"""Machines that were resumed from a template: each is somebody of its own, silent until it is, and a normal machine afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.client import Lab, wait_for
from tests.lab_world import Made
from tests.vm.clones import NAMES, Nursery, check_all_differ
from tests.vm.guest import Guest, guest, portal_namespace

COUNT = 20
LISTEN = r"""
import socket, sys, time
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print("listening", flush=True)
while True:
    frame, (interface, *_rest) = wire.recvfrom(2048)
    if frame[6:12] == mac:
        print(f"{time.time():.3f} {interface}", flush=True)
"""


@pytest.fixture
def nursery(lab: Lab) -> Iterator[Nursery]:
    made = Nursery("h1")
    made.find_template()
    yield made
    made.close()


def test_twenty_clones_share_nothing(nursery: Nursery) -> None:
    clones = nursery.many(COUNT)
    identities = [nursery.identity(clone) for clone in clones]
    check_all_differ(identities)
    for clone, identity in zip(clones, identities, strict=True):
        assert identity["machine id"] == clone.machine.uuid.replace("-", "")
        assert identity["MAC (the DHCP client's id)"] == clone.machine.mac
        assert identity["address"] == f"{clone.machine.address}/28"
        clock = float(nursery.run(clone, "date +%s.%N"))
        assert abs(time.time() - clock) < 30


def test_a_tls_session_of_one_clone_means_nothing_to_another(lab: Lab, nursery: Nursery) -> None:
    one, other = nursery.many(2)
    namespace = portal_namespace(lab)
    assert nursery.session_reused(one, one, namespace), "tickets are given and taken"
    assert not nursery.session_reused(one, other, namespace)


def test_without_settings_clones_are_the_same_and_the_check_says_so(nursery: Nursery) -> None:
    clones = [nursery.resumed(number) for number in range(2)]
    identities = [dict.fromkeys(NAMES, "") | nursery.identity(clone) for clone in clones]
    with pytest.raises(AssertionError, match=r"two clones share their .*machine id"):
        check_all_differ(identities)


def test_a_clone_is_silent_before_it_has_its_settings(lab: Lab, nursery: Nursery) -> None:
    clone = nursery.resumed(0)
    namespace = f"{portal_namespace(lab)}-h1"
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", LISTEN, clone.machine.mac]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            began = time.time()
            nursery.personalised(clone)
            taken = float(nursery.run(clone, "stat -c %.3Y /var/lib/placo/personalised"))
            first = float(listener.stdout.readline().split()[0])
        finally:
            listener.kill()
    # The guest's clock was set a moment before, and can only be behind.
    assert began < taken < first


def test_the_host_lets_nothing_out_while_the_link_is_down(lab: Lab, nursery: Nursery) -> None:
    clone = nursery.resumed(0)
    namespace = f"{portal_namespace(lab)}-h1"
    nic = (
        f"<interface type='network'><mac address='{clone.machine.mac}'/><source network='{clone.plan.network.name}'/>"
        "<model type='virtio'/><link state='down'/></interface>"
    )
    virsh = ["virsh", "-q", "-c", nursery.uri]
    subprocess.run(
        [*virsh, "attach-device", clone.machine.domain, "/dev/stdin"], input=nic, text=True, check=True
    )
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", LISTEN, clone.machine.mac]
    shout = "for i in 1 2 3; do busybox ip link set eth0 up; timeout 3 busybox udhcpc -n -q -t 2 -T 1 -i eth0 -s /bin/true; done"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            nursery.run(clone, shout)
            # The ear works: the same cry is heard once the link is up.
            subprocess.run(
                [*virsh, "domif-setlink", clone.machine.domain, clone.machine.mac, "up"], check=True
            )
            raised = time.time()
            nursery.run(clone, shout)
            assert float(listener.stdout.readline().split()[0]) >= raised
        finally:
            listener.kill()


def _self(inside: Guest) -> str:
    return inside.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /srv/placo/kept; hostname").text


def test_reboot_stop_start_and_a_new_libvirtd_keep_data_and_identity(lab: Lab, beta: Made) -> None:
    assert beta.machine("www")["way"] == "warm"
    inside = guest(lab, "beta", beta.machine("www"))
    inside.run("echo precious > /srv/placo/kept; sync")
    before, page = _self(inside), beta.url("web", "/")
    assert "precious" in before

    boot_id = inside.boot_id()
    inside.run("(sleep 1; systemctl --no-block reboot) > /dev/null 2>&1 &")
    wait_for(lambda: inside.boot_id() not in (None, boot_id), 180, "the reboot")
    wait_for(lambda: lab.get(page).status_code == 200, 120, "the site after its reboot")
    assert _self(inside) == before
    assert "placo.template" not in inside.run("cat /proc/cmdline").text

    for action in ("stop", "start"):
        run_id = beta.owner("POST", f"/platforms/beta/actions/{action}")["run_id"]
        assert beta.owner.wait_for_run(run_id)["state"] == "done"
    assert _self(inside) == before

    pid_file = Path(inside.uri.partition("socket=")[2]).parent.parent / "libvirt" / "libvirtd.pid"
    old = pid_file.read_text()
    subprocess.run(["kill", old.strip()], check=True)
    wait_for(lambda: pid_file.exists() and pid_file.read_text() not in ("", old), 60, "a new libvirtd")
    assert _self(inside) == before
    assert lab.get(page).status_code == 200
