"""ssh through the edge: the gateway of a platform and its dedicated server, as their people use them, and as others try to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.client import Lab, wait_for
from placo.domain.proofs import Case
from placo.drivers.ports import StandIns
from tests.contract.directories import lab_outside
from tests.lab_world import Made, World
from tests.vm.guest import guest
from tests.vm.ssh_client import Client, ended_after, known_host
from tests.vm.test_wiring import CATALOGUE, expected, proven, said_of

REFUSED_WITHIN_S = 5
DIRECTORY, EDGE = "10.77.0.2", "10.77.0.1"
HELLO = "SSH-2.0-OpenSSH"


@pytest.fixture(scope="module")
def gate(world: World) -> Iterator[Made]:
    """A platform with both, of which `member` is a member."""
    world.ask("gate", "gateway", "server")
    made = world.ready("gate")
    run = made.owner("PUT", f"/platforms/gate/members/{world.lab.accounts['member'].uid}")
    made.owner.wait_for_run(run["run_id"])
    yield made
    world.retire("gate")


def endpoint(made: Made, service: str) -> dict[str, str]:
    return next(e for e in made.now["endpoints"] if e["service"] == service and e["protocol"] == "ssh")


@pytest.fixture(scope="module")
def gateway(gate: Made) -> str:
    return endpoint(gate, "gateway")["url"]


@pytest.fixture(scope="module")
def server(gate: Made) -> str:
    return endpoint(gate, "server")["url"]


@pytest.fixture(scope="module")
def known(lab: Lab, gate: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host keys, as they were found on the wire and are told by the portal."""
    file = tmp_path_factory.mktemp("known") / "hosts"
    lines = []
    for service in ("gateway", "server"):
        lines.append(known_host(lab, endpoint(gate, service)))
    file.write_text("".join(lines))
    return file


