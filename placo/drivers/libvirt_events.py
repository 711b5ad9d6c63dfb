"""Life-cycle events of a libvirt host; libvirt itself is not imported here.

Source: libvirt-domain.h (virDomainEventType). Callbacks come in the thread that runs libvirt's event loop: they must neither wait
nor ask libvirt anything, or no event of any host comes any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from placo.drivers.ports import DomainEvent, Power

if TYPE_CHECKING:
    import libvirt

log = logging.getLogger("placo.libvirt")

LIFECYCLE = 0
"""VIR_DOMAIN_EVENT_ID_LIFECYCLE."""
_POWERS: dict[int, Power | None] = {
    0: None,  # defined: new, or otherwise than before
    1: None,  # undefined: gone, or it still runs
    2: Power.RUNNING,  # started
    3: Power.PAUSED,  # suspended
    4: Power.RUNNING,  # resumed
    5: Power.STOPPED,  # stopped
    7: Power.PAUSED,  # suspended by its own power management
    8: Power.STOPPED,  # crashed
}


class LibvirtWatch:
    """Implements `placo.drivers.ports.Watch` on a connection of its own, of which libvirt takes one listener only."""

    def __init__(
        self,
        connection: libvirt.virConnect,
        is_alive: Callable[[libvirt.virConnect], bool],
        callback: Callable[[DomainEvent], None],
    ) -> None:
        self._connection, self._is_alive, self._callback = connection, is_alive, callback
        self._closed = False
        self._number = connection.domainEventRegisterAny(None, LIFECYCLE, self._came, None)

    @property
    def alive(self) -> bool:
        return not self._closed and self._is_alive(self._connection)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):  # the connection has broken: nothing comes any more
            self._connection.domainEventDeregisterAny(self._number)
            self._connection.close()

    def _came(
        self, _connection: object, domain: libvirt.virDomain, event: int, _detail: int, _opaque: object
    ) -> None:
        if self._closed or event not in _POWERS:
            return
        try:
            self._callback(DomainEvent(domain.UUIDString(), _POWERS[event]))
        except Exception:
            log.exception("an event of a domain was lost")
