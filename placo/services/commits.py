"""What is told to others once a transaction is committed: a doorbell, a number that is counted. Losing it is no fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from django.db import transaction

from placo import logs

P = ParamSpec("P")
log = logs.get_logger("placo.commits")


def after_commit(tell: Callable[P, object], *arguments: P.args, **options: P.kwargs) -> None:
    """Call something after the commit. What is committed stands whatever becomes of the call: an error of it is logged."""

    # Not Django's robust=True: that stumbles over callables without a name, partial() among them.
    def told() -> None:
        try:
            tell(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged
            log.warning(
                "not told after the commit",
                what=getattr(tell, "__qualname__", repr(tell)),
                why=str(error) or type(error).__name__,
            )

    transaction.on_commit(told)
