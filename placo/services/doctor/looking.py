"""Looks done at the same time, each in a thread of its own and given up after a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextvars import copy_context
from dataclasses import dataclass, field

from django.db import connections
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from placo import logs
from placo.services.doctor.report import Level, Look, Result

log = logs.get_logger("placo.doctor")


@dataclass
class _Under:
    """A look under way in its thread."""

    look: Look
    results: list[Result] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        # The context carries what log lines are about; the language and connections to the database are each thread's own.
        self.thread = threading.Thread(
            target=copy_context().run,
            args=(self._work, get_language()),
            daemon=True,
            name=f"doctor-{self.look.component}",
        )
        self.thread.start()

    def _work(self, language: str | None) -> None:
        try:
            with override(language):
                self.results = list(self.look.at())
        except Exception as error:  # whatever it is, it is a finding
            log.warning("a look broke", component=self.look.component, exc_info=error)
            self.results = [
                Result(
                    self.look.component,
                    Level.FAILURE,
                    _("Cannot be checked: %(why)s") % {"why": f"{type(error).__name__}: {error}"},
                    _("Read the portal's log; if the reason is not there, report this as a fault of PLACO."),
                )
            ]
        finally:
            connections.close_all()


_hanging: dict[str, threading.Thread] = {}
_lock = threading.Lock()


def look_at(looks: Iterable[Look], patience_s: float) -> list[Result]:
    """Do all looks at the same time; the results in their order."""
    until = time.monotonic() + patience_s
    going: list[_Under] = []
    for look in looks:
        under = _Under(look)
        with _lock:
            before = _hanging.get(look.component)
        if before is None or not before.is_alive():
            under.start()
        going.append(under)
    found: list[Result] = []
    for under in going:
        thread = under.thread
        if thread is not None:
            thread.join(max(until - time.monotonic(), 0))
            with _lock:
                if thread.is_alive():
                    _hanging[under.look.component] = thread
                elif _hanging.get(under.look.component) is not thread:
                    _hanging.pop(under.look.component, None)
        if thread is None or thread.is_alive():
            found.append(_hangs(under.look.component, patience_s))
        else:
            found += under.results
    return found


def _hangs(component: str, patience_s: float) -> Result:
    return Result(
        component,
        Level.FAILURE,
        _("Has not answered within %(seconds)d seconds.") % {"seconds": round(patience_s)},
        _("It hangs, or the way to it does: look at its log and the network between, then restart it."),
    )
