"""What the command prints: tables for people, JSON for programs, problems on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from placo.cli.client import CommandError

COLOURS = {
    "ready": "green",
    "done": "green",
    "ok": "green",
    "passed": "green",
    "warning": "yellow",
    "failure": "red",
    "active": "green",
    "answering": "green",
    "broken": "red",
    "approved": "green",
    "failed": "red",
    "stuck": "red bold",
    "lost": "red bold",
    "returned": "yellow",
    "reachable": "green",
    "unreachable": "red",
    "rejected": "red",
    "running": "cyan",
    "creating": "cyan",
    "waiting": "yellow",
    "submitted": "yellow",
    "unwinding": "yellow",
}


def out() -> Console:
    """Standard output; never cut when it is not a terminal."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def as_json(value: object) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def cell(value: object) -> str:
    """A value as the text of a cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(v) for v in value)
    text = escape(str(value))
    colour = COLOURS.get(str(value))
    return f"[{colour}]{text}[/]" if colour else text


def rows(title: str, columns: Sequence[str], found: Iterable[Mapping[str, Any]]) -> None:
    """A table with one row a mapping; columns are its keys."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*(cell(row.get(column)) for column in columns))
    out().print(table)


def facts(title: str, pairs: Mapping[str, object]) -> None:
    """One thing and what there is to know about it."""
    out().print(f"[italic]{escape(title)}[/]")
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name.replace("_", " "), cell(value))
    out().print(table)


def say(text: str) -> None:
    """One line."""
    out().print(escape(text))


