"""Listening to all hosts: what a machine does is known within a second, and a host where something happened is compared soon.

Each host has a thread that keeps its watch; only the thread that calls `run` uses the database. What was missed while a connection
was broken is found by the reconciliation that follows, and by the one of every minute.
"""

from __future__ import annotations

import logging
import threading
import time
from queue import Empty, SimpleQueue

from django.db import Error, close_old_connections

from placo.domain import saga
from placo.drivers.ports import DomainEvent, DriverError, Hypervisor
from placo.platforms.models import Host
from placo.services import asking, heartbeat, observed
from placo.services.work import hypervisor_of

log = logging.getLogger("placo.watch")

SOON_S, PAUSE_S = 1.0, 10.0
"""How long after an event its host is compared, so that what comes together is one; and how often at most."""
CHECK_S, HOSTS_S = 0.5, 30.0
"""How often it is asked whether a watch is alive, and whether there are other hosts."""
BEAT_S = 5.0
"""How often it is said that the listener listens."""


class Watcher:
    """Keeps watches on all hosts until it is stopped."""

    def __init__(self) -> None:
        self._came: SimpleQueue[tuple[str, DomainEvent | None]] = SimpleQueue()
        self._keepers: dict[str, threading.Event] = {}
        self._due: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._hosts_at = 0.0
        self._turned_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. A database that is away is waited for; no event is acted on meanwhile, the comparison finds it all."""
        # By a thread of its own: Redis may hang, and events are not to wait for that.
        threading.Thread(target=self._beat, args=(stop,), name="watch-beat", daemon=True).start()
        try:
            while not stop.is_set():
                self._turned_at = time.monotonic()
                try:
                    self.look_after_hosts()
                    self.handle(0.2)
                except Error as error:
                    log.warning("the database does not answer: %s", error)
                    stop.wait(1)
                finally:
                    close_old_connections()
        finally:
            for over in self._keepers.values():
                over.set()

    def _beat(self, stop: threading.Event) -> None:
        """Say that the listener is there, for as long as it goes round."""
        while not stop.is_set():
            if time.monotonic() - self._turned_at < 2 * BEAT_S:
                heartbeat.beat(heartbeat.LISTENER)
            stop.wait(BEAT_S)

    def look_after_hosts(self) -> None:
        """A keeper for each host that there is, now and then."""
        if time.monotonic() < self._hosts_at:
            return
        hosts = {host.name: host for host in Host.objects.all()}
        for name in self._keepers.keys() - hosts.keys():
            self._keepers.pop(name).set()
        for name in hosts.keys() - self._keepers.keys():
            over = self._keepers[name] = threading.Event()
            arguments = (name, hypervisor_of(hosts[name]), over)
            threading.Thread(target=self._keep, args=arguments, name=f"watch-{name}", daemon=True).start()
        self._hosts_at = time.monotonic() + HOSTS_S

    def handle(self, patience_s: float) -> None:
        """The next event, if one comes in time; then the hosts that are due."""
        try:
            host, event = self._came.get(timeout=patience_s)
        except Empty:
            pass
        else:
            try:
                news = event is None or _news(event)
            except Error:
                self._make_due(host)  # the comparison makes up for what could not be written
                raise
            if news:
                self._make_due(host)
        self._ask()

    def _make_due(self, host: str) -> None:
        earliest = self._asked.get(host, -PAUSE_S) + PAUSE_S
        self._due.setdefault(host, max(time.monotonic() + SOON_S, earliest))

    def _ask(self) -> None:
        now = time.monotonic()
        for host in [host for host, due in self._due.items() if due <= now]:
            del self._due[host]
            self._asked[host] = now
            asking.ask(host)

    def _keep(self, name: str, hypervisor: Hypervisor, over: threading.Event) -> None:
        failures = 0
        while not over.is_set():
            try:
                watch = hypervisor.watch(lambda event: self._came.put((name, event)))
            except DriverError as error:
                failures += 1
                wait = saga.backoff(failures)
                log.warning("host=%s cannot be listened to, next try in %g s: %s", name, wait, error)
                over.wait(wait)
                continue
            failures = 0
            log.info("host=%s is listened to", name)
            self._came.put((name, None))  # what happened before is not told
            while watch.alive and not over.wait(CHECK_S):
                pass
            watch.close()
            if not over.is_set():
                log.warning("host=%s: the connection has broken", name)
                self._came.put((name, None))


def _news(event: DomainEvent) -> bool:
    """Write down what a domain does. Whether its host is to be compared: not for what a run is doing, nor for what is known."""
    if event.power is None:
        return not observed.in_flux(event.uuid)
    return observed.note(event.uuid, event.power)
