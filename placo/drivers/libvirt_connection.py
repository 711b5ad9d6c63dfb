"""Connections to libvirt."""

from __future__ import annotations

import contextlib
import functools
import threading

import libvirt

_KEEPALIVE_S, _KEEPALIVE_COUNT = 5, 3  # a silent host is given up after 20 s
_setup_lock = threading.Lock()


@functools.cache
def _set_up_library() -> None:
    """Keepalive needs a running event loop, registered before the first connection; errors are only raised."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()


def _run_events() -> None:
    while True:
        with contextlib.suppress(libvirt.libvirtError):  # reported to whoever waits on the connection
            libvirt.virEventRunDefaultImpl()


def open_to(uri: str) -> libvirt.virConnect:
    """A connection that notices when its host falls silent."""
    with _setup_lock:
        _set_up_library()
    connection = libvirt.open(uri)
    connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
    return connection


def is_alive(connection: libvirt.virConnect) -> bool:
    with contextlib.suppress(libvirt.libvirtError):
        return bool(connection.isAlive())
    return False
