"""What the demo says while it waits for templates, and of how machines came up."""

from __future__ import annotations

from typing import Any

import pytest

from deploy import client, demo
from placo.web.phrases import WAY_REASONS


class Portal(client.Api):
    """The API with answers that a test gives: one after the other, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __call__(self, method: str, path: str, **json_body: Any) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.client.time.sleep", lambda _seconds: None)


def host(*states: str, **changes: Any) -> dict[str, Any]:
    """A host with templates in these states, of the machines m1, m2 ..."""
    templates = [{"machine": f"m{n}", "state": state} for n, state in enumerate(states, start=1)]
    return {"name": "h1", "warm": True, "enabled": True, "reachable": True, "templates": templates, **changes}


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2].strip() for line in capsys.readouterr().out.splitlines()]


def test_waiting_for_templates_says_how_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    portal = Portal(
        [host("planned", "making")],
        [host("making", "ready")],
        [host("making", "ready")],
        [host("ready", "ready")],
    )
    demo.wait_for_templates(portal, {"m1", "m2"})
    first, *rest = said(capsys)
    assert "about a minute the first time" in first
    assert rest == [f"templates: {n} of 2 ready" for n in (0, 1, 2)]


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [host("ready", "ready")],
        [host("planned", warm=False), host("making", reachable=False), host("broken", enabled=False)],
    ],
)
def test_nothing_is_said_where_nothing_is_waited_for(
    hosts: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    demo.wait_for_templates(Portal(hosts), {"m1", "m2"})
    assert said(capsys) == []


def test_templates_that_cannot_be_made_are_not_waited_for() -> None:
    assert Portal([host("failed", "impossible", "ready")]).wait_for_templates(1) == (1, 3)


def test_only_the_templates_that_are_used_are_waited_for() -> None:
    assert Portal([host("ready", "planned")]).wait_for_templates(1, machines={"m1"}) == (1, 1)


def test_the_demo_goes_on_without_templates_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TEMPLATES_WAIT_S", 0)
    demo.wait_for_templates(Portal([host("making")]), {"m1"})
    assert said(capsys)[-1] == "the templates are still not ready: going on without, machines boot"


def test_every_machine_says_how_it_came_up(capsys: pytest.CaptureFixture[str]) -> None:
    machines = [
        {"name": "www", "way": "warm", "way_reason": "", "way_detail": "", "took_s": 2.34},
        {"name": "svn", "way": "cold", "way_reason": "memory", "way_detail": "9 MiB free", "took_s": 21.0},
        {"name": "new", "way": "", "way_reason": "", "way_detail": "", "took_s": None},
    ]
    demo.ways(Portal({"machines": machines}), "demo")
    assert said(capsys) == [
        "www was resumed from a template in 2.3 s",
        "svn booted in 21.0 s: its host was short of memory (9 MiB free)",
    ]


def test_the_demo_knows_every_reason() -> None:
    assert set(demo.WHY_COLD) == set(WAY_REASONS)
