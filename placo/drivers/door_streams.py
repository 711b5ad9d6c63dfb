"""Doors that are no web: IMAP, submission of mail, XMPP. Each by SASL's PLAIN (RFC 4616), in TLS from the first byte."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from types import TracebackType

from placo.drivers.doors import Answer, Outcome

_MOST = 1 << 16
"""More than any of these servers has to say before it decides, in bytes."""
_OPENING = (
    "<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_FEATURES = re.compile(rb"<stream:features.*?(</stream:features>|/>)|<stream:error", re.DOTALL)
_VERDICT = re.compile(rb"<success[ />]|<failure[ >].*?</failure>|<stream:error|</stream:stream>", re.DOTALL)


class ConversationError(Exception):
    """The other side does not keep to the protocol, or goes away; told in words of our own."""


class Conversation:
    """A TLS connection to one name, of which everything takes `timeout_s` seconds at most."""

    def __init__(self, where: tuple[str, int], host: str, trusted: ssl.SSLContext, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        plain = socket.create_connection(where, timeout=timeout_s)
        try:
            self._socket = trusted.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self._heard = b""

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def say(self, text: str) -> None:
        """Send this."""
        self._socket.settimeout(self._left())
        self._socket.sendall(text.encode("utf-8"))

    def line(self) -> bytes:
        """The next line, without its end."""
        return self.until(re.compile(rb"[^\n]*\n")).rstrip(b"\r\n")

    def until(self, pattern: re.Pattern[bytes]) -> bytes:
        """What is said up to the end of the first match; the match itself is returned."""
        while (match := pattern.search(self._heard)) is None:
            if len(self._heard) > _MOST:
                raise ConversationError("says more than anybody would")
            self._socket.settimeout(self._left())
            piece = self._socket.recv(4096)
            if not piece:
                raise ConversationError("the connection is closed in the middle")
            self._heard += piece
        self._heard = self._heard[match.end() :]
        return match[0]

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _plain(uid: str, password: str) -> str:
    return base64.b64encode(f"\0{uid}\0{password}".encode()).decode("ascii")


def try_imap(talk: Conversation, host: str, uid: str, password: str) -> Outcome:  # noqa: ARG001 - as the others
    """RFC 9051, 6.2.2."""
    if not talk.line().startswith(b"* OK"):
        return Outcome(Answer.SILENT, "does not greet")
    talk.say("a1 AUTHENTICATE PLAIN\r\n")
    while not (said := talk.line()).startswith(b"+"):
        if said.startswith(b"a1 "):
            return Outcome(Answer.SILENT, "does not take passwords")
    talk.say(_plain(uid, password) + "\r\n")
    while not (said := talk.line()).startswith(b"a1 "):
        if said.startswith(b"* BYE"):
            return Outcome(Answer.SILENT, "says BYE")
    if said.startswith(b"a1 OK"):
        return Outcome(Answer.ADMITTED, "answers OK")
    if said.startswith(b"a1 NO [UNAVAILABLE]") or not said.startswith(b"a1 NO"):
        return Outcome(Answer.SILENT, "cannot check passwords now")
    return Outcome(Answer.REFUSED, "answers NO")


def try_smtp(talk: Conversation, host: str, uid: str, password: str) -> Outcome:  # noqa: ARG001 - as the others
    """RFC 4954."""
    if _reply(talk) != 220:
        return Outcome(Answer.SILENT, "does not greet")
    talk.say("EHLO doorman.invalid\r\n")
    if _reply(talk) != 250:
        return Outcome(Answer.SILENT, "does not take EHLO")
    talk.say(f"AUTH PLAIN {_plain(uid, password)}\r\n")
    code = _reply(talk)
    if code == 235:
        return Outcome(Answer.ADMITTED, "answers 235")
    if code == 535:
        return Outcome(Answer.REFUSED, "answers 535")
    return Outcome(Answer.SILENT, f"answers {code}")


def _reply(talk: Conversation) -> int:
    """The code of an answer, which may have several lines."""
    while True:
        said = talk.line()
        if not re.match(rb"[2-5]\d\d([ -]|$)", said):
            raise ConversationError("does not speak SMTP")
        if said[3:4] != b"-":
            return int(said[:3])


def try_xmpp(talk: Conversation, host: str, uid: str, password: str) -> Outcome:
    """RFC 6120, 6.4."""
    talk.say(_OPENING.format(host=host))
    if b">PLAIN<" not in talk.until(_FEATURES):
        return Outcome(Answer.SILENT, "does not take passwords")
    talk.say(f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{_plain(uid, password)}</auth>")
    said = talk.until(_VERDICT)
    if said.startswith(b"<success"):
        return Outcome(Answer.ADMITTED, "answers success")
    if said.startswith(b"<failure") and b"<temporary-auth-failure" not in said:
        return Outcome(Answer.REFUSED, "answers failure")
    return Outcome(Answer.SILENT, "cannot check passwords now")
