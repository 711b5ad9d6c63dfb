"""The beat of the sweep: proof that beat rings, Redis carries and a worker answers; and that of the listener.

Kept in Redis, for the next one replaces it.

A key that was flushed is there again after the next sweep; losing it costs nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import redis

from placo import logs, wiring

log = logs.get_logger("placo.heartbeat")

KEY, LISTENER = "placo:sweep:last", "placo:watch:last"
TRIAL = "placo:doctor:trial"
PATIENCE_S = 2.0


def client() -> redis.Redis:
    """The broker's Redis; no call takes longer than PATIENCE_S."""
    return redis.Redis.from_url(
        wiring.site().redis.url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    )


def beat(key: str = KEY) -> None:
    """A sweep has been made (or the listener has looked). That this cannot be said is no reason to do less."""
    try:
        with client() as connection:
            connection.set(key, datetime.now(UTC).timestamp(), ex=timedelta(days=7))
    except redis.RedisError as error:
        log.warning("a heartbeat cannot be kept", key=key, why=str(error))


def last(key: str = KEY) -> datetime | None:
    """When the last sweep was made, or the listener last looked; None when that is not known. RedisError when Redis does not answer."""
    with client() as connection:
        found = connection.get(key)
    return datetime.fromtimestamp(float(found), UTC) if isinstance(found, bytes) else None


def try_out() -> float:
    """Write, read and take away something; how many seconds Redis's clock is ahead of this machine's. Raises RedisError."""
    with client() as connection:
        connection.set(TRIAL, b"1", ex=60)
        connection.delete(TRIAL)
        seconds, micros = connection.time()
    return float(seconds + micros / 1e6 - datetime.now(UTC).timestamp())
