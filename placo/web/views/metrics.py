"""/metrics for Prometheus: there only when the site configuration names a file with a token, and for its bearer only."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from placo import config
from placo.services.gauges import Gauges


def _registry() -> CollectorRegistry:
    """What all processes have counted, and what the database knows."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(Gauges())
    return registry


def _allowed(request: HttpRequest, token_file: Path) -> bool:
    """Whether the token of the site came with the request. The file is read each time: it may be replaced."""
    token = config.read_secret(token_file)
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and constant_time_compare(given.strip(), token)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The page that Prometheus reads."""
    if settings.SITE.metrics is None:
        raise Http404
    if not _allowed(request, settings.SITE.metrics.token_file):
        answer = HttpResponse("A bearer token is needed.\n", status=401, content_type="text/plain")
        answer["WWW-Authenticate"] = 'Bearer realm="PLACO metrics"'
        return answer
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)
