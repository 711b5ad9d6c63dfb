"""The engine without its fencing, for the soak that has to show what fencing is for.

Nobody asks before an effect whether the step is still theirs, and whoever comes late is heard: the result is written as if the
claim were the present one. Leases are as they were: a step is given to another worker only when they are over.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

VARIABLE = "PLACO_CHAOS_UNFENCED"


def wanted() -> bool:
    """Whether the environment asks for it."""
    return bool(os.environ.get(VARIABLE))


def install() -> None:
    """Take the fencing out of this process."""
    from placo.platforms.models import Step
    from placo.services import engine

    real = engine._write

    def write(claim: Any, *arguments: Any, **options: Any) -> Any:
        present = Step.objects.values_list("fence", flat=True).get(pk=claim.step_id)
        return real(replace(claim, fence=present), *arguments, **options)

    def guard(_claim: Any, _action: str) -> Any:
        return lambda: None

    for name, unfenced in (("_guard", guard), ("_write", write)):
        setattr(engine, name, unfenced)
