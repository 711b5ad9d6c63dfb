"""Mail as people and other sites have it: programs for the edge's ports, somebody who comes from outside, and DKIM's check."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import email
import hashlib
import imaplib
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from deploy.client import Account, Lab, wait_for
from deploy.lab.layout import PORTAL_ADDRESS
from deploy.lab.layout import Lab as Layout
from deploy.lab.network import namespace_file
from tests.vm.guest import Guest
from tests.vm.streams import port_of

PATIENCE_S = 120
_CLONE_NEWNET = 0x40000000


def _trusting(lab: Lab) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(lab.ca))


class _Imap(imaplib.IMAP4_SSL):
    """By a port of the loopback, under the server's own name."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        self._name = name
        super().__init__("127.0.0.1", port, ssl_context=context, timeout=PATIENCE_S)

    def _create_socket(self, timeout: float | None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        return self.ssl_context.wrap_socket(plain, server_hostname=self._name)  # type: ignore[attr-defined]


class _Submission(smtplib.SMTP_SSL):
    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        self._real = port
        super().__init__(name, context=context, timeout=PATIENCE_S)

    def _get_socket(self, host: str, _port: int, timeout: float) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._real), timeout)
        return self.context.wrap_socket(plain, server_hostname=host)  # type: ignore[attr-defined]


@contextlib.contextmanager
def mailbox(
    lab: Lab, name: str, account: Account, password: str | None = None
) -> Iterator[imaplib.IMAP4_SSL]:
    """Somebody's mailbox at the server `name`; imaplib's error when they are not let in."""
    with port_of(lab, "imaps") as port:
        client = _Imap(name, port, _trusting(lab))
        try:
            client.login(account.uid, password or account.password)
            yield client
        finally:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                client.logout()


@contextlib.contextmanager
def submission(lab: Lab, name: str, account: Account) -> Iterator[smtplib.SMTP]:
    """Somebody who may send by the server `name`; smtplib's error when they may not."""
    with port_of(lab, "submissions") as port, _Submission(name, port, _trusting(lab)) as client:
        client.login(account.uid, account.password)
        yield client


def text(sender: str, to: str, subject: str, body: str = "Is lemma 3 true?\r\n") -> str:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{body}"


def refusal(client: smtplib.SMTP, sender: str, to: str, subject: str = "x") -> str:
    """What a server has against a mail, "" when it takes it."""
    try:
        client.sendmail(sender, [to], text(sender, to, subject))
    except smtplib.SMTPRecipientsRefused as error:
        code, said = error.recipients[to]
        return f"{code} {said.decode()}"
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error!r}"
    return ""


def arrives(lab: Lab, name: str, account: Account, subject: str, timeout_s: float = PATIENCE_S) -> bytes:
    """A mail of that subject in somebody's INBOX, once it is there; ASCII subjects without spaces or quotes."""
    with mailbox(lab, name, account) as client:

        def found() -> bytes | None:
            client.select("INBOX")
            numbers = client.search(None, "SUBJECT", subject)[1][0].split()
            if not numbers:
                return None
            fetched = client.fetch(numbers[-1], "(BODY.PEEK[])")[1][0]
            assert isinstance(fetched, tuple)
            return bytes(fetched[1])

        return wait_for(found, timeout_s, f"a mail about {subject} for {account.uid}")


def fill(client: imaplib.IMAP4_SSL) -> None:
    """Fill somebody's mailbox to its last byte."""
    size = 4 << 20
    while size:
        line = b"Subject: stuff\r\n\r\n" if size > 64 else b""
        mail = line + b"x" * (size - len(line))
        if client.append("INBOX", None, None, mail)[0] != "OK":  # type: ignore[arg-type]
            size //= 4


def empty(client: imaplib.IMAP4_SSL) -> None:
    """Throw away what is in somebody's INBOX."""
    client.select("INBOX")
    client.store("1:*", "+FLAGS", "\\Deleted")
    client.expunge()


SIEVE = """
import base64, socket, sys
account, password, script = (base64.b64decode(word).decode() for word in sys.argv[1:])
server = socket.create_connection(("127.0.0.1", 4190), 30)
stream = server.makefile("rwb")
def answer():
    while not (line := stream.readline()).startswith((b"OK", b"NO", b"BYE")):
        assert line, "closed"
    assert line.startswith(b"OK"), line
def say(text):
    stream.write(text.encode() + b"\\r\\n")
    stream.flush()
    answer()
answer()
token = base64.b64encode(f"\\0{account}\\0{password}".encode()).decode()
say(f'AUTHENTICATE "PLAIN" "{token}"')
if script:
    say(f'PUTSCRIPT "test" {{{len(script.encode())}+}}\\r\\n{script}')
say('SETACTIVE "%s"' % ("test" if script else ""))
"""


