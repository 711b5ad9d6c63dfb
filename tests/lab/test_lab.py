"""The lab itself, for real: processes are killed, namespaces counted, the directory asked over its wire.

Only the infrastructure (`--without app`), in a root of its own below var/.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import gateway, identity, network, services, site
from deploy.lab.layout import BASE, DIRECTORY_ADDRESS, DIRECTORY_HOST, REPOSITORY, Lab
from deploy.lab.shell import wait_until
from deploy.lab.state import load
from tests.lab.world import (
    GUEST_XML,
    NETWORK_XML,
    Done,
    guests,
    inside,
    lab_command,
    links,
    rows,
    start_lab_command,
    traces,
    virsh,
)

UP = ("--without", "app")
SUPERVISED = ["postgres", "redis", "directory", "edge", "gateway", "names", "front", "h1", "h2"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with one guest on h1, both marked for autostart; destroyed afterwards whatever happens."""
    made = Lab.at(REPOSITORY / "var" / f"lab-of-tests-{os.getpid()}")
    try:
        done = lab_command(made, "up", *UP)
        assert done.status == 0, done.output
        _start_guest(made)
        yield made
    finally:
        done = lab_command(made, "destroy", "--grace", "0")
        assert done.status == 0, done.output


def _start_guest(lab: Lab) -> None:
    definitions = {
        "net": NETWORK_XML.format(name="empty", bridge="pl0e0e0"),
        "guest": GUEST_XML.format(name="empty", network="empty"),
    }
    for name, xml in definitions.items():
        (lab.root / f"{name}.xml").write_text(xml)
    for words in (
        ("net-define", str(lab.root / "net.xml")),
        ("net-autostart", "empty"),
        ("net-start", "empty"),
        ("define", str(lab.root / "guest.xml")),
        ("autostart", "empty"),
        ("start", "empty"),
    ):
        done = virsh(lab, *words)
        assert done.status == 0, done.output


def _running(lab: Lab) -> dict[str, int]:
    return {name: row.pid for name, row in rows(lab).items() if row.state == "RUNNING"}


def _whole(lab: Lab) -> bool:
    state = load(lab)
    assert state is not None
    return set(_running(lab)) == set(SUPERVISED) and services.front_answers(state)


def test_up_twice_changes_nothing(lab: Lab) -> None:
    before, guest = _running(lab), guests(lab)
    done = lab_command(lab, "up", *UP)
    assert done.status == 0, done.output
    assert _running(lab) == before and set(before) == set(SUPERVISED)
    assert guests(lab) == guest and len(guest) == 1


