"""A client of ssh in the portal's namespace, where the edge's own ports are reached: one account, with its key or its password."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deploy.client import Lab
from tests.vm.guest import portal_namespace

EDGE = "10.77.0.1"
CONNECT_S = 40
"""Emulated processors take seconds for one handshake."""


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def well(self) -> bool:
        return self.status == 0


@dataclass
class Client:
    """Somebody with a key pair in `folder`; `known` is a file of host keys."""

    lab: Lab
    role: str
    folder: Path
    known: Path
    more: tuple[str, ...] = field(default=())

    @property
    def uid(self) -> str:
        return self.lab.accounts[self.role].uid

    @property
    def key(self) -> Path:
        return self.folder / f"{self.role}.key"

    def make_key(self) -> str:
        """A new key pair; the public one."""
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.role, "-f", str(self.key)]
        subprocess.run(command, check=True)
        return self.key.with_suffix(".key.pub").read_text().strip()

    def command(self, url: str, *words: str, user: str = "", password: bool = False) -> list[str]:
        """The command line: options first, then what is to be done there."""
        where = urlsplit(url)
        way, other = ("password", "Pubkey") if password else ("publickey", "Password")
        options = [
            *("-F", "none", "-i", str(self.key), "-o", f"UserKnownHostsFile={self.known}"),
            *(
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                f"ConnectTimeout={CONNECT_S}",
            ),
            *("-o", f"PreferredAuthentications={way}", "-o", f"{other}Authentication=no"),
            *("-o", "NumberOfPasswordPrompts=1", "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=ERROR"),
            *self.more,
        ]
        if not password:
            options += ["-o", "BatchMode=yes"]
        target = f"{user or where.username or self.uid}@{where.hostname}"
        address = ["-p", str(where.port), "-o", f"HostName={EDGE}", "-o", f"HostKeyAlias={where.hostname}"]
        return ["ssh", *options, *address, target, *words]

    def _prefix(self) -> list[str]:
        return ["ip", "netns", "exec", portal_namespace(self.lab)]

    def _environment(self, password: str) -> dict[str, str]:
        ask = self.folder / "ask"
        if not ask.exists():
            ask.write_text('#!/bin/sh\nprintf "%s\\n" "$PLACO_TEST_PASSWORD"\n')
            ask.chmod(0o700)
        told = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "PLACO_TEST_PASSWORD": password}
        return {**os.environ, **told}

    def run(self, url: str, *words: str, user: str = "", password: str | None = None) -> Ended:
        """Do something there and wait for its end."""
        done = subprocess.run(
            self._prefix() + self.command(url, *words, user=user, password=password is not None),
            env=self._environment(password or ""),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def open(self, url: str, *words: str, says: str, user: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """A connection that stays, once it has said something."""
        process = subprocess.Popen(
            self._prefix() + self.command(url, *words, user=user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            heard = _hear(process, says.encode())
            assert says.encode() in heard, heard
            yield process
        finally:
            process.kill()
            process.wait()


def known_host(lab: Lab, endpoint: dict[str, str]) -> str:
    """A line of a file of host keys: that of an ssh address, as it was found on the wire. It has to be the one that the portal tells of."""
    host, port = endpoint["url"].removeprefix("ssh://").rpartition("@")[2].split(":")
    command = ["ip", "netns", "exec", portal_namespace(lab), "ssh-keyscan", "-T", "30", "-t", "ed25519"]
    scan = subprocess.run([*command, "-p", port, EDGE], capture_output=True, text=True, check=True).stdout
    key = " ".join(scan.split()[-2:])
    told = ["ssh-keygen", "-lf", "-"]
    shown = subprocess.run(told, input=key, capture_output=True, text=True, check=True).stdout
    assert endpoint["fingerprint"] in shown
    return f"{host} {key}\n"


def _hear(process: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    assert process.stdout
    heard, end = b"", time.monotonic() + 2 * CONNECT_S
    while wanted not in heard and time.monotonic() < end:
        if not select.select([process.stdout], [], [], 0.2)[0]:
            continue
        more = os.read(process.stdout.fileno(), 4096)
        if not more:
            break
        heard += more
    return heard


def ended_after(process: subprocess.Popen[bytes], since: float, patience_s: float = 30) -> float:
    """Seconds from `since` until a connection was ended by the other side."""
    process.wait(timeout=patience_s)
    return time.monotonic() - since
