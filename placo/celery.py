"""The Celery application: workers advance runs, beat rings for those whose doorbell was lost."""

from __future__ import annotations

import logging.config
import os
from typing import Any

from celery import Celery
from celery.signals import before_task_publish, setup_logging, task_postrun, task_prerun

from placo import logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")

app = Celery("placo")
app.config_from_object("django.conf:settings", namespace="CELERY")

CARRIED = "placo_request"
"""The header of a message that names the request, or the task, that rang."""


def ring_for(task: str, *arguments: object, **options: Any) -> None:
    """Have a worker do a task. Asked once, and after the commit (services/commits.py): a ring that is lost is repeated by beat."""
    app.send_task(task, arguments, retry=False, ignore_result=True, **options)


@setup_logging.connect(weak=False)
def _logging(**_kwargs: Any) -> None:
    """The portal's logging, not Celery's."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


@before_task_publish.connect(weak=False)
def _carry(headers: dict[str, Any] | None = None, **_kwargs: Any) -> None:
    request = logs.known().get("request")
    if headers is not None and request:
        headers[CARRIED] = request


@task_prerun.connect(weak=False)
def _begin(task_id: str = "", task: Any = None, **_kwargs: Any) -> None:
    """What a worker writes says which task it does, and for which request."""
    logs.forget()
    logs.note(task=task.name.removeprefix("tasks."), task_id=task_id[:8])
    if request := getattr(task.request, CARRIED, None):
        logs.note(request=str(request))


@task_postrun.connect(weak=False)
def _end(**_kwargs: Any) -> None:
    logs.forget()
