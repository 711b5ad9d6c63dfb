"""Doors of ssh: each platform has a port of its own, and is known by the host key of its machine. The log-in is all that is tried."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from placo.domain.doors import KEY, PASSWORD
from placo.drivers.doors import Answer, Door, Outcome

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it tells of each log-in, by name

_HOST_KEYS = ("ssh-ed25519",)
"""The kind of host keys that machines have."""


@dataclass(frozen=True)
class Credentials:
    """As whom somebody comes, and with what; None for nobody in particular, who cannot come here."""

    uid: str | None
    password: str = field(repr=False)
    key: str = field(repr=False)


def try_ssh(address: str, door: Door, who: Credentials, timeout_s: float) -> Outcome:
    """By each of the ways that the door has: in is who comes in by all, refused who is by all, anything else says nothing."""
    if who.uid is None:
        return Outcome(Answer.SILENT, "nobody comes here without a name")
    if door.port is None:
        return Outcome(Answer.SILENT, "the platform has no port for it")
    import asyncssh  # late: workers that make no proof need not carry it

    try:
        return asyncio.run(_within(timeout_s, address, door, who))
    except TimeoutError:
        said = f"no answer within {timeout_s:g} s"
    except asyncssh.HostKeyNotVerifiable:
        said = "the host key is not right"
    except ConnectionError:
        said = "the connection is refused or cut off"
    except (asyncssh.Error, OSError, ValueError) as error:
        said = f"no usable answer ({type(error).__name__})"
    return Outcome(Answer.SILENT, said)


async def _within(timeout_s: float, address: str, door: Door, who: Credentials) -> Outcome:
    ways = door.login.ways
    async with asyncio.timeout(timeout_s):
        used = await _comes_in(address, door, who, ways)
        if used and len(ways) > 1:
            # What was tried before it was refused, what comes after it was not tried.
            rest = ways[ways.index(used) + 1 :]
            if used != ways[0] or not await _comes_in(address, door, who, rest):
                return Outcome(Answer.SILENT, f"comes in by {used}, but not by every way")
    if not used:
        return Outcome(Answer.REFUSED, "is denied by " + " and by ".join(ways))
    return Outcome(Answer.ADMITTED, "comes in by " + " and by ".join(ways))


async def _comes_in(address: str, door: Door, who: Credentials, ways: tuple[str, ...]) -> str:
    """By which of these ways somebody comes in, tried in this order; empty for none."""
    import asyncssh

    used = ""

    class Client(asyncssh.SSHClient):
        """Who says what they have when they are asked, once each, and remembers what it was."""

        def __init__(self) -> None:
            self._left = list(ways)

        def public_key_auth_requested(self) -> list[asyncssh.SSHKey] | None:
            return [asyncssh.import_private_key(who.key)] if self._says(KEY) else None

        def password_auth_requested(self) -> str | None:
            return who.password if self._says(PASSWORD) else None

        def _says(self, way: str) -> bool:
            nonlocal used
            if way not in self._left:
                return False
            self._left.remove(way)
            used = way
            return True

    names = {KEY: "publickey", PASSWORD: "password"}
    trusted = asyncssh.import_public_key(door.host_key)
    try:
        connection, _client = await asyncssh.create_connection(
            Client,
            address,
            door.port or 0,
            username=door.user or who.uid,
            known_hosts=([trusted], [], []),
            server_host_key_algs=_HOST_KEYS,
            preferred_auth=[names[way] for way in ways],
            config=None,
            agent_path=None,
            client_keys=None,
        )
    except asyncssh.PermissionDenied:
        return ""
    connection.abort()
    return used
