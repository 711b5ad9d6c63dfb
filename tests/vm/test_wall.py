"""The wall: what a guest, even one whose root is hostile, can reach."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.client import Lab, wait_for
from tests.lab_world import Made
from tests.vm.guest import Guest, guest, portal_namespace

DIRECTORY = "10.77.0.2"
EDGE = "10.77.0.1"
HOSTS = ("10.77.0.11", "10.77.0.12")
OPEN_PORT = 4567


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


def test_guest_does_not_reach_the_hosts_or_the_portal_machine(lab: Lab, inside: Guest) -> None:
    portal = portal_namespace(lab)
    with listening(portal), listening(f"{portal}-h1"), listening(f"{portal}-h2"):
        for address in (EDGE, DIRECTORY, _gateway(inside), *HOSTS):
            assert not inside.reaches(address, OPEN_PORT), address


def test_databases_broker_and_libvirt_listen_on_no_network(lab: Lab) -> None:
    portal = portal_namespace(lab)
    ports = {line.split()[3] for line in _sockets(portal).splitlines()}
    assert ports == {f"{EDGE}:443", f"{DIRECTORY}:636"}
    for host in ("h1", "h2"):
        ports = {line.split()[3].rsplit(":", 1)[1] for line in _sockets(f"{portal}-{host}").splitlines()}
        assert ports <= {"53"}, "only the platforms' name servers"


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
