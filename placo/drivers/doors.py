"""The contract of the doorman, who tries the doors of platforms as people would."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from placo.domain.doors import Login


class Answer(StrEnum):
    """What came of a try. SILENT: neither in nor refused: no connection, no time left, an answer that says nothing."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    SILENT = "silent"


@dataclass(frozen=True)
class Door:
    """One address of a platform: `path` is what is asked for on the web, with options filled in.

    Of ssh: the platform's own `port` of the edge, the machine's `host_key` (a line as in known_hosts, without a name), and as
    which `user` everybody logs in, nobody where people do so with their own names.
    """

    host: str
    protocol: str
    path: str
    login: Login
    port: int | None = None
    host_key: str = ""
    user: str = ""


@dataclass(frozen=True)
class Outcome:
    """`said`: what was seen, in English, for a screen. It holds nothing that the other side wrote, and no password."""

    answer: Answer
    said: str


class Doorman(Protocol):
    """Comes through the edge, checks its certificate, and never raises for what the other side does."""

    def try_door(
        self, door: Door, uid: str | None, password: str, timeout_s: float, *, key: str = ""
    ) -> Outcome:
        """Try to come in, in a log-in of its own, within `timeout_s` seconds. Without a uid: as nobody in particular, on the web only.

        `key` is a private key in OpenSSH's format, for doors that take one.
        """
