"""The Celery application of a rehearsal's workers and beat: PLACO's own, on the stage. `celery -A deploy.rehearsal.worker ...`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

from deploy.rehearsal import stage

stage.enter()

from placo.celery import app  # noqa: E402 - the fakes come first

__all__ = ["app"]


@worker_ready.connect(weak=False)
def _ready(**_kwargs: Any) -> None:
    if path := os.environ.get(stage.READY):
        Path(path).write_text(str(os.getpid()))
