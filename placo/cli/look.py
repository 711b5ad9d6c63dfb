"""Commands that only look."""

from __future__ import annotations

from typing import Annotated

import typer

from placo.cli import show
from placo.cli.base import Follow, Json, Limit, Offset, Project, RunId, Slug, State, app, portal, present
from placo.cli.follow import follow_run


@app.command()
def services(json: Json = False) -> None:
    """What can be asked for."""
    found = portal()("GET", "catalogue", "services")
    present(found, json, lambda f: show.rows("", ("id", "title", "machines", "summary"), f))


@app.command()
def projects(json: Json = False) -> None:
    """Your projects, what they may use and what they use."""
    found = portal()("GET", "projects")
    if json:
        return show.as_json(found)
    for project in found:
        quota = {name: f"{project['used'][name]} of {limit}" for name, limit in project["quota"].items()}
        show.facts(f"{project['slug']}: {project['title']}", {**quota, "days at most": project["max_days"]})
    return None


@app.command()
def hosts(json: Json = False) -> None:
    """The hosts of the site and their templates (administrators)."""
    present(portal()("GET", "hosts"), json, show.hosts)


@app.command()
def requests(
    number: Annotated[int | None, typer.Argument(min=1, help="Show this one with its plan.")] = None,
    *,
    state: State = None,
    project: Project = None,
    limit: Limit = 50,
    offset: Offset = 0,
    json: Json = False,
) -> None:
    """The requests of your projects, or one of them with its plan."""
    if number is not None:
        return present(portal()("GET", "requests", number), json, show.request)
    query = {"state": state, "project": project, "limit": limit, "offset": offset}
    return present(portal()("GET", "requests", query=query), json, show.requests)


@app.command()
def platforms(
    state: State = None, project: Project = None, limit: Limit = 50, offset: Offset = 0, json: Json = False
) -> None:
    """Your platforms."""
    query = {"state": state, "project": project, "limit": limit, "offset": offset}
    present(portal()("GET", "platforms", query=query), json, show.platforms)


@app.command()
def platform(slug: Slug, json: Json = False) -> None:
    """One platform: its machines and addresses."""
    present(portal()("GET", "platforms", slug), json, show.platform)


@app.command()
def notices(
    unread: Annotated[bool, typer.Option("--unread", help="Only those that you have not read.")] = False,
    limit: Limit = 50,
    offset: Offset = 0,
    json: Json = False,
) -> None:
    """What you were told about your platforms."""
    query = {"unread": str(unread).lower(), "limit": limit, "offset": offset}
    columns = ("id", "at", "platform", "title", "ends_on", "removed_on", "read_at")
    present(portal()("GET", "notices", query=query), json, lambda f: show.rows("", columns, f))


@app.command()
def run(run_id: RunId, follow: Follow = False, json: Json = False) -> None:
    """A run and its steps."""
    api = portal()
    if follow:
        follow_run(api, run_id, json=json)
    else:
        present(api("GET", "runs", run_id), json, show.run)
