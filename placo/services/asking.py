"""Having a place compared soon with what it should have (placo/services/reconcile.py)."""

from __future__ import annotations

from placo.celery import ring_for
from placo.platforms.models import Host
from placo.services.commits import after_commit


def ask(host: str | None = None) -> None:
    """A host, or directory and edge, after the commit. A lost ring is repeated by beat."""
    pk = Host.objects.values_list("pk", flat=True).get(name=host) if host else None
    after_commit(_send, pk)


def _send(host_id: int | None) -> None:
    if host_id:
        ring_for("tasks.reconcile_host", host_id, expires=60)
    else:
        ring_for("tasks.reconcile_site", expires=60)
