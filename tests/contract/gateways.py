"""The mail gateways that the contract is proved on: the fake, and a private Postfix with the lab's configuration.

Platforms' machines are SMTP servers of this process that speak TLS from the first byte; whoever sends from 127.0.1.x is a machine.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import smtplib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.lab.gateway import driver, write_configuration
from deploy.lab.programs import postfix
from deploy.rehearsal.process import Server, free_port, short_folder, wait_for
from placo.drivers.certificates import create_root, issue_from
from placo.drivers.fake_edge import FakeGateway
from placo.drivers.ports import KeyPair, MailDomain, MailGateway

ROOT, STRANGER = create_root("PLACO test root"), create_root("somebody else's root")
A, B = str(uuid4()), str(uuid4())
ALPHA, BETA, OUTSIDE = "alpha.placo.localhost", "beta.placo.localhost", "elsewhere.example.org"
POOL, MACHINE_A, MACHINE_B, FOREIGNER = "127.0.1.0/24", "127.0.1.1", "127.0.1.2", "127.0.0.1"
UPSTREAM = "mail.alpha.placo.internal"
PATIENCE_S = 40


class MailMachine:
    """A platform's machine: who is in `people` has an address (local parts); `taken` holds the mails that came."""

    def __init__(self, address: str, folder: Path, root: KeyPair = ROOT, name: str = UPSTREAM) -> None:
        pair = issue_from(root, [name])
        chain = folder / f"machine-{address}.pem"
        chain.write_bytes(pair.certificate + pair.key)
        self.address, self.people = address, {"ada", "emmy"}
        self.taken: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain)
        self.port = free_port()
        self._server: socketserver.ThreadingTCPServer | None = None
        self.start()

    def start(self) -> None:
        machine = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    machine._context.wrap_socket(self.request, server_side=True) as secured,
                    secured.makefile("rwb") as stream,
                ):
                    machine._talk(stream)

        class Listener(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Listener((self.address, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _talk(self, stream: object) -> None:
        read, write = stream.readline, stream.write  # type: ignore[attr-defined]

        def say(line: str) -> None:
            write(line.encode() + b"\r\n")
            stream.flush()  # type: ignore[attr-defined]

        say("220 machine")
        while line := read():
            verb = line[:4].upper()
            if verb == b"RCPT":
                known = re.search(rb"<([^@>]*)@", line)
                there = known is not None and known[1].decode() in self.people
                say("250 ok" if there else "550 5.1.1 nobody of this name")
            elif verb == b"DATA":
                say("354 go on")
                body = b""
                while (more := read()) not in (b".\r\n", b""):
                    body += more
                self.taken.append(body.decode())
                say("250 taken")
            elif verb == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


class FakeOutside:
    def __init__(self, folder: Path) -> None:
        self.fake = FakeGateway(folder)
        self.gateway: MailGateway = self.fake

    def takes(self, domain: str) -> bool:
        return domain in self.fake.routed()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.fake.faults.unreachable = True
        yield
        self.fake.faults.unreachable = False


class PostfixOutside:
    """A running Postfix, the driver for it, and the two machines behind it."""

    def __init__(self, folder: Path, messages_a_minute: int = 1000) -> None:
        self.folder = folder
        folder.chmod(0o711)  # Postfix is another user
        self.port = free_port()
        write_configuration(
            folder,
            str(folder),
            host="gateway.placo.internal",
            address="127.0.0.1",
            port=self.port,
            pool=POOL,
            messages_a_minute=messages_a_minute,
        )
        (folder / "tls").mkdir()
        pair = issue_from(ROOT, ["gateway.placo.internal"])
        for name, content in (("certificate", pair.certificate), ("key", pair.key), ("ca", ROOT.certificate)):
            (folder / "tls" / f"{name}.pem").write_bytes(content)
        self.gateway = driver(folder, "127.0.0.1", self.port)
        self.gateway.prepare()
        self.a, self.b = MailMachine(MACHINE_A, folder), MailMachine(MACHINE_B, folder)
        command = postfix(folder / "etc")
        self.server = Server(command, self.gateway.answers, folder / "log", patience_s=PATIENCE_S)
        self.server.start()

    def stop(self) -> None:
        self.server.stop()
        self.a.stop()
        self.b.stop()

    def down(self) -> contextlib.AbstractContextManager[None]:
        return self.server.stopped()

    def takes(self, domain: str) -> bool:
        said = self.refusal(f"ada@{domain}")
        print(domain, said or "taken")  # what pytest shows of a test that fails
        return not said

    def refusal(
        self,
        to: str,
        sender: str = f"somebody@{OUTSIDE}",
        client: str = FOREIGNER,
        text: str = "Subject: x\n\ny\n",
    ) -> str:
        """What the gateway has against a mail; "" when it takes it."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE_S, source_address=(client, 0)) as smtp:
            smtp.starttls(context=ssl._create_unverified_context())
            try:
                smtp.sendmail(sender, [to], text)
            except smtplib.SMTPRecipientsRefused as error:
                code, said = error.recipients[to]
                return f"{code} {said.decode()}"
            except smtplib.SMTPResponseException as error:
                said = error.smtp_error
                return f"{error.smtp_code} {said.decode() if isinstance(said, bytes) else said}"
        return ""

    def clear(self) -> None:
        """As in the beginning: no platform, and no mail on its way."""
        for machine in (self.a, self.b):
            if machine._server is None:
                machine.start()
        wait_for(lambda: self.gateway.queued() == 0, "an empty queue", PATIENCE_S)
        for slug, uuid in self.gateway.domains().items():
            self.gateway.remove_domains(slug, uuid)
        for machine in (self.a, self.b):
            machine.people = {"ada", "emmy"}
            machine.taken.clear()


GatewayWorld = FakeOutside | PostfixOutside


@pytest.fixture(scope="module")
def private_postfix() -> Iterator[PostfixOutside]:
    if shutil.which("postfix", path="/usr/sbin:/usr/bin") is None:
        pytest.fail("Postfix is not installed: run deploy/setup")
    with short_folder() as folder:
        world = PostfixOutside(folder)
        yield world
        world.stop()


@pytest.fixture
def postfix_world(private_postfix: PostfixOutside) -> Iterator[PostfixOutside]:
    yield private_postfix
    private_postfix.clear()


@pytest.fixture(params=["fake", "postfix"])
def gateway_world(request: pytest.FixtureRequest, tmp_path: Path) -> GatewayWorld:
    if request.param == "fake":
        return FakeOutside(tmp_path)
    world: PostfixOutside = request.getfixturevalue("postfix_world")
    return world


def domain_of(world: GatewayWorld, name: str = ALPHA) -> MailDomain:
    """A domain at the first machine; `beta`'s is at the second."""
    if isinstance(world, FakeOutside):
        return MailDomain(name, MACHINE_A, 25, UPSTREAM)
    machine = world.b if name == BETA else world.a
    return MailDomain(name, machine.address, machine.port, UPSTREAM)