def filter_by(machine: Guest, account: Account, script: str) -> None:
    """Have a Sieve script sort somebody's mail, "" for none: by ManageSieve (RFC 5804), which the machine offers to itself alone."""
    words = [base64.b64encode(w.encode()).decode() for w in (account.uid, account.password, script)]
    done = machine.run(f"python3 - {' '.join(w or '=' for w in words)} <<'PROGRAM'\n{SIEVE}\nPROGRAM")
    assert done.status == 0, done.text


class _FromOutside(smtplib.SMTP):
    """The gateway's port 25, from the portal's machine: an address that is no platform's machine."""

    def __init__(self, lab: Lab, client: str, server: str = PORTAL_ADDRESS, tls: bool = False) -> None:
        self._namespace = namespace_file(Layout.at(lab.root).namespace)
        self._client = client
        self._tls = tls
        super().__init__(server, 25, timeout=PATIENCE_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made: list[socket.socket | BaseException] = []

        def connect() -> None:  # a thread of its own: it stays in the namespace
            try:
                descriptor = os.open(self._namespace, os.O_RDONLY | os.O_CLOEXEC)
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                os.close(descriptor)
                made.append(socket.create_connection((host, port), timeout, (self._client, 0)))
            except BaseException as error:  # noqa: BLE001 - told in the other thread
                made.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        return ssl._create_unverified_context().wrap_socket(made[0]) if self._tls else made[0]


@contextlib.contextmanager
def from_outside(lab: Lab, client: str = PORTAL_ADDRESS) -> Iterator[smtplib.SMTP]:
    """Another site's mail server, with its STARTTLS."""
    with _FromOutside(lab, client) as smtp:
        smtp.starttls(context=ssl._create_unverified_context())
        smtp.ehlo()
        yield smtp


@contextlib.contextmanager
def as_the_gateway(lab: Lab, machine: str) -> Iterator[smtplib.SMTP]:
    """What a platform's machine at that address says to the site's gateway."""
    with _FromOutside(lab, PORTAL_ADDRESS, machine, tls=True) as smtp:
        yield smtp


ASK = """
import sys, dns.message, dns.query
answer = dns.query.tcp(dns.message.make_query(sys.argv[1], sys.argv[2]), sys.argv[3], timeout=10)
print("\\n".join(rdata.to_text() for rrset in answer.answer for rdata in rrset))
"""


def told(lab: Lab, name: str, kind: str) -> list[str]:
    """What the site's DNS server says of a name, from the portal's machine."""
    namespace = Layout.at(lab.root).namespace
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", ASK, name, kind, PORTAL_ADDRESS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


# --- DKIM (RFC 6376), as far as our signer goes: rsa-sha256, relaxed/relaxed ---


def public_key(records: str) -> rsa.RSAPublicKey:
    """The key of a DKIM record."""
    strings = "".join(re.findall(r'"([^"]*)"', records))
    key = serialization.load_der_public_key(base64.b64decode(strings.partition("p=")[2]))
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def check_signature(mail: bytes, key: rsa.RSAPublicKey) -> dict[str, str]:
    """The tags of the mail's signature; raises InvalidSignature or AssertionError for one that is not right."""
    head, _, body = mail.partition(b"\r\n\r\n")
    lines = re.sub(rb"\r\n(?=[ \t])", b"\x00", head).split(b"\r\n")
    fields = [
        (n.strip().lower(), v.replace(b"\x00", b"\r\n")) for n, _, v in (x.partition(b":") for x in lines)
    ]
    signature = next(value for name, value in fields if name == b"dkim-signature")
    tags = {
        name.strip(): re.sub(r"\s", "", value)
        for name, _, value in (tag.partition("=") for tag in signature.decode().split(";") if tag.strip())
    }
    tidy = b"".join(re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") + b"\r\n" for line in body.split(b"\r\n"))
    tidy = tidy.rstrip(b"\r\n") + b"\r\n" if tidy.strip() else b""
    assert base64.b64decode(tags["bh"]) == hashlib.sha256(tidy).digest()
    left = list(reversed(fields))
    signed = b""
    for wanted in tags["h"].lower().encode().split(b":"):
        match = next((field for field in left if field[0] == wanted), None)
        if match is not None:
            left.remove(match)
            signed += _relaxed(*match) + b"\r\n"
    signed += _relaxed(b"dkim-signature", re.sub(rb"(\bb=)[^;]*", rb"\1", signature))
    key.verify(base64.b64decode(tags["b"]), signed, padding.PKCS1v15(), hashes.SHA256())
    return tags


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip()


def body_of(mail: bytes) -> str:
    found = email.message_from_bytes(mail).get_payload(decode=True)
    return found.decode() if isinstance(found, bytes) else mail.decode()
