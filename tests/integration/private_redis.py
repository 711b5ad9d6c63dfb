"""A Redis of a test's own, on a UNIX socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.contract.outside import Server, short_folder


class PrivateRedis:
    """`url` for clients; `server` may be stopped, frozen and started."""

    def __init__(self, folder: Path) -> None:
        socket = folder / "redis.sock"
        self.url = f"unix://{socket}?db=0"
        command = [
            "/usr/bin/redis-server",
            "--port",
            "0",
            "--unixsocket",
            str(socket),
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self.server = Server(command, self._answers, folder / "redis.log")
        self.server.start()

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=2)

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False


@pytest.fixture(scope="module")
def redis_server() -> Iterator[PrivateRedis]:
    with short_folder() as folder:
        made = PrivateRedis(folder)
        yield made
        made.server.stop()
