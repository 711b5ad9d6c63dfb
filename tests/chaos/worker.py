"""The Celery application of the soak's workers: a rehearsal's, with its effects written down, and unfenced if asked to be."""

from __future__ import annotations

import django

from deploy.rehearsal.worker import app
from tests.chaos import effects, unfenced

__all__ = ["app"]

django.setup()
effects.record()
if unfenced.wanted():
    unfenced.install()