@pytest.fixture(scope="module")
def clients(lab: Lab, known: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """Owner, member and outsider, each with a key in the directory."""
    folder, found, given = tmp_path_factory.mktemp("keys"), {}, []
    for role in ("owner", "member", "outsider"):
        found[role] = Client(lab, role, folder, known)
        api = lab.api(role)
        key = api("POST", "/account/keys", key=found[role].make_key(), title="test")
        given.append((api, key["id"]))
    yield found
    for api, number in given:
        api("DELETE", f"/account/keys/{number}")


def enters(client: Client, url: str, password: str | None = None) -> bool:
    return client.run(url, "true", password=password).well


def test_a_member_has_an_account_by_key_and_by_password(
    lab: Lab, clients: dict[str, Client], gateway: str
) -> None:
    member = clients["member"]
    wait_for(lambda: enters(member, gateway) or None, 60, "the member's key")
    assert member.run(gateway, "id -un; echo $HOME").out.split() == [
        member.uid,
        f"/srv/placo/gateway/home/{member.uid}",
    ]
    by_password = member.run(gateway, "id -u", password=lab.accounts["member"].password)
    assert by_password.well and int(by_password.out) >= 20000
    assert not enters(member, gateway, "not the password")
    assert not member.run(gateway, "true", user="root").well


def test_who_is_no_member_does_not_exist(
    lab: Lab, clients: dict[str, Client], gateway: str, server: str
) -> None:
    outsider, password = clients["outsider"], lab.accounts["outsider"].password
    assert not enters(outsider, gateway) and not enters(outsider, gateway, password)
    assert not enters(outsider, server) and not enters(outsider, server, password)
    member = clients["member"]
    assert f"uid={member.uid}" not in member.run(gateway, f"id {outsider.uid}").out


def test_a_key_of_another_is_refused(clients: dict[str, Client], gateway: str) -> None:
    """Both are members: a key is its person's."""
    assert not clients["owner"].run(gateway, "true", user=clients["member"].uid).well


def passes(client: Client, url: str, target: str) -> bool:
    """Whether a tunnel to this address and port opens, and something greets there."""
    return client.run(url, "-W", target).out.startswith(HELLO)


def test_a_proof_tries_both_doors_and_finds_them_right(lab: Lab, gate: Made) -> None:
    """By key and by password at the gateway, by key at the server; nothing of it is left, keys neither."""
    proof = proven(gate)
    assert said_of(proof) == ("passed", "", [])
    cases = {(c["service"], c["endpoint"], c["case"]) for c in proof["cases"]}
    assert cases == expected(CATALOGUE, "gateway", "server")
    removed = {c["service"]: c["seconds"] for c in proof["cases"] if c["case"] == Case.REMOVED}
    print(f"refused after (s): {removed}")
    assert set(removed) == {"gateway", "server"} and max(removed.values()) <= REFUSED_WITHIN_S
    assert lab_outside().directory.stand_ins() == StandIns((), {})


def test_a_gateway_that_takes_any_key_is_found_out(lab: Lab, gate: Made) -> None:
    """What was there says so again afterwards: a proof is no better than what it finds."""
    inside = guest(lab, "gate", gate.machine("gateway"))
    ours = "/usr/lib/placo/keys-of"
    careless = f"cp -a {ours} /tmp/keys-of && printf '#!/bin/sh\\necho ssh-ed25519 $3\\n' > {ours}"
    assert inside.run(careless).status == 0
    try:
        wrong = {(c["service"], c["case"]) for c in proven(gate)["cases"] if not c["passed"]}
    finally:
        assert inside.run(f"cp -a /tmp/keys-of {ours} && rm /tmp/keys-of").status == 0
    assert {service for service, _case in wrong} == {"gateway"}
    assert ("gateway", "password") in wrong
    assert said_of(proven(gate)) == ("passed", "", [])


def test_tunnels_lead_to_the_platforms_own_machines_and_nowhere_else(
    lab: Lab, clients: dict[str, Client], gateway: str, gate: Made, beta: Made
) -> None:
    member, own = clients["member"], gate.machine("server")["address"]
    with member.open(gateway, "-W", f"{own}:22", says=HELLO):
        pass
    with member.open(gateway, "-W", "server:22", says=HELLO):
        pass
    gateways = guest(lab, "gate", gate.machine("gateway")).run("busybox ip route").text.split()
    host = gateways[gateways.index("via") + 1]
    inside = guest(lab, "gate", gate.machine("gateway"))
    assert inside.reaches(DIRECTORY, 636) and inside.reaches(EDGE, 443), "the machine itself does"
    for target in (
        f"{beta.machine('www')['address']}:443",
        f"{DIRECTORY}:636",
        f"{DIRECTORY}:389",
        f"{EDGE}:443",
        f"{EDGE}:{gateway.rpartition(':')[2]}",
        f"{host}:22",
        "10.77.0.11:22",
        "192.0.2.1:80",
    ):
        refused = member.run(gateway, "-W", target)
        assert not refused.well and "forward" in refused.err.lower() + refused.out.lower(), (target, refused)
    from_shell = member.run(gateway, f"timeout 5 bash -c 'exec 3<>/dev/tcp/{EDGE}/443' && echo through")
    assert "through" not in from_shell.out
    assert not member.run(gateway, "-N", "-R", "0:127.0.0.1:22").well


def test_owners_are_root_of_the_server_and_nobody_else_is(
    lab: Lab, clients: dict[str, Client], server: str
) -> None:
    owner = clients["owner"]
    wait_for(lambda: enters(owner, server) or None, 60, "the owner's key")
    assert owner.run(server, "id -un").out.strip() == "root"
    assert not enters(clients["member"], server)
    assert not enters(owner, server, lab.accounts["owner"].password)
    assert not owner.run(server, "true", user=owner.uid).well


def test_a_jump_leads_to_the_server(
    clients: dict[str, Client], gateway: str, server: str, gate: Made
) -> None:
    owner = clients["owner"]
    name = server.rpartition("@")[2].split(":")[0]
    jump = " ".join(
        f"'{word}'" for word in owner.command(gateway, "-W", f"{gate.machine('server')['address']}:22")
    )
    through = Client(owner.lab, owner.role, owner.folder, owner.known, ("-o", f"ProxyCommand={jump}"))
    done = through.run(f"ssh://root@{name}:22", "id -un; cat /etc/hostname")
    assert done.out.split() == ["root", "server"], done


def test_one_member_cannot_take_the_gateway_down(
    lab: Lab, clients: dict[str, Client], gateway: str, gate: Made
) -> None:
    member = clients["member"]
    greedy = "for i in $(seq 200); do sleep 60 & done; wait"
    with member.open(gateway, f"echo begin; {greedy}", says="begin"):
        assert enters(clients["owner"], gateway)
        inside = guest(lab, "gate", gate.machine("gateway"))
        count = inside.run(
            f"cat /sys/fs/cgroup/placo/{member.uid}/pids.max /sys/fs/cgroup/placo/{member.uid}/memory.max"
        )
        assert count.text.split() == ["64", str(96 << 20)]
        assert int(inside.run(f"ps -o pid= -u {member.uid} | wc -l").text) <= 64
    # What they left would take the place of their next session.
    wait_for(lambda: enters(member, gateway) or None, 30, "the member alone again")
    assert not inside.run("pgrep -x sleep").text.strip()


def test_who_is_removed_is_put_out_with_their_tunnels_and_refused(
    lab: Lab, clients: dict[str, Client], gateway: str, gate: Made
) -> None:
    member, own = clients["member"], gate.machine("server")["address"]
    assert member.run(gateway, "echo mine > note; id -u > number").well
    with (
        member.open(gateway, "echo here; setsid sleep 600 & sleep 600", says="here") as shell,
        member.open(gateway, "-W", f"{own}:22", says=HELLO) as tunnel,
    ):
        run = gate.owner("DELETE", f"/platforms/gate/members/{member.uid}")
        gate.owner.wait_for_run(run["run_id"])
        removed = time.monotonic()
        assert ended_after(shell, removed) < REFUSED_WITHIN_S
        assert ended_after(tunnel, removed) < REFUSED_WITHIN_S
    inside = guest(lab, "gate", gate.machine("gateway"))
    assert not inside.run("pgrep -x sleep").text.strip(), "nothing of theirs goes on"
    assert not enters(member, gateway) and not enters(member, gateway, lab.accounts["member"].password)
    assert not inside.run(f"getent passwd {member.uid}").text
    back = gate.owner("PUT", f"/platforms/gate/members/{member.uid}")
    gate.owner.wait_for_run(back["run_id"])
    wait_for(lambda: enters(member, gateway) or None, 30, "the member is back")
    assert member.run(gateway, "cat note; [ $(id -u) = $(cat number) ] && echo same").out.split() == [
        "mine",
        "same",
    ]


def _settled(gate: Made, uid: str) -> bool:
    """A member and no owner, in the directory too."""
    row = next(m for m in gate.owner("GET", "/platforms/gate/members") if m["uid"] == uid)
    return (row["state"], row["owner"]) == ("active", False)


def test_who_is_no_owner_any_more_is_put_out_of_the_server(
    lab: Lab, clients: dict[str, Client], server: str, gate: Made
) -> None:
    member, owner = clients["member"], clients["owner"]
    gate.owner("PUT", f"/platforms/gate/owners/{member.uid}")
    wait_for(lambda: enters(member, server) or None, 60, "the new owner")
    with (
        member.open(server, "echo here; sleep 600", says="here") as session,
        member.open(server, "-W", "127.0.0.1:22", says=HELLO) as tunnel,
        owner.open(server, "echo here; sleep 600", says="here") as others,
    ):
        lab.api("member")("DELETE", f"/platforms/gate/owners/{member.uid}")
        wait_for(lambda: _settled(gate, member.uid) or None, 30, "the directory to know", every_s=0.1)
        stepped_down = time.monotonic()
        assert ended_after(session, stepped_down) < REFUSED_WITHIN_S
        assert ended_after(tunnel, stepped_down) < REFUSED_WITHIN_S
        assert others.poll() is None, "another owner's session goes on"
    assert not enters(member, server) and enters(owner, server)


def test_a_key_that_is_taken_back_opens_nothing(
    lab: Lab, clients: dict[str, Client], server: str, gateway: str
) -> None:
    owner = clients["owner"]
    spare = Client(lab, "owner", owner.folder.parent, owner.known)
    api = lab.api("owner")
    key = api("POST", "/account/keys", key=spare.make_key(), title="spare")
    wait_for(lambda: enters(spare, server) or None, 30, "the spare key")
    api("DELETE", f"/account/keys/{key['id']}")
    wait_for(lambda: not enters(spare, server) or None, REFUSED_WITHIN_S, "the spare key to be refused")
    assert not enters(spare, gateway) and enters(owner, server)


def test_it_survives_a_stop(clients: dict[str, Client], gateway: str, server: str, gate: Made) -> None:
    member, owner = clients["member"], clients["owner"]
    assert member.run(gateway, "echo kept > kept").well and owner.run(server, "echo kept > /root/kept").well
    for action in ("stop", "start"):
        run = gate.owner("POST", f"/platforms/gate/actions/{action}")
        assert gate.owner.wait_for_run(run["run_id"], timeout_s=600)["state"] == "done"
        if action == "stop":
            assert not enters(member, gateway)
    wait_for(lambda: enters(member, gateway) or None, 60, "the gateway again")
    assert member.run(gateway, "cat kept").out.strip() == "kept"
    assert owner.run(server, "cat /root/kept").out.strip() == "kept"
