"""The Celery application: workers advance runs, beat rings for those whose doorbell was lost."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")

app = Celery("placo")
app.config_from_object("django.conf:settings", namespace="CELERY")
