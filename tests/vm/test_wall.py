"""The wall: what a guest, even one whose root is hostile, can reach."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from deploy.client import Lab, wait_for
from placo.domain.protocols import SSH_PORTS, STREAMS
from tests.lab_world import Made
from tests.vm.guest import Guest, guest, portal_namespace

DIRECTORY = "10.77.0.2"
EDGE = "10.77.0.1"
HOSTS = ("10.77.0.11", "10.77.0.12")
OPEN_PORT = 4567
FIRST_SSH_PORT, PLATFORMS = 22000, 256


@pytest.fixture(scope="module")
def inside(lab: Lab, beta: Made) -> Guest:
    return guest(lab, "beta", beta.machine("www"))


@contextmanager
def listening(namespace: str) -> Iterator[None]:
    """Something that would answer in a namespace, so that silence is the wall's and not an empty port's."""
    command = ["ip", "netns", "exec", namespace, "python3", "-m", "http.server", str(OPEN_PORT)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        wait_for(lambda: f":{OPEN_PORT}" in _sockets(namespace), 20, "the listener")
        yield
    finally:
        process.terminate()
        process.wait()


def _sockets(namespace: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "ss", "-Htln"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_guest_reaches_the_directory_it_needs(inside: Guest) -> None:
    assert inside.reaches(DIRECTORY, 636)


def test_guest_does_not_reach_another_platform(inside: Guest, alpha: Made) -> None:
    for machine in alpha.now["machines"]:
        assert not inside.reaches(machine["address"], 443)


def test_machines_of_one_platform_reach_each_other(lab: Lab, alpha: Made) -> None:
    www, svn = (alpha.machine(name) for name in ("www", "svn"))
    assert guest(lab, "alpha", www).reaches(svn["address"], 443)
    assert guest(lab, "alpha", svn).reaches(www["address"], 443)


def test_guest_does_not_reach_the_hosts_or_the_portal_machine(lab: Lab, inside: Guest) -> None:
    portal = portal_namespace(lab)
    with listening(portal), listening(f"{portal}-h1"), listening(f"{portal}-h2"):
        for address in (EDGE, DIRECTORY, _gateway(inside), *HOSTS):
            assert not inside.reaches(address, OPEN_PORT), address


def test_databases_broker_and_libvirt_listen_on_no_network(lab: Lab) -> None:
    portal = portal_namespace(lab)
    sockets = {line.split()[3] for line in _sockets(portal).splitlines()}
    ssh = {f"{EDGE}:{port}" for port in range(FIRST_SSH_PORT, FIRST_SSH_PORT + SSH_PORTS * PLATFORMS)}
    ports = (25, 53, 80, 443, *STREAMS.values())
    assert sockets - ssh == {f"{DIRECTORY}:636", *(f"{EDGE}:{port}" for port in ports)}
    for host in ("h1", "h2"):
        found = {line.split()[3].rsplit(":", 1)[1] for line in _sockets(f"{portal}-{host}").splitlines()}
        assert found <= {"53"}, "only the platforms' name servers"


def test_guest_does_not_reach_this_machine_or_the_world(inside: Guest) -> None:
    assert not inside.reaches("192.0.2.1", 80)
    assert not inside.run("getent hosts example.org").text.strip()


REACHES_DIRECTORY = f"timeout 6 bash -c 'exec 3<>/dev/tcp/{DIRECTORY}/636'; echo status=$?"


def test_guest_with_another_address_is_not_heard(inside: Guest, beta: Made) -> None:
    own = beta.machine("www")["address"]
    head, last = own.rsplit(".", 1)
    swap = (
        "busybox ip addr flush dev eth0; busybox ip addr add {0}/28 dev eth0;"
        f"busybox ip route replace default via {_gateway(inside)}; busybox ip -4 addr show dev eth0; {REACHES_DIRECTORY}"
    )
    other = f"{head}.{int(last) + 5}"
    try:
        spoofed = inside.run(swap.format(other)).text
        assert other in spoofed
        assert "status=0" not in spoofed
    finally:
        back = inside.run(swap.format(own)).text
    assert "status=0" in back, "its own address works"


def test_guest_with_another_mac_is_not_heard(inside: Guest) -> None:
    own = inside.run("cat /sys/class/net/eth0/address").text.strip()
    swap = (
        "busybox ip link set eth0 down; busybox ip link set eth0 address {0}; busybox ip link set eth0 up;"
        f"busybox ip route replace default via {_gateway(inside)};"
        f"busybox ip neigh flush dev eth0; cat /sys/class/net/eth0/address; {REACHES_DIRECTORY}"
    )
    other = "52:54:00:de:ad:01"
    try:
        spoofed = inside.run(swap.format(other)).text
        assert other in spoofed
        assert "status=0" not in spoofed
    finally:
        back = inside.run(swap.format(own)).text
    assert "status=0" in back, "its own MAC works"


# What root of a guest may write on the wire, and what of it comes to the bridge, by name: each frame bears one.
SEND = """
socket(my $wire, 17, 3, 0) or die "socket: $!";
open(my $file, "<", "/sys/class/net/eth0/ifindex"); my $card = pack("SniSCCa8", 17, 0, <$file>, 0, 0, 0, "");
while (<STDIN>) { chomp; defined(send($wire, pack("H*", $_), 0, $card)) or die "send: $!"; }
"""
HEAR = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind((sys.argv[1], 0))
print("ready", flush=True)
while True:
    _, mark, name = wire.recv(2048).partition(b"wall:")
    if mark: print(name.decode().strip(), flush=True)
"""
IPV4, ARP, RARP, IPV6, VLAN, QINQ = 0x0800, 0x0806, 0x8035, 0x86DD, 0x8100, 0x88A8
ROOM = b"?" * 46  # for the name
NOBODY, EVERYBODY = "0.0.0.0", "255.255.255.255"