def test_two_at_once_take_turns(lab: Lab) -> None:
    before = _running(lab)
    both = [start_lab_command(lab, "up", *UP) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert _running(lab) == before


def test_secrets_are_for_root_alone(lab: Lab) -> None:
    secret = [lab.credentials, lab.ca_key, *lab.secrets.iterdir(), *lab.root.rglob("key.pem")]
    assert {oct(path.stat().st_mode & 0o777) for path in secret} == {"0o600"}
    words = [Path(f"/proc/{row.pid}/cmdline").read_bytes() for row in rows(lab).values()]
    assert not any(value.encode() in line for value in site.passwords(lab).values() for line in words)


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_killed_process_comes_back(lab: Lab, name: str) -> None:
    old, guest = _running(lab)[name], guests(lab)
    os.kill(old, signal.SIGKILL)

    def is_back() -> bool:
        return _running(lab).get(name, old) != old and _answers(lab, name)

    assert wait_until(is_back, seconds=30, interval=0.2), f"{name} did not come back"
    assert guests(lab) == guest, "the guest did not outlive it"


def _answers(lab: Lab, name: str) -> bool:
    state = load(lab)
    assert state is not None
    match name:
        case "postgres":
            return services.postgres_answers(lab)
        case "redis":
            return services.redis_answers(lab)
        case "directory":
            return _search(lab, f"uid=olivier,ou=people,{BASE}", _password(lab, "olivier"), BASE).status in (
                0,
                32,
            )
        case "edge":
            return "No such address" in _curl(f"https://nobody.placo.localhost:{state.edge_port}/", lab)
        case "gateway":
            return gateway.is_answering(lab)
        case "front":
            return services.front_answers(state)
        case _:
            return "empty" in virsh(lab, "list", "--name").output


def _curl(url: str, lab: Lab) -> str:
    host = url.removeprefix("https://").rstrip("/")
    command = ["curl", "-sS", "--cacert", str(lab.ca_certificate), "--resolve", f"{host}:127.0.0.1", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout


def test_a_lab_without_its_supervisor_is_taken_over(lab: Lab) -> None:
    guest, before = guests(lab), _running(lab)
    os.kill(int((lab.run / "supervisord.pid").read_text()), signal.SIGKILL)
    assert lab_command(lab, "status").status == 1
    done = lab_command(lab, "adopt", *UP)
    assert done.status == 0, done.output
    assert _whole(lab) and not set(_running(lab).values()) & set(before.values())
    assert guests(lab) == guest and "empty" in virsh(lab, "list", "--name").output


def test_a_lab_that_lost_everything_starts_clean(lab: Lab) -> None:
    """As after a power cut: all processes at once, a namespace, the link; stale pid files stay."""
    os.kill(int((lab.run / "supervisord.pid").read_text()), signal.SIGKILL)
    for pid in (int(line.split()[0]) for line in traces(lab)["processes"]):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not traces(lab)["processes"], seconds=10)
    network.remove(lab.hosts[1].namespace)
    lab.link.unlink()
    done = lab_command(lab, "up", *UP)
    assert done.status == 0, done.output
    assert _whole(lab)
    assert wait_until(lambda: len(guests(lab)) == 1, seconds=20), "the guest was not started again"


def test_platforms_are_behind_the_wall(lab: Lab) -> None:
    rules = inside(lab.hosts[0].namespace, "nft", "list", "ruleset").output
    assert "policy drop" in rules and 'iifname "pl*" counter' in rules
    portal = inside(lab.namespace, "nft", "list", "ruleset").output
    assert (
        "ip daddr 10.77.0.1 tcp dport { 25, 80, 443, 465, 993, 5223 } accept" in portal
        and portal.count("policy drop") == 2
    )
    frames = inside(lab.hosts[0].namespace, "ebtables", "-t", "nat", "-L").output
    assert "--arp-ip-src 10.77.16.2" in frames, "the card's own filter is missing"


def test_the_portal_finds_a_platform_without_a_route(lab: Lab) -> None:
    """The host answers ARP for its platforms' subnets, and for no other address of the pool."""
    for address in ("10.77.16.2", "10.77.31.2"):
        inside(lab.namespace, "curl", "-s", "--max-time", "0.5", f"http://{address}/")
    found = inside(lab.namespace, "ip", "neigh", "show").output
    uplink = inside(lab.hosts[0].namespace, "cat", f"/sys/class/net/{network.UPLINK}/address").output.strip()
    assert f"10.77.16.2 dev {network.LAN} lladdr {uplink}" in found, found
    assert f"10.77.31.2 dev {network.LAN} lladdr" not in found, found


def _password(lab: Lab, uid: str) -> str:
    return site.passwords(lab)[uid]


def _search(lab: Lab, bind: str, password: str, base: str, *words: str) -> Done:
    """Search over LDAPS from the platforms' side of the portal, as a machine would; certificate verified."""
    secret = lab.root / "bind-password"
    secret.write_text(password)
    command = ["ldapsearch", "-LLL", "-x", "-H", f"ldaps://{DIRECTORY_ADDRESS}", "-b", base, "-D", bind]
    environment = {"PATH": os.environ["PATH"], "LDAPTLS_CACERT": str(lab.ca_certificate)}
    return inside(lab.namespace, *command, "-y", str(secret), *words, env=environment)


def _add_as_portal(lab: Lab, entries: str) -> None:
    command = ["ldapadd", "-x", "-H", lab.directory_uri, "-D", f"cn=portal,ou=system,{BASE}"]
    secret = lab.root / "portal-password"
    secret.write_text(identity.secret(lab, site.PORTAL_PASSWORD))
    done = subprocess.run(
        [*command, "-y", str(secret)], input=entries, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


PLATFORM = """
dn: ou={slug},ou=platforms,{base}
objectClass: organizationalUnit
ou: {slug}

dn: cn=members,ou={slug},ou=platforms,{base}
objectClass: groupOfNames
cn: members
member: uid={member},ou=people,{base}

dn: ou=services,ou={slug},ou=platforms,{base}
objectClass: organizationalUnit
ou: services

dn: cn=www,ou=services,ou={slug},ou=platforms,{base}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: www
seeAlso: cn=members,ou={slug},ou=platforms,{base}
pwdPolicySubentry: cn=machines,ou=policies,{base}
userPassword: machine-of-{slug}
"""


def test_a_machine_sees_its_own_platforms_people_only(lab: Lab) -> None:
    for slug, member in (("alpha", "maryam"), ("beta", "elodie")):
        _add_as_portal(lab, PLATFORM.format(slug=slug, member=member, base=BASE))
    machine = f"cn=www,ou=services,ou=alpha,ou=platforms,{BASE}"

    def seen(base: str, *words: str) -> Done:
        return _search(lab, machine, "machine-of-alpha", base, *words)

    people = seen(f"ou=people,{BASE}", "(objectClass=inetOrgPerson)", "uid", "userPassword")
    assert [line for line in people.output.splitlines() if line.startswith("uid:")] == ["uid: maryam"]
    assert "userPassword" not in people.output
    assert "cn: members" in seen(f"ou=alpha,ou=platforms,{BASE}", "cn").output
    assert seen(f"ou=beta,ou=platforms,{BASE}").status == 32, "beta exists for alpha's machine"
    for base in (
        f"ou=groups,{BASE}",
        f"ou=projects,{BASE}",
        f"ou=system,{BASE}",
        f"ou=policies,{BASE}",
        BASE,
    ):
        hidden = seen(base)
        assert "dn:" not in hidden.output and hidden.status in (0, 32), (base, hidden.output)


def test_anonymous_sees_nothing(lab: Lab) -> None:
    environment = {"PATH": os.environ["PATH"], "LDAPTLS_CACERT": str(lab.ca_certificate)}
    done = inside(
        lab.namespace, "ldapsearch", "-x", "-H", f"ldaps://{DIRECTORY_ADDRESS}", "-b", BASE, env=environment
    )
    assert done.status != 0 and "dn:" not in done.output


def test_the_directory_shows_the_certificate_of_its_name(lab: Lab) -> None:
    command = ["openssl", "s_client", "-connect", f"{DIRECTORY_ADDRESS}:636", "-verify_return_error"]
    command += ["-CAfile", str(lab.ca_certificate), "-verify_hostname", DIRECTORY_HOST]
    assert "Verification: OK" in inside(lab.namespace, "sh", "-c", f"{' '.join(command)} </dev/null").output


def test_repeated_failures_lock_an_account(lab: Lab) -> None:
    who = f"uid=otto,ou=people,{BASE}"
    right = _password(lab, "otto")
    assert _search(lab, who, right, who).status == 0
    assert {_search(lab, who, "wrong", who).status for _ in range(5)} == {49}
    assert _search(lab, who, right, who).status == 49, "the right password still opens a locked account"
    stored = subprocess.run(
        ["ldapsearch", "-LLL", "-Q", "-Y", "EXTERNAL", "-H", lab.directory_uri, "-b", who, "userPassword"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "userPassword:: e0FSR09OMn0" in stored, "not stored as {ARGON2}"


def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    """The other one's first start is killed while its database is being made, too."""
    other = Lab.at(lab.root.with_name(f"{lab.root.name}-b"))
    before = _running(lab)
    try:
        killed = start_lab_command(other, "up", *UP, "--without", "hosts")
        assert wait_until((other.root / "postgres" / "data" / "base").exists, seconds=30, interval=0.02)
        killed.kill()
        killed.wait()
        done = lab_command(other, "up", *UP, "--without", "hosts")
        assert done.status == 0, done.output
        mine, theirs = load(lab), load(other)
        assert mine is not None and theirs is not None
        assert {mine.portal_port, mine.edge_port}.isdisjoint({theirs.portal_port, theirs.edge_port})
        assert services.front_answers(theirs) and services.postgres_answers(other)
        assert set(lab.namespaces).isdisjoint(other.namespaces)
    finally:
        done = lab_command(other, "destroy")
    assert done.status == 0 and not other.root.exists(), done.output
    assert not any(traces(other).values()), traces(other)
    assert _running(lab) == before and _whole(lab)


def test_down_leaves_nothing_and_up_brings_guests_back(lab: Lab) -> None:
    own_links = links()
    done = lab_command(lab, "down", "--grace", "0")
    assert done.status == 0, done.output
    assert not any(traces(lab).values()), traces(lab)
    assert links() == own_links
    assert lab_command(lab, "down").status == 0, "down twice"
    done = lab_command(lab, "up", *UP)
    assert done.status == 0, done.output
    assert _whole(lab)
    assert wait_until(lambda: len(guests(lab)) == 1, seconds=20), "the guest was not started again"
    assert "yes" in virsh(lab, "net-info", "empty").output
