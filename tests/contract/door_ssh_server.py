"""A server of ssh with a door, on loopback: passwords and keys of whoever is in `people` and `keys`; moods as in door_servers.py."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import asyncssh

from placo.drivers.ssh import new_key

GREETING = b"SSH-2.0-door\r\n"


class SshDoorServer:
    """One server; `port` is where it listens, `host_key` the public line by which it is known."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        """uid -> public line."""
        self.mood = ""
        self.seen: list[str] = []
        """Uids that were tried with a password or a key."""
        private, self.host_key = new_key()
        self._private = asyncssh.import_private_key(private)
        self._loop = asyncio.new_event_loop()
        self._stopped = False
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._greet, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        started.set()
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What is odd is said here; what is not, asyncssh takes over."""
        with contextlib.suppress(OSError):
            if self.mood == "mute":
                await asyncio.sleep(30)
            elif self.mood in ("garbage", "loud", "broken"):
                writer.write(
                    {"garbage": b"\x00 what?\r\n" * 5000, "loud": GREETING + b"\x00" * 64}.get(
                        self.mood, GREETING
                    )
                )
                await writer.drain()
                await reader.read(100)
            while self.mood == "drip":
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            if not self.mood:
                await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """To a listener of asyncssh's own, which cannot be given a connection that has begun."""
        inner = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=lambda: _Door(self), server_host_keys=[self._private]
        )
        there = await asyncio.open_connection("127.0.0.1", inner.get_port())

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while piece := await source.read(4096):
                    target.write(piece)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
        inner.close()


class _Door(asyncssh.SSHServer):
    def __init__(self, door: SshDoorServer) -> None:
        self._door = door

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._door.seen.append(username)
        return bool(password) and self._door.people.get(username) == password

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        self._door.seen.append(username)
        shown = " ".join(key.export_public_key().decode().split()[:2])
        return self._door.keys.get(username) == shown