def _frame(mac: str, kind: int, content: bytes) -> bytes:
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + kind.to_bytes(2, "big") + content


def _udp(source: str, target: str, ports: tuple[int, int]) -> bytes:
    datagram = b"".join(n.to_bytes(2, "big") for n in (*ports, 8 + len(ROOM), 0)) + ROOM
    head = bytes.fromhex("4500") + (20 + len(datagram)).to_bytes(2, "big") + bytes.fromhex("0001000040110000")
    head += IPv4Address(source).packed + IPv4Address(target).packed
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + (~total & 0xFFFF).to_bytes(2, "big") + head[12:] + datagram


def _arp(mac: str, source: str, target: str, operation: int = 1) -> bytes:
    head = bytes.fromhex("0001080006040000")[:-1] + bytes([operation])
    sender = bytes.fromhex(mac.replace(":", "")) + IPv4Address(source).packed
    return head + sender + bytes(6) + IPv4Address(target).packed + ROOM


def _tagged(frame: bytes, kind: int = VLAN) -> bytes:
    return frame[:12] + kind.to_bytes(2, "big") + (5).to_bytes(2, "big") + frame[12:]


def _card(of: Guest) -> tuple[str, str]:
    """The MAC of a guest's card, and the bridge that it hangs on."""
    command = ["virsh", "-q", "-c", of.uri, "domiflist", of.domain]
    tap, *_, mac = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    link = of.on_host("ip", "-o", "link", "show", "dev", tap).stdout
    return mac, link.split(" master ")[1].split()[0]


def _heard(sender: Guest, bridge: str, frames: dict[str, bytes]) -> set[str]:
    """Names of the frames that came to the bridge when the guest sent them all."""
    command = ["ip", "netns", "exec", sender.namespace, sys.executable, "-c", HEAR, bridge]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        try:
            assert listener.stdout.readline() == "ready\n"
            lines = "\n".join(
                frame.replace(ROOM, f"wall:{name}".encode().ljust(len(ROOM))).hex()
                for name, frame in frames.items()
            )
            sent = sender.run(f"perl -e '{SEND}' <<'END'\n{lines}\nEND")
            assert (sent.status, sent.text) == (0, "")
            time.sleep(1)  # for the last one to arrive
        finally:
            listener.terminate()
        return set(listener.stdout.read().split("\n")) - {""}


