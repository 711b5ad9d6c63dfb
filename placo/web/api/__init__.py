"""The API under /api/v1: everything that the browser can do, in JSON, for the `placo` command and for programs."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import NinjaAPI, Router

from placo.services.errors import NotFound
from placo.web.api import (
    account,
    catalogue,
    changes,
    doctor,
    drift,
    hosts,
    notices,
    outdated,
    people,
    platforms,
    problems,
    projects,
    proofs,
    requests,
    runs,
    tokens,
)
from placo.web.api.auth import AUTH

DESCRIPTION = """
Everything that the portal does in a browser. Get a token with `POST /tokens`, send it as `Authorization: Bearer <token>`, end it
with `DELETE /tokens/current`.

Lists are plain arrays; `limit` and `offset` page through them and the header `X-Total-Count` says how many there are.
Times are ISO 8601 in UTC; memory is in MiB, disk in GiB. Texts come in the language of `Accept-Language` (en, fr).

Errors are problem documents (RFC 9457, `application/problem+json`): `title`, `status`, `detail`, mostly a `remedy`, and
`errors` with `field` and `message` where a field is to blame. What you may not know about is answered with 404.
"""

api = NinjaAPI(
    title="PLACO",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    auth=AUTH,
    docs_url=None,
)
problems.install(api)
api.add_router("", tokens.router, tags=["tokens"])
api.add_router("", catalogue.router, tags=["catalogue"])
api.add_router("", projects.router, tags=["projects"])
api.add_router("", requests.router, tags=["requests"])
api.add_router("", platforms.router, tags=["platforms"])
api.add_router("", changes.router, tags=["platforms"])
api.add_router("", proofs.router, tags=["platforms"])
api.add_router("", outdated.router, tags=["platforms"])
api.add_router("", runs.router, tags=["runs"])
api.add_router("", hosts.router, tags=["hosts"])
api.add_router("", drift.router, tags=["drift"])
api.add_router("", doctor.router, tags=["doctor"])
api.add_router("", notices.router, tags=["notices"])
api.add_router("", people.router, tags=["people"])
api.add_router("", account.router, tags=["account"])

rest = Router()


@rest.api_operation(
    ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
    "/{path:rest}",
    auth=None,
    include_in_schema=False,
    url_name="nothing",
)
def nothing(request: HttpRequest, rest: str) -> None:
    """Every other path: a problem document, not a page."""
    raise NotFound


api.add_router("", rest)  # the last one: it matches everything

__all__ = ["api"]
