"""When a machine first answers under its own name to somebody who logs in with the directory's password.

Asked through the edge as a user's browser would: HTTPS with the certificate checked, HTTP Basic, a fresh connection each
time. 200 from a page for members says both: the machine has its name, and it asked the directory.

Asking begins when the machine's network card is connected; nothing can be answered before. Whoever asks earlier makes the
host look for the machine in vain, and then it looks again only once a second (net.ipv4.neigh.*.retrans_time_ms): the
figure would be rounded up to whole seconds, and the engine's own probe would wait as long.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import time
from dataclasses import dataclass

import httpx
import libvirt

from deploy.client import Lab

PAUSE_S = 0.03
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class First:
    """The first success: when it came and when it was asked for (seconds since 1970), and how often it was asked before."""

    answered: float
    asked: float
    before: int


class Link:
    """The network card of a domain that may not be there yet."""

    def __init__(self, uri: str, domain: str) -> None:
        libvirt.registerErrorHandler(
            lambda _context, _error: None, None
        )  # or it prints that there is no domain
        self._connection, self._domain = libvirt.open(uri), domain

    def is_up(self) -> bool:
        """Whether the domain runs with a card that is connected."""
        try:
            domain = self._connection.lookupByName(self._domain)
            if not domain.isActive():
                return False
            live: str = domain.XMLDesc()
        except libvirt.libvirtError:
            return False
        return "<interface" in live and "<link state='down'/>" not in live


class Login:
    """Asks for one page again and again from a thread of its own, from `start` on until it is given or `stop`."""

    def __init__(self, lab: Lab, url: str, role: str, link: Link) -> None:
        self._link = link
        self._address, port = lab.edge.split(":")
        self._port = int(port)
        target = httpx.URL(url)
        self._name, self._path = target.host, target.path
        self._tls = ssl.create_default_context(cafile=str(lab.ca))
        account = lab.accounts[role]
        pair = base64.b64encode(f"{account.uid}:{account.password}".encode()).decode("ascii")
        self._headers = {"Host": f"{target.host}:{port}", "Authorization": f"Basic {pair}"}
        self._over = threading.Event()
        self._first: First | None = None
        self._last = "nothing yet"
        self._thread = threading.Thread(target=self._ask, name="login", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(ANSWER_TIMEOUT_S + CONNECT_TIMEOUT_S)

    def wait(self, timeout_s: float) -> First:
        """The first success; TimeoutError if there is none in time, saying what came instead."""
        self._thread.join(timeout_s)
        if self._first is None:
            raise TimeoutError(
                f"{self._name}{self._path}: no answer in {timeout_s:.0f} s; last: {self._last}"
            )
        return self._first

    def _ask(self) -> None:
        before = 0
        while not self._over.is_set() and not self._link.is_up():
            self._over.wait(PAUSE_S)
        while not self._over.is_set():
            asked = time.time()
            try:
                status = self._status()
            except (OSError, http.client.HTTPException) as error:
                self._last = str(error) or type(error).__name__
            else:
                if status == http.HTTPStatus.OK:
                    self._first = First(time.time(), asked, before)
                    return
                self._last = f"status {status}"
            before += 1
            self._over.wait(PAUSE_S)

    def _status(self) -> int:
        with socket.create_connection((self._address, self._port), timeout=CONNECT_TIMEOUT_S) as plain:
            plain.settimeout(ANSWER_TIMEOUT_S)
            connection = http.client.HTTPConnection(self._name)
            connection.sock = self._tls.wrap_socket(plain, server_hostname=self._name)
            try:
                connection.request("GET", self._path, headers=self._headers)
                answer = connection.getresponse()
                answer.read()
                return answer.status
            finally:
                connection.close()
