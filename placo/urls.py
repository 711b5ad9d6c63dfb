"""All URLs: the API and the screens."""

from __future__ import annotations

from django.urls import include, path

from placo.web.api import api
from placo.web.views import session
from placo.web.views.metrics import metrics

urlpatterns = [
    path("api/v1/", api.urls),
    path("i18n/setlang/", session.set_language, name="set_language"),
    path("metrics", metrics, name="metrics"),
    path("", include("placo.web.urls")),
]
