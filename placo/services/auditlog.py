"""The audit trail: one row for each thing that somebody did."""

from __future__ import annotations

from placo.platforms.models import AuditEvent, User


def record(acting_user: User | None, verb: str, subject: str, /, **detail: object) -> None:
    """Add a row in the caller's transaction. `detail` holds no secrets."""
    AuditEvent.objects.create(
        actor=acting_user.username if acting_user else "placo", verb=verb, subject=subject, detail=detail
    )
