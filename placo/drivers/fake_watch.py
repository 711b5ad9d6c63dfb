"""Events of a fake host: somebody who looks at its domains often, whoever changes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from placo.drivers.ports import DomainEvent, DriverError, Power

EVERY_S = 0.05


class FakeWatch:
    """Implements `placo.drivers.ports.Watch`; `look` tells the power of each domain."""

    def __init__(
        self, look: Callable[[], Mapping[str, Power]], callback: Callable[[DomainEvent], None]
    ) -> None:
        self._look, self._callback = look, callback
        self._over = threading.Event()
        self._known = look()
        self._thread = threading.Thread(target=self._run, name="fake-events", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return not self._over.is_set()

    def close(self) -> None:
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                powers = self._look()
            except DriverError:
                self._over.set()  # as a connection that breaks
                return
            for uuid in self._known.keys() | powers.keys():
                if self._known.get(uuid) is not powers.get(uuid):
                    gone_or_new = uuid not in powers or uuid not in self._known
                    self._callback(DomainEvent(uuid, None if gone_or_new else powers[uuid]))
            self._known = powers
