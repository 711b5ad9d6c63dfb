"""All URLs: the API and the screens."""

from __future__ import annotations

from django.urls import include, path

from placo.web.api import api
from placo.web.views.metrics import metrics

urlpatterns = [
    path("api/v1/", api.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("metrics", metrics, name="metrics"),
    path("", include("placo.web.urls")),
]
