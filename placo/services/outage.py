"""The database is away for a moment: restarted, or moved to another machine. What came of an effect is kept meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from placo import logs

T = TypeVar("T")
PATIENCE_S = 60.0
"""How long the database may be away; less than a lease, after which another worker does the step again."""
PAUSE_S = 0.5

log = logs.get_logger("placo.outage")


def through_outage(work: Callable[[], T]) -> T:
    """Do a transaction, and again from its beginning when the database goes away in the middle of it or is not there.

    Whether an interrupted commit took place is not known: `work` has to find out by itself.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() > end:
                raise
            connection.close()
            log.warning("database away", why=str(error).strip())
        time.sleep(PAUSE_S)
