"""Servers with a door, on TLS on loopback: HTTP basic, a form with a session, IMAP, submission of mail, XMPP.

Each lets in who is in `people`; `mood` has it misbehave: mute, garbage, broken (cannot check passwords now), loud (it repeats what it was
given), elsewhere (it leads to another server), gone (hangs up), drip (a byte now and then).
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from placo.drivers.certificates import issue_from
from placo.drivers.ports import KeyPair

OUTSIDE = """<html><form action="search"><input name="q"></form>
<form method="post" action="./?task=login"><input type="hidden" name="_token" value="{token}"><input name="_user">
<input type="password" name="_pass"></form></html>"""
INSIDE = '<html><a href="/logout" id="inside">Log out</a></html>'


class DoorServer:
    """One server; `port` is where it listens."""

    def __init__(self, kind: str, root: KeyPair, name: str, folder: Path) -> None:
        self.people: dict[str, str] = {}
        self.mood = ""
        self.tokens: set[str] = set()
        self.sessions: set[str] = set()
        self.seen: list[str] = []
        """Uids that were tried."""
        pair = issue_from(root, [name])
        chain = folder / f"{name}-{kind}.pem"
        chain.write_bytes(pair.certificate + pair.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)
        web = kind in ("basic", "form")
        self._server = (
            ThreadingHTTPServer(("127.0.0.1", 0), _pages(self, kind))
            if web
            else socketserver.ThreadingTCPServer(("127.0.0.1", 0), _talk(self, kind))
        )
        self._server.daemon_threads = True
        if web:
            self._server.socket = self.context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def opens(self, uid: str, password: str) -> bool:
        self.seen.append(uid)
        return bool(password) and self.people.get(uid) == password

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pages(door: DoorServer, kind: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._odd():
                return
            self._basic() if kind == "basic" else self._form_page()

        def do_POST(self) -> None:
            fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self._odd(fields.get("_pass", [""])[0]):
                return
            token, uid, password = (fields.get(name, [""])[0] for name in ("_token", "_user", "_pass"))
            if token not in door.tokens or not door.opens(uid, password):
                self._say(401, OUTSIDE.format(token="t"))
                return
            session = secrets.token_hex(8)
            door.sessions.add(session)
            self._say(
                302, "", Location="./?task=home", **{"Set-Cookie": f"session={session}; Path=/; Secure"}
            )

        def _form_page(self) -> None:
            found = re.search(r"session=(\w+)", self.headers.get("Cookie", ""))
            if found and found[1] in door.sessions:
                self._say(200, INSIDE)
                return
            token = secrets.token_hex(8)
            door.tokens.add(token)
            self._say(200, OUTSIDE.format(token=token))

        def _basic(self) -> None:
            kind_, _, value = self.headers.get("Authorization", "").partition(" ")
            uid, _, password = (
                base64.b64decode(value).decode().partition(":") if kind_ == "Basic" else ("", "", "")
            )
            if uid and door.opens(uid, password):
                self._say(200, "in")
            else:
                self._say(401, "no", **{"WWW-Authenticate": 'Basic realm="x"'})

        def _odd(self, password: str = "") -> bool:
            if door.mood == "mute":
                time.sleep(30)
            elif door.mood == "gone":
                self.close_connection = True
            elif door.mood == "garbage":
                self.wfile.write(b"\x00\x01 no HTTP at all\r\n\r\n")
                self.close_connection = True
            elif door.mood == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(b"x")
                        time.sleep(0.05)
            elif door.mood == "broken":
                self._say(503, "later")
            elif door.mood == "loud":
                self._say(500, f"{self.headers.get('Authorization')} {password}")
            elif door.mood == "elsewhere" and kind == "form":
                self._say(302, "", Location="https://elsewhere.test/")
            else:
                return False
            return True

        def _say(self, status: int, text: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at answers, not at a log."""

    return Handler


GARBAGE = b"\x00 what?\r\n<what/>\r\n" * 5000
_MOODY = {
    "imap": {"broken": b"a1 NO [UNAVAILABLE] later\r\n", "loud": b"a1 BAD %s\r\n"},
    "smtp": {"broken": b"454 4.7.0 later\r\n", "loud": b"555 %s\r\n"},
    "xmpp": {
        "broken": b"<failure xmlns='x'><temporary-auth-failure/></failure>",
        "loud": b"<stream:error>%s</stream:error>",
    },
}
_IN = {"imap": b"a1 OK in\r\n", "smtp": b"235 in\r\n", "xmpp": b"<success xmlns='x'/>"}
_OUT = {
    "imap": b"a1 NO [AUTHENTICATIONFAILED] no\r\n",
    "smtp": b"535 5.7.8 no\r\n",
    "xmpp": b"<failure xmlns='x'><not-authorized/></failure>",
}


def _talk(door: DoorServer, kind: str) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                door.context.wrap_socket(self.request, server_side=True) as talk,
            ):
                if door.mood == "gone":
                    return
                if door.mood == "mute":
                    time.sleep(30)
                if door.mood == "garbage":
                    talk.sendall(GARBAGE)
                    talk.recv(100)
                    return
                while door.mood == "drip":
                    talk.sendall(b"x")
                    time.sleep(0.05)
                given = next(self._given(talk))
                _none, uid, password = base64.b64decode(given).decode().split("\0")
                answer = _MOODY[kind].get(door.mood, _IN[kind] if door.opens(uid, password) else _OUT[kind])
                talk.sendall(answer.replace(b"%s", given + b" " + password.encode()))
                talk.recv(100)

        def _given(self, talk: ssl.SSLSocket) -> Iterator[bytes]:
            """The answer to PLAIN, when it has come."""
            if kind == "imap":
                talk.sendall(b"* OK ready\r\n")
                assert talk.recv(100) == b"a1 AUTHENTICATE PLAIN\r\n"
                talk.sendall(b"* CAPABILITY IMAP4rev1\r\n+ \r\n")
                yield talk.recv(1000).strip()
            elif kind == "smtp":
                talk.sendall(b"220-one moment\r\n")
                talk.sendall(b"220 ready\r\n")
                assert talk.recv(100).startswith(b"EHLO ")
                talk.sendall(b"250-here\r\n250 AUTH PLAIN\r\n")
                yield talk.recv(1000).strip().removeprefix(b"AUTH PLAIN ")
            else:
                assert b"<stream:stream" in talk.recv(1000)
                talk.sendall(b"<?xml version='1.0'?><stream:stream id='1'><stream:features><mechanisms>")
                talk.sendall(b"<mechanism>PLAIN</mechanism></mechanisms></stream:features>")
                said = re.search(rb"<auth [^>]*mechanism='PLAIN'>([^<]*)</auth>", talk.recv(1000))
                assert said
                yield said[1]

    return Handler