def problem(error: CommandError) -> None:
    """A problem on standard error: the detail, each field, the remedy."""
    console = Console(stderr=True, highlight=False)
    if error.errors:
        for found in error.errors:
            console.print(
                f"[red]error:[/] {escape(found.get('field', ''))}: {escape(found.get('message', ''))}",
                soft_wrap=True,
            )
    else:
        console.print(f"[red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.remedy:
        console.print(f"what to do: {escape(error.remedy)}", soft_wrap=True)


def changes(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """What a change of a platform changes: what, before, after."""
    what: Mapping[str, Any] = found["changes"] or {}
    lines: list[dict[str, object]] = []
    for key, word in (("services", "service"), ("", "machine")):
        prefix = f"{key}_" if key else ""
        for name in what.get(f"{prefix}added", ()):
            lines.append({"what": f"{word} {name}", "before": None, "after": "added"})
        for name in what.get(f"{prefix}removed", ()):
            gone = "removed" if key else "REMOVED WITH ITS DATA"
            lines.append({"what": f"{word} {name}", "before": "there", "after": gone})
    for size in (*what.get("resized", ()), *what.get("grown", ())):
        for name, value in size.items():
            if name != "machine" and value["before"] != value["after"]:
                lines.append({"what": f"{size['machine']} {name}", **value})
    for chosen in what.get("options", ()):
        name = f"{chosen['service']}.{chosen['option']}"
        lines.append({"what": name, "before": chosen["before"], "after": chosen["after"]})
    if what and found["expires_on"]:
        lines.append({"what": "expires on", "before": None, "after": found["expires_on"]})
    return lines


def differences(title: str, found: Iterable[Mapping[str, Any]]) -> None:
    """Where two plans disagree: what, old, new."""
    rows(title, ("what", "old", "new"), [{**_words_of(one), "what": one["item"]} for one in found])


def _words_of(one: Mapping[str, Any]) -> dict[str, object]:
    """The values of a difference; a whole machine as what is said of it."""
    return {
        name: ", ".join(f"{key} {part}" for key, part in one[name].items())
        if isinstance(one[name], Mapping)
        else one[name]
        for name in ("old", "new")
    }


def requests(found: Iterable[Mapping[str, Any]]) -> None:
    """Requests, one a line."""
    columns = ("id", "kind", "state", "slug", "project", "what", "days", "requester", "comment")
    lines = []
    for one in found:
        if one["kind"] == "create":
            lines.append({**one, "what": one["services"]})
            continue
        what = [f"{c['what']}: {cell(c['before'])} -> {c['after']}" for c in changes(one)]
        lines.append({**one, "what": what, "days": None})
    rows("", columns, lines)


def request(found: Mapping[str, Any]) -> None:
    """A request, what it changes, and its plan."""
    plan, change = found["plan"], found["kind"] != "create"
    facts(
        f"Request {found['id']}",
        {
            "kind": found["kind"],
            "state": found["state"],
            "platform": f"{found['slug']} ({found['title']})",
            "project": found["project"],
            "requester": found["requester"],
            "justification": found["justification"],
            "services": found["services"],
            **({} if change else {"days": found["days"]}),
            "host": plan["host"],
            "costs": ", ".join(f"{amount} {name}" for name, amount in plan["cost"].items()),
            "plan": plan["hash"],
            "decided by": found["decided_by"],
            "comment": found["comment"],
            "no longer fits": found["problems"],
        },
    )
    if change:
        rows("What changes", ("what", "before", "after"), changes(found))
    if found["offer"]:
        differences("The old plan and the new one that is offered", found["offer"]["differences"])
        say(f"To approve the new one: placo approve {found['id']} --plan {found['offer']['plan_hash']}")
    elif found["revised"]:
        differences("The first plan and the present one", found["revised"])
    rows(
        "",
        ("name", "address", "memory_mib", "vcpus", "system_disk_gib", "data_volume_gib", "image"),
        plan["machines"],
    )


def platform(found: Mapping[str, Any]) -> None:
    """A platform, its machines and addresses."""
    names = ("state", "title", "project", "services", "host", "expires_on", "run_id")
    told = {name: found[name] for name in names} | {"state": state(found)}
    told["expires_on"] = end(found)
    facts(f"Platform {found['slug']}", told)
    machines = [{**machine, "way": way(machine)} for machine in found["machines"]]
    rows("", ("name", "state", "address", "host", "way", "answer"), machines)
    rows("", ("service", "title", "url"), found["endpoints"])
    commands = [endpoint for endpoint in found["endpoints"] if endpoint["command"]]
    if commands:
        rows("", ("service", "command", "fingerprint"), commands)


def end(found: Mapping[str, Any]) -> str:
    """The end date and what happens then: "2027-03-31, data kept until 2027-04-30, can be renewed to 2027-06-29"."""
    if not found.get("removed_on"):
        return str(found["expires_on"] or "")
    text = f"{found['expires_on']}{' (over)' if found['over'] else ''}, data kept until {found['removed_on']}"
    return f"{text}, can be renewed to {found['renews_to']}" if found["renews_to"] else text


def way(machine: Mapping[str, Any]) -> str:
    """How a machine came to life: "warm, 2.3 s", "cold (making), 21.4 s"."""
    name = f"{machine['way']} ({machine['way_reason']})" if machine["way_reason"] else machine["way"]
    took = machine["took_s"]
    return f"{name}, {took:.1f} s" if name and took is not None else str(name)


def hosts(found: Iterable[Mapping[str, Any]]) -> None:
    """Hosts, and the templates of each."""
    found = list(found)
    columns = ("name", "hypervisor", "enabled", "state", "version", "memory_mib", "disk_free_gib")
    rows("", (*columns, "platforms", "waiting_runs", "warm"), found)
    templates = [
        {
            **template,
            "host": host["name"],
            "made in": None if template["seconds"] is None else f"{template['seconds']:.0f} s",
            "disk": f"{(template['memory_bytes'] + template['disk_bytes']) / 2**20:.0f} MiB",
        }
        for host in found
        for template in host["templates"]
    ]
    rows("", ("host", "image", "state", "made in", "disk", "reason"), templates)


def host(found: Mapping[str, Any]) -> None:
    """One host, and what is kept for it while it is lost."""
    names = ("state", "silent_since", "lost_at", "lost_by", "checked_at", "platforms", "waiting_runs")
    facts(f"Host {found['name']}", {name: found[name] for name in names})
    if found["reserved"]:
        rows("Kept for what it may still have", ("platform", "subnet", "bridge", "macs"), found["reserved"])


def drift(found: Iterable[Mapping[str, Any]]) -> None:
    """Drift, with what was expected and found."""
    columns = ("id", "kind", "where", "what", "name", "platform", "difference", "remedy", "accepted_by")
    rows("", columns, [{**one, "difference": difference(one["detail"])} for one in found])


def outdated(found: Iterable[Mapping[str, Any]]) -> None:
    """Platforms with outdated machines."""
    rows("", ("platform", "state", "host", "machines"), found)


def wave(found: Mapping[str, Any]) -> None:
    """What a rebuild of everything has begun, and what it left."""
    rows("Begun", ("platform", "run_id"), found["begun"])
    if found["left"]:
        rows("Left as they are", ("platform", "detail"), found["left"])


def difference(detail: Mapping[str, Any]) -> str:
    """`power: running -> paused`; other details as they are."""
    pairs = (
        f"{name}: {value[0]} -> {value[1]}"
        if isinstance(value, list) and len(value) == 2
        else f"{name}: {value}"
        for name, value in detail.items()
        if name != "machine"
    )
    return ", ".join(pairs)


def state(found: Mapping[str, Any]) -> str:
    """A platform's state; what it was, where nobody can know; that it is lost."""
    if found.get("lost"):
        return f"lost ({found['state']})"
    return f"unknown ({found['state']})" if found.get("unknown") else str(found["state"])


def platforms(found: Iterable[Mapping[str, Any]]) -> None:
    """A list of platforms."""
    columns = ("slug", "state", "project", "services", "host", "expires_on")
    rows("", columns, [{**one, "state": state(one)} for one in found])


def doctor(found: Mapping[str, Any]) -> None:
    """What the doctor has found, worst first."""
    results = [{**result, "what to do": result["remedy"]} for result in found["results"]]
    rows("", ("level", "component", "text", "what to do"), results)


def run(found: Mapping[str, Any]) -> None:
    """A run and its steps."""
    facts(
        f"Run {found['id']}",
        {
            name: found[name]
            for name in (
                *("kind", "platform", "subject", "state"),
                *("started_by", "created_at", "ended_at", "web_request"),
            )
        }
        | ({"now": waits(found)} if found["waits"] else {}),
    )
    steps = [{**step, "note": step["error"] or step["message"]} for step in found["steps"]]
    rows("", ("name", "state", "attempts", "note"), steps)


def waits(found: Mapping[str, Any]) -> str:
    """What a run waits for: "waits for host h2, which has not answered since 10:12"."""
    return "; ".join(wait["text"] for wait in found.get("waits", ()))
