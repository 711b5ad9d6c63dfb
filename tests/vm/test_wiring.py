"""The wiring of every service in the catalogue, on real machines: the proof that is made in production, and one that has to fail.

Which services, doors and cases there are is read from the catalogue: a brick that comes tomorrow is in here tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.client import Lab, wait_for
from placo.domain import proofs as rules
from placo.domain.catalogue import Catalogue, load_catalogue
from placo.domain.proofs import BOUND_S, Case
from placo.drivers.ports import StandIns
from tests.contract.directories import lab_outside
from tests.lab_world import Made, World
from tests.vm.guest import Guest, guest

SLUG = "wired"
CATALOGUE = load_catalogue(Path(__file__).resolve().parents[2] / "catalogue")
SPARE_MIB = 48
SABOTAGE = "/etc/apache2/placo.d/*.conf"
OPEN = f"cd / && cp -a /etc/apache2/placo.d /tmp/placo.d && sed -i 's/Require valid-user/Require all granted/' {SABOTAGE} && apachectl graceful"
SHUT = "cp -a /tmp/placo.d/. /etc/apache2/placo.d/ && rm -r /tmp/placo.d && apachectl graceful"


def expected(catalogue: Catalogue, *services: str) -> set[tuple[str, str, str]]:
    """Service, endpoint and case of everything that is to be tried at these services (all), with the choices that nobody made."""
    found = set()
    for service in [catalogue.services[name] for name in services] or catalogue.services.values():
        for endpoint in service.endpoints:
            access = endpoint.access_for(service.defaults())
            trials = rules.trials(access, endpoint.login.by, endpoint.protocol)
            cases = {trial.case for trial in trials}
            if trials and rules.removes(endpoint.login.by):
                cases.add(Case.REMOVED)
            found |= {(service.id, endpoint.name, case.value) for case in cases}
    return found


def proven(made: Made) -> dict[str, Any]:
    """A proof that was asked for, when it is over."""
    asked = made.owner("POST", f"/platforms/{made.slug}/proofs")

    def over() -> dict[str, Any] | None:
        proofs = made.owner("GET", f"/platforms/{made.slug}/proofs")
        found: dict[str, Any] = next(proof for proof in proofs if proof["id"] == asked["id"])
        return found if found["ended_at"] else None

    return wait_for(over, 300, "the proof to end")


def said_of(proof: dict[str, Any]) -> tuple[str, str, list[str]]:
    """How it ended, why it was broken off if it was, and what was not as it should be."""
    return proof["state"], proof["reason"], [case["text"] for case in proof["cases"] if not case["passed"]]


@pytest.fixture(scope="module")
def wired(lab: Lab) -> Iterator[Made]:
    """A platform with every service of the catalogue."""
    world = World(lab)
    world.choose_way()
    world.ask(SLUG, *sorted(CATALOGUE.services))
    yield world.ready(SLUG)
    world.retire(SLUG)
    for name in world.turned_off:
        world.admin("POST", f"/hosts/{name}/warm", on=True)


@pytest.fixture
def sabotaged(lab: Lab, wired: Made) -> Iterator[Guest]:
    """The machine with the Git repositories lets everybody in."""
    machine = guest(lab, SLUG, wired.machine("git"))
    done = machine.run(OPEN)
    assert done.status == 0, done.text
    yield machine
    if machine.run("test -d /tmp/placo.d").status == 0:
        assert machine.run(SHUT).status == 0


def test_every_door_of_every_service_lets_in_whom_it_should_and_nobody_else(wired: Made) -> None:
    proof = proven(wired)
    assert said_of(proof) == ("passed", "", [])
    assert {(c["service"], c["endpoint"], c["case"]) for c in proof["cases"]} == expected(CATALOGUE)
    removed = {c["service"]: c["seconds"] for c in proof["cases"] if c["case"] == Case.REMOVED}
    assert max(removed.values()) <= BOUND_S
    print(f"refused after (s): {removed}")


def test_every_machine_has_memory_to_spare(lab: Lab, wired: Made) -> None:
    """What the catalogue gives it is enough, once everything has been used."""
    read = "awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo"
    spare = {m["name"]: int(guest(lab, SLUG, m).run(read).text) for m in wired.now["machines"]}
    print(f"available (MiB): {spare}")
    assert min(spare.values()) >= SPARE_MIB, spare


def test_nothing_of_a_proof_is_left(lab: Lab, wired: Made) -> None:
    owners = {lab.accounts["owner"].uid}
    assert {m["uid"] for m in wired.owner("GET", f"/platforms/{SLUG}/members")} == owners
    directory = lab_outside().directory
    assert directory.stand_ins() == StandIns((), {})
    assert set(directory.members(SLUG)) == owners


def test_a_site_without_its_lock_is_found_out(wired: Made, sabotaged: Guest) -> None:
    proof = proven(wired)
    wrong = {(c["service"], c["case"]) for c in proof["cases"] if not c["passed"]}
    assert proof["state"] == "failed"
    assert wrong == {
        ("git", case) for case in ("anybody", "outsider", "stranger", "expired", "password", "removed")
    }
    told = wired.owner.client.get(f"/platforms/{SLUG}/proofs").json()[0]["text"]
    assert "6 of" in told
