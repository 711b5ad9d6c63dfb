"""From libvirt to the row: what happens to a machine past the portal is known there by the event, not by the next comparison."""

from __future__ import annotations

from statistics import median

from bench.events import Row, wiring_of
from deploy.client import Lab
from tests.lab_world import Made, World

TIMES = 5
SWEEP_S = 30
"""Half the time between two comparisons: what is told by them alone would take this long on average."""


def test_a_destroyed_machine_is_known_to_be_stopped(lab: Lab, world: World, beta: Made) -> None:
    """It prints how long it took; `bench.events` says on an idle machine whether that is within a second."""
    row, hypervisor = Row(lab.root, "beta"), wiring_of(beta.now["host"])
    taken = [row.told(hypervisor) for _time in range(TIMES)]
    destroyed, started = (sorted(times) for times in zip(*taken, strict=True))
    print(
        f"from virDomainDestroy to the row: {', '.join(f'{s:.2f}' for s in destroyed)} s; "
        f"from virDomainCreate: {', '.join(f'{s:.2f}' for s in started)} s"
    )
    assert median(destroyed) < SWEEP_S / 3
    run_id = world.owner("POST", "/platforms/beta/actions/restart")["run_id"]
    assert world.owner.wait_for_run(run_id)["state"] == "done"
