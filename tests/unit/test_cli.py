"""The command without a portal: what it sends, what it keeps, what it says when something is wrong."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.command import Command

ROOT = Path(__file__).resolve().parents[2]
Answer = Callable[[httpx.Request], httpx.Response]
Make = Callable[[Answer], Command]


@pytest.fixture
def placo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    """The command against a portal that answers what the test says."""

    def made(answer: Answer) -> Command:
        return Command(httpx.MockTransport(answer), tmp_path, monkeypatch, capsys)

    return made


def problem(status: int, **fields: Any) -> httpx.Response:
    """A problem document."""
    body = {"title": "No", "status": status, "detail": "No.", **fields}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json"})


def unused(request: httpx.Request) -> httpx.Response:
    """For commands that must not call at all."""
    raise AssertionError(f"called {request.url}")


def test_logging_in_keeps_a_token_that_only_its_owner_reads(placo: Make, tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def portal(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"token": "placo_x", "uid": "emmy", "days": 90})

    run = placo(portal)
    secret = tmp_path / "password"
    secret.write_text("per%41nt:é\n")
    result = run("login", "emmy", "--password-file", str(secret))

    assert (result.status, result.err) == (0, "")
    assert str(seen[0].url) == "http://127.0.0.1:8000/api/v1/tokens"
    assert httpx.BasicAuth("emmy", "per%41nt:é".encode())._auth_header == seen[0].headers["Authorization"]
    assert json.loads(run.token_file.read_text())["token"] == "placo_x"
    assert stat.S_IMODE(run.token_file.stat().st_mode) == 0o600
    assert [p.name for p in run.token_file.parent.iterdir()] == ["token.json"]
    assert "placo_x" not in result.out

    assert run("logout").status == 0
    assert not run.token_file.exists()


def test_the_password_comes_from_standard_input_never_from_the_command_line(placo: Make) -> None:
    seen: list[str] = []

    def portal(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(201, json={"token": "placo_x", "uid": "emmy", "days": 90})

    run = placo(portal)
    assert run("token", "emmy", "--password-file", "-", typed="secret\n").out == "placo_x\n"
    assert seen == [httpx.BasicAuth("emmy", "secret")._auth_header]
    assert not run.token_file.exists()
    assert "--password " not in run("login", "--help").out
    assert run("login", "emmy", "--password", "secret").status == 2


def test_a_wrong_password(placo: Make) -> None:
    run = placo(
        lambda request: problem(
            401, detail="The account or the password is wrong.", remedy="Use it as in the browser."
        )
    )
    result = run("login", "emmy", "--password-file", "-", typed="x")
    assert result.status == 1
    assert "The account or the password is wrong." in result.err
    assert "what to do: Use it as in the browser." in result.err
    assert not run.token_file.exists()


@pytest.mark.parametrize(
    "portal", ["http://placo.example.org", "placo.example.org", "ftp://placo.example.org", ""]
)
def test_a_password_goes_nowhere_unencrypted(portal: str, placo: Make) -> None:
    result = placo(unused)("login", "emmy", "--portal", portal, "--password-file", "-", typed="x")
    assert result.status == 1
    assert "what to do" in result.err


def test_without_a_login(placo: Make) -> None:
    result = placo(unused)("services")
    assert (result.status, result.out) == (1, "")
    assert "Run `placo login`." in result.err


def test_a_token_that_has_expired(placo: Make) -> None:
    run = placo(lambda request: problem(401, remedy="Get one with POST /api/v1/tokens."))
    run.logged_in("emmy", "old")
    assert "Run `placo login`." in run("platforms").err


def test_logging_out_where_the_portal_does_not_answer(placo: Make) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    run = placo(gone)
    run.logged_in("emmy", "placo_x")
    result = run("logout")
    assert result.status == 1
    assert "forgotten here, but it was not ended" in result.err
    assert not run.token_file.exists()
    run.token_file.write_text("{")
    assert run("logout").status == 0
    assert not run.token_file.exists()


def test_a_damaged_token_file(placo: Make) -> None:
    run = placo(unused)
    run.token_file.parent.mkdir()
    for damage in ("", "[]", "{}", "\x00"):
        run.token_file.write_text(damage)
        result = run("platforms")
        assert result.status == 1
        assert "Delete it" in result.err


def test_fields_and_remedy_of_a_problem(placo: Make) -> None:
    errors = [
        {"field": "slug", "message": "This name is taken."},
        {"field": "days", "message": "At least one day."},
    ]
    run = placo(lambda request: problem(422, errors=errors, remedy="Choose [another] one."))
    run.logged_in("emmy", "t")
    result = run("request", "alpha", "web", "--project", "optics", "-m", "why")
    assert result.status == 1
    assert result.err.splitlines() == [
        "error: slug: This name is taken.",
        "error: days: At least one day.",
        "what to do: Choose [another] one.",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(200, text="<html>hello</html>", headers={"content-type": "text/html"}),
        problem(500, detail="The portal made a mistake.", reference="1a2b3c"),
    ],
)
def test_whatever_is_no_answer_is_said_in_words(answer: httpx.Response, placo: Make) -> None:
    run = placo(lambda request: answer)
    run.logged_in("emmy", "t")
    result = run("platforms")
    assert result.status == 1
    assert "error:" in result.err
    assert "Traceback" not in result.err


def test_a_portal_that_is_away(placo: Make) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    run = placo(away)
    run.logged_in("emmy", "t")
    result = run("platforms")
    assert result.status == 1
    assert "does not answer" in result.err


def test_what_a_request_sends(placo: Make) -> None:
    seen: list[Any] = []

    def portal(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            kinds = {"web": {"php": "boolean", "pages": "integer"}, "svn": {"repository": "text"}}
            options = {s: [{"name": n, "type": t} for n, t in of.items()] for s, of in kinds.items()}
            return httpx.Response(200, json=[{"id": s, "options": o} for s, o in options.items()])
        seen.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(201, json={"id": 1})

    run = placo(portal)
    run.logged_in("emmy", "t")
    result = run(
        "request", "alpha", "web", "svn", "--project", "optics", "-m", "why", "--days", "30",
        "-o", "web.php=no", "-o", "web.pages=7", "-o", "svn.repository=2026", "--json",
    )  # fmt: skip
    assert result.json == {"id": 1}
    [(method, path, body)] = seen
    assert (method, path) == ("POST", "/api/v1/requests")
    assert body["services"] == ["web", "svn"]
    assert body["options"] == {"web": {"php": False, "pages": 7}, "svn": {"repository": "2026"}}
    assert (body["days"], body["project"], body["slug"]) == (30, "optics", "alpha")
    assert run("request", "alpha", "web", "--project", "o", "-m", "w", "-o", "php=no").status == 1


def test_parts_of_a_path_are_escaped(placo: Make) -> None:
    seen: list[bytes] = []

    def portal(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return problem(422)

    run = placo(portal)
    run.logged_in("emmy", "t")
    run("add", "../alpha", "a/b?c#d%")
    assert seen == [b"/api/v1/platforms/..%2Falpha/members/a%2Fb%3Fc%23d%25"]


def test_retiring_asks_for_the_name(placo: Make) -> None:
    calls: list[str] = []
    platform = {
        "slug": "alpha", "title": "Alpha", "project": "optics", "state": "ready", "services": ["web"], "host": "h1",
        "expires_on": None, "run_id": 1, "machines": [], "endpoints": [],
    }  # fmt: skip

    def portal(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        return httpx.Response(200, json=platform if request.method == "GET" else {"run_id": 7})

    run = placo(portal)
    run.logged_in("emmy", "t")
    wrong = run("retire", "alpha", typed="beta\n")
    assert wrong.status == 1
    assert "nothing was removed" in wrong.err
    assert run("retire", "alpha", "--yes-slug", "beta").status == 1
    assert run("retire", "alpha", typed="\n\n").status == 1
    assert "DELETE" not in calls
    assert run("retire", "alpha", typed="alpha\n").status == 0
    assert run("retire", "alpha", "--yes-slug", "alpha", "--json").json == {"run_id": 7}
    assert calls.count("DELETE") == 2


def step(name: str, state: str, error: str = "") -> dict[str, Any]:
    """One step of a run, as the API tells it."""
    return {"name": name, "state": state, "attempts": 1, "error": error, "message": ""}


def runs(*states: tuple[str, list[dict[str, Any]]]) -> Answer:
    """A portal whose run goes through these states."""
    coming, told = list(states), iter(range(1, 100))

    def portal(request: httpx.Request) -> httpx.Response:
        state, steps = coming.pop(0) if len(coming) > 1 else coming[0]
        body = {
            "id": 7, "kind": "create", "platform": "alpha", "subject": "", "state": state, "started_by": "ada",
            "created_at": "2026-01-01T00:00:00Z", "ended_at": None, "version": next(told), "steps": steps,
        }  # fmt: skip
        return httpx.Response(200, json=body)

    return portal


def test_following_a_run_prints_each_change_once(placo: Make) -> None:
    run = placo(
        runs(
            ("running", [step("network", "running"), step("edge", "pending")]),
            ("running", [step("network", "done"), step("edge", "waiting", "edge is out")]),
            ("running", [step("network", "done"), step("edge", "waiting", "edge is out")]),
            ("done", [step("network", "done"), step("edge", "done")]),
        )
    )
    run.logged_in("emmy", "t")
    result = run("run", "7", "--follow")
    assert result.status == 0
    assert [line.strip() for line in result.out.splitlines()] == [
        "network: running",
        "network: done",
        "edge: waiting (edge is out)",
        "edge: done",
        "Run 7 is done.",
    ]


@pytest.mark.parametrize(
    ("state", "steps", "words"),
    [
        (
            "stuck",
            [step("edge", "failed", "edge is out")],
            ["is stuck", "edge: edge is out", "placo retry 7"],
        ),
        ("undone", [step("edge", "undone", "never")], ["has been undone", "Nothing of it is left"]),
        ("unwinding", [step("edge", "failed", "busy")], ["is stuck", "edge: busy"]),
    ],
)
def test_following_a_run_that_does_not_end_well(
    state: str, steps: list[dict[str, Any]], words: list[str], placo: Make
) -> None:
    run = placo(runs((state, steps)))
    run.logged_in("emmy", "t")
    result = run("run", "7", "--follow")
    assert result.status == 1
    for word in words:
        assert word in result.err


def test_tables_show_what_brackets_hold(placo: Make) -> None:
    service = {"id": "web", "title": "[bold]Web[/bold]", "summary": "A [site]", "machines": ["www"]}
    run = placo(lambda request: httpx.Response(200, json=[service]))
    run.logged_in("emmy", "t")
    assert "A [site]" in run("services").out
    assert run("services", "--json").json == [service]


# --- proofs ------------------------------------------------------------------------------------------------------------


def a_proof(state: str, *wrong: str) -> dict[str, Any]:
    cases = [
        {
            "service": "svn",
            "endpoint": "repository",
            "case": case,
            "answer": "admitted",
            "seconds": 0.2,
            "passed": False,
        }
        | {"text": f"Subversion: {case} got in"}
        for case in wrong
    ]
    ended = None if state in ("asked", "going") else "2026-11-24T01:00:00Z"
    return {
        "id": 5,
        "platform": "alpha",
        "state": state,
        "text": f"It is {state}.",
        "ended_at": ended,
        "cases": cases,
    }


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("state", "status"), [("passed", 0), ("failed", 1), ("broken", 1)])
def test_a_proof_is_waited_for_and_told(
    last: bool, state: str, status: int, placo: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from placo.cli import proof

    monkeypatch.setattr(proof, "pause", lambda _seconds: None)
    wrong = ("outsider",) if state == "failed" else ()
    answers = [[a_proof("going")], [a_proof(state, *wrong)]]
    asked: list[str] = []

    def portal(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        if request.method == "POST":
            return httpx.Response(202, json=a_proof("asked"))
        return httpx.Response(200, json=answers[-1] if last or len(asked) > 2 else answers[0])

    run = placo(portal)
    run.logged_in("emmy", "t")
    result = run("prove", "alpha", *(["--last"] if last else []))
    assert result.status == status
    assert f"It is {state}." in result.out
    assert ("Subversion: outsider got in" in result.out) == bool(wrong)
    assert (asked[0] == "POST /api/v1/platforms/alpha/proofs") != last
    told = run("prove", "alpha", "--last", "--json")
    assert told.json["state"] == state


def test_nobody_has_tried_yet(placo: Make) -> None:
    run = placo(lambda request: httpx.Response(200, json=[]))
    run.logged_in("emmy", "t")
    result = run("prove", "alpha", "--last")
    assert result.status == 1
    assert "placo prove alpha" in result.err


# --- the catalogue ---------------------------------------------------------------------------------------------------


def test_the_catalogue_of_this_checkout_is_sound(placo: Make) -> None:
    result = placo(unused)("catalogue", "check")
    assert (result.status, result.err) == (0, "")
    assert "is sound" in result.out


def test_every_problem_of_a_catalogue_is_told(placo: Make, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "catalogue"
    shutil.copytree(ROOT / "catalogue", broken)
    web = broken / "services" / "web.toml"
    web.write_text(web.read_text().replace('machines = ["www"]', 'machines = ["nowhere"]'))
    machine = broken / "machines" / "svn" / "machine.toml"
    machine.write_text(machine.read_text().replace("memory_mib = 384", "memory_mib = -1"))
    run = placo(unused)
    result = run("catalogue", "check", str(broken))

    assert result.status == 1
    assert "services/web.toml: machines" in result.out
    assert "machines/svn/machine.toml: memory_mib" in result.out
    assert "what to do:" in result.out
    told = run("catalogue", "check", str(broken), "--json")
    assert told.status == 1
    assert {"file", "key", "message", "remedy"} == set(told.json["problems"][0])
    assert run("catalogue", "check", str(tmp_path / "nothing")).status == 1


def test_the_command_needs_no_django() -> None:
    import subprocess
    import sys

    code = "import sys, placo.cli; print(sorted(m for m in sys.modules if m.split('.')[0] in ('django', 'ldap', 'libvirt')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
