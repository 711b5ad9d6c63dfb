"""The doorman at work: through the edge, with the certificate checked against the site's authority, in a bounded time.

What servers write is never repeated, only what kind of answer it was: it could be the password that they were given. For the
same reason an error of a library is told by its name alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from placo.domain.doors import LoginKind
from placo.domain.protocols import STREAMS
from placo.drivers.door_pages import Pages, try_basic, try_form
from placo.drivers.door_ssh import Credentials, try_ssh
from placo.drivers.door_streams import Conversation, ConversationError, try_imap, try_smtp, try_xmpp
from placo.drivers.doors import Answer, Door, Outcome

_STREAM_TRIES = {LoginKind.IMAP: try_imap, LoginKind.SMTP: try_smtp, LoginKind.XMPP: try_xmpp}


class EdgeDoorman:
    """`doors.Doorman`. `edge` is the edge's UNIX socket, or an IP address; `port` the public one; `streams` and `address` as in
    `EdgeProber`."""

    def __init__(
        self,
        edge: Path | str,
        ca_file: Path,
        port: int = 443,
        *,
        streams: Mapping[str, tuple[str, int]] | None = None,
        address: str | None = None,
    ) -> None:
        self._edge = edge if isinstance(edge, Path) else str(ip_address(edge))
        self._ca_file = ca_file
        self._port = port
        self._streams = streams or {name: (str(self._edge), number) for name, number in STREAMS.items()}
        self._address = address or str(self._edge)

    def try_door(
        self, door: Door, uid: str | None, password: str, timeout_s: float, *, key: str = ""
    ) -> Outcome:
        """By the kind of log-in that the door has."""
        try:
            if door.login.by is LoginKind.SSH:
                return try_ssh(self._address, door, Credentials(uid, password, key), timeout_s)
            trusted = ssl.create_default_context(cafile=str(self._ca_file))
            if (stream := _STREAM_TRIES.get(door.login.by)) is None:
                return self._on_the_web(door, uid, password, timeout_s, trusted)
            if uid is None:
                return Outcome(Answer.SILENT, "nobody comes here without a name")
            with Conversation(self._streams[door.protocol], door.host, trusted, timeout_s) as talk:
                return stream(talk, door.host, uid, password)
        except (ConversationError, OSError, ValueError) as error:
            return Outcome(Answer.SILENT, _words(error, timeout_s))

    def _on_the_web(
        self, door: Door, uid: str | None, password: str, timeout_s: float, trusted: ssl.SSLContext
    ) -> Outcome:
        with Pages(self._edge, self._port, door.host, trusted, timeout_s) as pages:
            if door.login.by is LoginKind.FORM:
                return try_form(pages, door, uid, password)
            return try_basic(pages, door, uid, password)


def _words(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not right: {error.verify_message}"
    if isinstance(error, ConversationError):
        return str(error)
    if isinstance(error, ConnectionError):
        return "the connection is refused or cut off"
    return f"no usable answer ({type(error).__name__})"
