"""The API refuses with problem documents, at the field, and nothing has changed afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client, override_settings

from placo.drivers.ports import Unavailable
from placo.platforms.models import ApiToken, Membership, Platform, Project, Request, Run, User
from placo.services import access, accounts
from tests.factories import make_user, ready_platform, submit
from tests.fakes import World
from tests.integration.test_requests import books

WISH = {
    "project": "optics",
    "slug": "alpha",
    "services": ["web", "svn"],
    "days": 90,
    "justification": "Workshop on wave equations",
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "www"}, "slug"),
        ({"slug": "Alpha"}, "slug"),
        ({"slug": "élan"}, "slug"),
        ({"slug": "-a"}, "slug"),
        ({"slug": "a" * 64}, "slug"),
        ({"slug": "a\x00"}, "slug"),
        ({"slug": 7}, "slug"),
        ({"services": ["forum"]}, "services"),
        ({"services": []}, "services"),
        ({"services": "web"}, "services"),
        ({"services": [["web"]]}, "services.0"),
        ({"days": 0}, "days"),
        ({"days": -3}, "days"),
        ({"days": 9999}, "days"),
        ({"days": "90"}, "days"),
        ({"days": True}, "days"),
        ({"days": 1.5}, "days"),
        ({"justification": ""}, "justification"),
        ({"justification": "\ud800"}, "justification"),
        ({"hypervisor": "abacus"}, "hypervisor"),
        ({"title": "x" * 201}, "title"),
        ({"options": {"web": {"php": 3}}}, "options.web.php"),
        ({"options": {"svn": {"repository": "\ud800"}}}, "options.svn.repository"),
        ({"options": {"svn": {"repository": {"a": 1}}}}, "options.svn.repository"),
        ({"options": {"web": 1}}, "options.web"),
        ({"colour": "red"}, "colour"),
        ({"project": "topology"}, "project"),
        ({"project": "opt\x00ics"}, "project"),
    ],
)
def test_the_field_is_named(
    change: dict[str, Any], field: str, api: Any, optics: Project, emmy: User
) -> None:
    before = books()
    problem = api(emmy)("POST", "/requests", {**WISH, **change}, status=422)

    assert field in {error["field"] for error in problem["errors"]}
    assert all(error["message"] for error in problem["errors"])
    assert books() == before


def test_missing_fields_are_named(api: Any, optics: Project, emmy: User) -> None:
    problem = api(emmy)("POST", "/requests", {}, status=422)
    assert {"project", "slug", "services", "days", "justification"} == {e["field"] for e in problem["errors"]}


def test_over_quota_says_which_resource_and_how_much(api: Any, optics: Project, emmy: User) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_memory_mib=500)
    before = books()
    [error] = api(emmy)("POST", "/requests", WISH, status=422)["errors"]
    assert (error["field"], "268 MiB of memory missing" in error["message"]) == ("services", True)
    assert books() == before


def test_what_is_not_json(api: Any, optics: Project, emmy: User) -> None:
    headers = api(emmy).headers
    for body in (b"{", b"\xff", b"[]", b"7"):
        answer = Client(raise_request_exception=False).post(
            "/api/v1/requests", body, content_type="application/json", headers=headers
        )
        assert answer.status_code in (400, 422)
        assert answer["Content-Type"] == "application/problem+json"


def test_approving_twice_and_ones_own(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    number = api(emmy)("POST", "/requests", WISH)["id"]
    before = books()
    assert "administrator" in api(emmy)("POST", f"/requests/{number}/approve", {}, status=403)["detail"]
    api(admin)("POST", f"/requests/{number}/approve", {"plan_hash": "0" * 64}, status=409)
    api(admin)("POST", f"/requests/{number}/reject", {"comment": " "}, status=422)
    assert books() == before

    api(admin)("POST", f"/requests/{number}/approve", {})
    before = books()
    problem = api(admin)("POST", f"/requests/{number}/approve", {}, status=409)
    assert problem["remedy"]
    assert books() == before


def test_a_plan_that_no_longer_fits(api: Any, world: World, optics: Project, emmy: User, admin: User) -> None:
    number = api(emmy)("POST", "/requests", WISH)["id"]
    world.images.versions["svn"] = 3
    assert api(admin)("GET", f"/requests/{number}")["problems"] == ["The image of svn has been replaced."]
    problem = api(admin)("POST", f"/requests/{number}/approve", {}, status=409)
    assert "image of svn" in problem["detail"]
    assert "new plan" in problem["remedy"]
    again = api(admin)("POST", f"/requests/{number}/replan")
    assert again["problems"] == []
    api(admin)("POST", f"/requests/{number}/approve", {"plan_hash": again["plan"]["hash"]})


@pytest.mark.parametrize(
    "uid", ["nobody", "*", "a*", "al(an", "al%5Can", "al%00an", "alan,ou=people", "%20", "x" * 300]
)
def test_uids_that_are_nobodys(
    uid: str, api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    problem = api(emmy)("PUT", f"/platforms/alpha/members/{uid}", status=422)
    assert [e["field"] for e in problem["errors"]] == ["uid"]
    api(emmy)("DELETE", f"/platforms/alpha/members/{uid}", status=404)
    assert Membership.objects.count() == 1
    assert not Run.objects.filter(kind="member").exists()


def test_other_peoples_platforms_are_not_there(
    api: Any, world: World, optics: Project, emmy: User, sofia: User, admin: User
) -> None:
    platform = ready_platform(world, emmy, admin)
    run = platform.runs.get()
    before, stranger = books(), api(sofia)
    for method, path, body in (
        ("GET", "/platforms/alpha", None),
        ("DELETE", "/platforms/alpha", None),
        ("POST", "/platforms/alpha/actions/stop", None),
        ("POST", "/platforms/alpha/actions/nonsense", None),
        ("GET", "/platforms/alpha/members", None),
        ("PUT", "/platforms/alpha/members/sofia", None),
        ("DELETE", "/platforms/alpha/members/emmy", None),
        ("GET", f"/requests/{platform.request.pk}", None),
        ("POST", f"/requests/{platform.request.pk}/approve", {}),
        ("POST", f"/requests/{platform.request.pk}/withdraw", None),
        ("GET", f"/runs/{run.pk}", None),
        ("POST", f"/runs/{run.pk}/retry", None),
        ("POST", f"/runs/{run.pk}/skip", None),
        ("POST", f"/runs/{run.pk}/undo", None),
        ("GET", "/projects/optics", None),
        ("GET", "/platforms/nothing", None),
        ("GET", "/platforms/al%00pha", None),
        ("GET", "/runs/999999999999999999999", None),
        ("GET", "/requests/999999999999999999999", None),
        ("GET", "/nothing/at/all", None),
    ):
        problem = stranger(method, path, body, status=404)
        assert "alpha" not in problem["detail"], (method, path)
    assert stranger("GET", "/platforms") == []
    assert stranger("GET", "/requests") == []
    assert [p["slug"] for p in stranger("GET", "/projects")] == ["topology"]
    assert books() == before


def test_members_may_look_and_nothing_else(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = ready_platform(world, emmy, admin)
    alan = make_user("alan")
    platform.memberships.create(uid="alan", name="Alan Turing", settled=True)
    member, before = api(alan), books()

    seen = member("GET", "/platforms/alpha")
    assert (seen["state"], seen["run_id"]) == ("ready", None)
    assert [p["slug"] for p in member("GET", "/platforms")] == ["alpha"]
    member("DELETE", "/platforms/alpha", status=403)
    member("POST", "/platforms/alpha/actions/stop", status=403)
    member("GET", "/platforms/alpha/members", status=403)
    member("PUT", "/platforms/alpha/members/sofia", status=403)
    member("DELETE", "/platforms/alpha/members/alan", status=403)
    member("GET", f"/runs/{platform.runs.get().pk}", status=404)
    member("GET", "/hosts", status=403)
    assert books() == before


def test_actions_that_do_not_fit(api: Any, world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    api(emmy)("DELETE", "/platforms/alpha", status=409)
    api(emmy)("POST", "/platforms/alpha/actions/start", status=409)
    api(emmy)("PUT", "/platforms/alpha/members/alan", status=409)
    run_id = api(admin)("POST", f"/requests/{request.pk}/approve", {})["run_id"]
    api(emmy)("POST", f"/runs/{run_id}/retry", status=409)
    world.finish(run_id)
    api(emmy)("POST", "/platforms/alpha/actions/start", status=409)
    problem = api(emmy)("POST", "/platforms/alpha/actions/explode", status=422)
    assert [e["field"] for e in problem["errors"]] == ["action"]


def test_with_the_directory_down(api: Any, world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    world.directory.faults.unreachable = True
    problem = api(emmy)("PUT", "/platforms/alpha/members/alan", status=503)
    assert problem["remedy"]
    assert api(emmy)("GET", "/platforms/alpha")["state"] == "ready"


def test_our_own_faults_have_a_reference_and_no_trace(
    api: Any, optics: Project, emmy: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(access, "owned_projects", broken)
    problem = api(emmy)("GET", "/projects", status=500)
    assert "secret" not in str(problem)
    assert "Traceback" not in str(problem)
    assert problem["reference"] in {getattr(record, "reference", "") for record in caplog.records}


@pytest.mark.parametrize("query", ["limit=0", "limit=9999", "limit=x", "offset=-1", "state=perhaps"])
def test_lists_refuse_what_they_do_not_know(query: str, api: Any, optics: Project, emmy: User) -> None:
    problem = api(emmy)("GET", f"/platforms?{query}", status=422)
    assert [e["field"] for e in problem["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("path", ["/api/", "/api/v2/platforms", "/api/v1/nothing", "/api/v1/platforms/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_paths_that_there_are_not(method: str, path: str, db: None) -> None:
    answer = Client().generic(method, path)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "/problems/NotFound"
    assert Client().head("/api/v1/nothing")["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/requests", {"GET", "POST"}),
        ("POST", "/platforms/alpha", {"GET", "DELETE"}),
        ("GET", "/tokens", {"POST"}),
    ],
)
def test_methods_that_a_path_does_not_take(
    method: str, path: str, allowed: set[str], api: Any, optics: Project, emmy: User
) -> None:
    headers = {**api(emmy).headers, "Accept-Language": "fr"}
    answer = Client().generic(method, f"/api/v1{path}", headers=headers)
    problem = answer.json()
    assert (answer.status_code, answer["Content-Type"]) == (405, "application/problem+json")
    assert set(answer["Allow"].split(", ")) >= allowed
    assert problem["status"] == 405
    assert "cette méthode" in problem["detail"]
    assert all(name in problem["remedy"] for name in allowed)
    api(emmy)(method, path, status=405)


def test_pages_stay_pages(db: None, emmy: User) -> None:
    browser = Client()
    browser.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    assert browser.get("/nothing/")["Content-Type"].startswith("text/html")
    assert browser.get("/logout/").status_code == 405


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def local(db: None) -> User:
    """A local account: its password needs no directory."""
    cache.clear()
    user = User.objects.create(username="break-glass", is_break_glass=True, is_administrator=True)
    user.set_password("correct:horse%41é")
    user.save()
    return user


def basic(uid: str, password: str) -> dict[str, str]:
    """The header of HTTP basic."""
    from base64 import b64encode

    return {"Authorization": "Basic " + b64encode(f"{uid}:{password}".encode()).decode()}


def login(uid: str, password: str) -> Any:
    """The answer of POST /tokens."""
    return Client(raise_request_exception=False).post("/api/v1/tokens", headers=basic(uid, password))


def test_a_token_for_a_password(local: User, world: World) -> None:
    answer = login("break-glass", "correct:horse%41é")
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert ApiToken.objects.get().digest not in token
    seen = Client().get("/api/v1/hosts", headers={"Authorization": f"Bearer {token}"})
    assert seen.status_code == 200


@pytest.mark.parametrize("uid", ["break-glass", "break-glass\x00", "x" * 500, "", "*"])
def test_a_wrong_password_or_account(uid: str, local: User, world: World) -> None:
    with override_settings(AUTH_LDAP_SERVER_URI="ldapi://%2Fnonexistent%2Fldapi"):
        answer = login(uid, "wrong" if uid == "break-glass" else "")
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert not ApiToken.objects.exists()


def test_nobody_gets_in_without_a_token(api: Any, optics: Project, emmy: User) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer"},
        basic("emmy", "x"),
    ):
        for method, path in (("GET", "/projects"), ("POST", "/requests"), ("DELETE", "/platforms/alpha")):
            answer = Client().generic(method, f"/api/v1{path}", headers=headers)
            assert answer.status_code == 401
            assert answer["Content-Type"] == "application/problem+json"
            assert "Bearer" in answer["WWW-Authenticate"]


def test_void_tokens(optics: Project, emmy: User) -> None:
    token = accounts.issue_token(acting_user=emmy)
    headers = {"Authorization": f"Bearer {token}"}
    assert Client().get("/api/v1/projects", headers=headers).status_code == 200
    User.objects.filter(pk=emmy.pk).update(is_active=False)
    assert Client().get("/api/v1/projects", headers=headers).status_code == 401
    User.objects.filter(pk=emmy.pk).update(is_active=True)
    from django.utils import timezone

    ApiToken.objects.update(expires_at=timezone.now())
    assert Client().get("/api/v1/projects", headers=headers).status_code == 401


def test_locked_out_after_repeated_failures(local: User, world: World) -> None:
    statuses = [login("break-glass", "wrong").status_code for _attempt in range(5)]
    assert set(statuses) <= {401, 429}
    answer = login("break-glass", "correct:horse%41é")
    assert answer.status_code == 429
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["remedy"]
    assert not ApiToken.objects.exists()


def test_no_directory_no_token(world: World) -> None:
    with override_settings(AUTH_LDAP_SERVER_URI="ldapi://%2Fnonexistent%2Fldapi"):
        answer = login("emmy", "secret")
    assert answer.status_code == 503
    assert answer.json()["remedy"]


def test_the_browsers_session_needs_its_csrf_token(optics: Project, emmy: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    assert browser.get("/api/v1/projects").status_code == 200
    answer = browser.post("/api/v1/requests", WISH, content_type="application/json")
    assert answer.status_code == 403
    assert answer["Content-Type"] == "application/problem+json"
    assert not Request.objects.exists()
    assert not Platform.objects.exists()


def test_a_token_needs_no_csrf_token(api: Any, optics: Project, emmy: User) -> None:
    answer = Client(enforce_csrf_checks=True).post(
        "/api/v1/requests", WISH, content_type="application/json", headers=api(emmy).headers
    )
    assert answer.status_code == 201


def test_a_fault_of_the_directory_while_searching_is_not_ours(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    world.directory.faults.fail_next("person", Unavailable("restarting"))
    api(emmy)("PUT", "/platforms/alpha/members/alan", status=503)
    assert not Membership.objects.filter(uid="alan").exists()
    assert api(emmy)("PUT", "/platforms/alpha/members/alan", status=202)["state"] == "adding"


def test_a_token_is_ended_by_itself_alone(api: Any, optics: Project, emmy: User, sofia: User) -> None:
    one, other, stranger = api(emmy), api(emmy), api(sofia)
    answer = Client().delete("/api/v1/tokens/current", headers=one.headers)
    assert (answer.status_code, answer.content) == (204, b"")
    one("GET", "/projects", status=401)
    one("DELETE", "/tokens/current", status=401)
    other("GET", "/projects")
    stranger("GET", "/projects")
    assert ApiToken.objects.count() == 2
    browser = Client(raise_request_exception=False)
    browser.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    assert browser.delete("/api/v1/tokens/current").status_code == 401, "a session is no token"
