"""Where the world is not as the portal has it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from placo.domain.drift import DriftKind, DriftWhat, Remedy, remedy
from placo.domain.lifecycle import PlatformState
from placo.platforms.models.people import User
from placo.platforms.models.platforms import Platform

DRIFT_LABELS = {
    DriftKind.MISSING: _("missing"),
    DriftKind.EXTRA: _("too much"),
    DriftKind.CHANGED: _("changed"),
    DriftKind.PAUSED: _("paused"),
    DriftKind.UNREACHABLE: _("does not answer"),
}
WHAT_LABELS = {
    DriftWhat.DOMAIN: _("machine"),
    DriftWhat.VOLUME: _("volume"),
    DriftWhat.NETWORK: _("network"),
    DriftWhat.DIRECTORY: _("directory subtree"),
    DriftWhat.EDGE: _("public addresses"),
    DriftWhat.CERTIFICATE: _("certificate"),
    DriftWhat.MAIL: _("mail domains"),
    DriftWhat.NAMES: _("names in the DNS"),
    DriftWhat.HOST: _("host"),
}


class Drift(models.Model):
    """One thing that is not as it should be, as the last reconciliation of its place (`where`) saw it.

    `detail` maps a property to what was expected and what was found; `error` in it is what an unreachable place said.
    A row goes when the world is right again, or `accepted_at` says that an administrator wants it so: until it changes.
    """

    kind = models.CharField(max_length=12, choices=[(k.value, label) for k, label in DRIFT_LABELS.items()])
    what = models.CharField(max_length=12, choices=[(w.value, label) for w, label in WHAT_LABELS.items()])
    where = models.CharField(max_length=50)
    name = models.CharField(max_length=300)
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, null=True, related_name="drift")
    detail: models.JSONField[Any, Any] = models.JSONField(default=dict)
    found_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["where", "what", "name"]
        constraints = [models.UniqueConstraint(fields=["what", "where", "name"], name="one_row_per_drift")]

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.name} {self.kind}"

    @property
    def remedy(self) -> Remedy:
        """What can be done about it."""
        state = PlatformState(self.platform.state) if self.platform else None
        return remedy(DriftKind(self.kind), DriftWhat(self.what), self.name, self.detail, state)
