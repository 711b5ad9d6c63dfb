"""The Django application of the screens."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "placo.web"
    label = "web"

    def ready(self) -> None:
        from placo.web import auth

        auth.listen()
