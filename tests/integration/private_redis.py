"""A Redis of a test's own, on a UNIX socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.rehearsal.process import short_folder
from deploy.rehearsal.servers import PrivateRedis


@pytest.fixture(scope="module")
def redis_server() -> Iterator[PrivateRedis]:
    with short_folder() as folder:
        made = PrivateRedis(folder)
        yield made
        made.server.stop()
