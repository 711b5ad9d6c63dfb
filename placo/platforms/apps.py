"""Start-up checks: the portal refuses to start on a catalogue with errors."""

from __future__ import annotations

from django.apps import AppConfig


class PlatformsConfig(AppConfig):
    name = "placo.platforms"
    label = "platforms"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from placo import wiring

        wiring.catalogue()