def test_forged_frames_do_not_leave_the_card(lab: Lab, inside: Guest, alpha: Made, beta: Made) -> None:
    own, gateway = beta.machine("www")["address"], _gateway(inside)
    mac, bridge = _card(inside)
    other = alpha.machine("www")["address"]
    other_mac, _ = _card(guest(lab, "alpha", alpha.machine("www")))
    assert (own, mac) != (other, other_mac)
    ports, dhcp = (4567, 4567), (68, 67)
    true = _frame(mac, IPV4, _udp(own, gateway, ports))
    true_arp = _frame(mac, ARP, _arp(mac, own, gateway))
    honest = {
        "its own address": true,
        "its own ARP": true_arp,
        "an ARP probe": _frame(mac, ARP, _arp(mac, NOBODY, own)),
        "a DHCP request": _frame(mac, IPV4, _udp(NOBODY, EVERYBODY, dhcp)),
    }
    forged = {
        "another platform's address": _frame(mac, IPV4, _udp(other, gateway, ports)),
        "another platform's MAC": _frame(other_mac, IPV4, _udp(own, gateway, ports)),
        "another platform's address and MAC": _frame(other_mac, IPV4, _udp(other, gateway, ports)),
        "the gateway's address": _frame(mac, IPV4, _udp(gateway, EVERYBODY, ports)),
        "a DHCP request of another MAC": _frame(other_mac, IPV4, _udp(NOBODY, EVERYBODY, dhcp)),
        "a DHCP answer": _frame(mac, IPV4, _udp(NOBODY, EVERYBODY, (67, 68))),
        "no address": _frame(mac, IPV4, _udp(NOBODY, gateway, ports)),
        "ARP for the gateway's address": _frame(mac, ARP, _arp(mac, gateway, gateway, 2)),
        "ARP with another MAC inside": _frame(mac, ARP, _arp(other_mac, own, gateway)),
        "ARP with another MAC outside": _frame(other_mac, ARP, _arp(mac, own, gateway)),
        "RARP": _frame(mac, RARP, _arp(mac, NOBODY, NOBODY, 3)),
        "QEMU's old announcement": _frame(mac, 0x0835, _arp(mac, NOBODY, NOBODY, 3)),
        "IPv6": _frame(mac, IPV6, bytes.fromhex("60000000002e3b40") + bytes(32) + ROOM),
        "a VLAN": _tagged(true),
        "a VLAN's ARP": _tagged(true_arp),
        "a VLAN in a VLAN": _tagged(_tagged(true), QINQ),
        "a spanning tree": _frame(mac, 3 + len(ROOM), bytes.fromhex("424203") + ROOM),
    }
    assert _heard(inside, bridge, honest | forged) == set(honest)


def _gateway(inside: Guest) -> str:
    route = inside.run("busybox ip route").text
    return route.split("default via ")[1].split()[0]


def test_machine_account_sees_its_own_people_only(lab: Lab, alpha: Made, beta: Made) -> None:
    from placo import wiring

    machine = machine_uuid(lab, "beta", "www")
    password = wiring.machine_secret(machine, "directory")
    base = wiring.site().directory.base
    bind_dn = wiring.directory().machine_dn("beta", "www")
    namespace = ["ip", "netns", "exec", portal_namespace(lab), "env", f"LDAPTLS_CACERT={lab.ca}"]
    client = [*namespace, "ldapsearch", "-LLL", "-x", "-H", f"ldaps://{DIRECTORY}:636"]
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(password)
        secret.flush()

        def search(base_dn: str, *attributes: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*client, "-D", bind_dn, "-y", secret.name, "-b", base_dn, "(objectClass=*)", *attributes],
                capture_output=True,
                text=True,
                check=False,
            )

        people = search(f"ou=people,{base}", "uid")
        assert {line[5:] for line in people.stdout.splitlines() if line.startswith("uid: ")} == {
            lab.accounts["owner"].uid
        }, "members of beta only: its owner"
        other = search(f"ou=alpha,ou=platforms,{base}")
        assert other.returncode == 32, other.stdout  # noSuchObject (RFC 4511)
        everything = search(f"ou=people,{base}").stdout
        assert "userPassword" not in everything
        assert "memberOf" not in everything, "what else its people belong to is nobody's business"
        for rest in ("groups", "projects", "system"):
            assert search(f"ou={rest},{base}").returncode == 32


def machine_uuid(lab: Lab, slug: str, name: str) -> str:
    """The UUID of a machine, as libvirt knows it."""
    where = guest(lab, slug, lab.api("admin")("GET", f"/platforms/{slug}")["machines"][0])
    done = subprocess.run(
        ["virsh", "-c", where.uri, "domuuid", f"placo-{slug}-{name}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
