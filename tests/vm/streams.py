"""The edge's ports other than HTTPS, for clients that want a TCP port: a forwarder from the loopback to the edge's UNIX socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from deploy.client import Lab

_PIECE = 65536


def _socket_of(lab: Lab, protocol: str) -> Path:
    return lab.root / "run" / f"edge-{protocol}.sock"


@contextlib.contextmanager
def port_of(lab: Lab, protocol: str) -> Iterator[int]:
    """A port of the loopback that leads to where the edge takes this protocol, while the block lasts."""
    target = _socket_of(lab, protocol)
    server = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = [server]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = server.accept()
                edge = socket.socket(socket.AF_UNIX)
                edge.connect(str(target))
                open_ones.extend((client, edge))
                for ends in ((client, edge), (edge, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(server.getsockname()[1])
    finally:
        for each in open_ones:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
