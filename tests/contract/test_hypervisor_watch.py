"""The contract `ports.Hypervisor.watch`, on every implementation."""

from __future__ import annotations

import threading

import pytest

from deploy.client import wait_for
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.ports import DomainEvent, Power, Unavailable
from tests.contract.hypervisor_worlds import World


class Ears:
    """What was heard of one domain."""

    def __init__(self, uuid: str) -> None:
        self.uuid, self.heard = uuid, list[DomainEvent]()
        self._lock = threading.Lock()

    def __call__(self, event: DomainEvent) -> None:
        with self._lock:
            if event.uuid == self.uuid:
                self.heard.append(event)

    def wait_for(self, power: Power | None) -> None:
        """It was the last thing that was heard, within the second that the portal has for it."""
        wait_for(lambda: (self.heard and self.heard[-1].power is power) or None, 1, f"{power}", every_s=0.01)


def test_each_change_in_a_domains_life_is_heard(world: World) -> None:
    spec, host = world.machine(), world.hypervisor
    ears = Ears(spec.uuid)
    watch = host.watch(ears)
    try:
        assert watch.alive
        for change, power in (
            (host.start_domain, Power.RUNNING),
            (host.suspend_domain, Power.PAUSED),
            (host.start_domain, Power.RUNNING),
            (host.kill_domain, Power.STOPPED),
            (host.remove_domain, None),
        ):
            change(spec.uuid)
            ears.wait_for(power)
    finally:
        watch.close()
    assert not watch.alive
    watch.close()


def test_nothing_is_heard_after_the_end(world: World) -> None:
    spec, host = world.machine(), world.hypervisor
    ears, others = Ears(spec.uuid), Ears(spec.uuid)
    ended, going = host.watch(ears), host.watch(others)
    ended.close()
    try:
        host.start_domain(spec.uuid)
        others.wait_for(Power.RUNNING)
        assert ears.heard == []
    finally:
        going.close()


def test_a_host_that_does_not_answer_cannot_be_watched(world: World) -> None:
    with pytest.raises(Unavailable):
        world.host.unreachable().watch(lambda _event: None)


def test_a_watch_ends_with_its_connection(world: World) -> None:
    host = world.hypervisor
    watch = host.watch(lambda _event: None)
    if isinstance(host, FakeHypervisor):
        host.faults.unreachable = True
    else:
        watch._connection.close()  # type: ignore[attr-defined]
    wait_for(lambda: not watch.alive or None, 5, "the end", every_s=0.01)
    watch.close()
    if isinstance(host, FakeHypervisor):
        host.faults.clear()
    again = host.watch(lambda _event: None)
    assert again.alive
    again.close()
