"""Sizes of machines as an option of a service: asked for, counted, made, changed, and shown in words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from placo import wiring
from placo.platforms.models import Platform, Project, Request, Run, User
from placo.services import books, changes, planning, quota, requests
from placo.services.errors import InvalidInput
from tests import factories
from tests.fakes import World

SMALL, MEDIUM, LARGE = (512, 1, 8), (2048, 2, 20), (8192, 4, 100)


def size(platform: Platform) -> tuple[int, int, int]:
    machine = platform.plan.machine("server")
    return machine.memory_mib, machine.vcpus, machine.data_volume_gib


def chosen(name: str) -> dict[str, dict[str, str]]:
    return {"server": {"size": name}}


def ask(user: User, **wish: Any) -> Request:
    return changes.submit_change(**{"acting_user": user, "slug": "alpha", "justification": "more", **wish})


def carry_out(world: World, request: Request, admin: User) -> Run:
    run = world.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk)
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    return run


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    """A ready server of medium size."""
    return factories.ready_platform(world, emmy, admin, services=["server"], options=chosen("medium"))


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_the_size_that_was_chosen_is_made_and_counted(world: World, alpha: Platform) -> None:
    assert size(alpha) == MEDIUM
    machine = alpha.plan.machine("server")
    definition = world.host_of(alpha).definition(machine.uuid)
    assert (definition["memory_mib"], definition["vcpus"]) == MEDIUM[:2]
    used = quota.used(alpha.project)
    assert (used.memory_mib, used.vcpus, used.disk_gib) == (2048, 2, 20 + machine.system_disk_gib)
    assert alpha.plan.options == chosen("medium")
    assert books.check() == []


def test_the_default_is_taken_where_nothing_is_chosen(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = factories.ready_platform(world, emmy, admin, services=["server"])
    assert size(alpha) == SMALL and alpha.plan.options == chosen("small")


def test_only_the_usual_size_is_resumed_from_a_template(warm: World, emmy: User, admin: User) -> None:
    found = {}
    for slug, name in (("alpha", "small"), ("beta", "medium")):
        made = factories.ready_platform(
            warm, emmy, admin, slug=slug, services=["server"], options=chosen(name)
        )
        row = made.machines.get()
        found[name] = (row.way, row.way_reason)
    assert found == {"small": ("warm", ""), "medium": ("cold", "impossible")}


def test_a_size_that_there_is_not_is_refused(world: World, optics: Project, emmy: User) -> None:
    with pytest.raises(InvalidInput) as caught:
        factories.submit(emmy, services=["server"], options=chosen("huge"))
    assert set(caught.value.errors) == {"options.server.size"}
    assert "small, medium, large" in str(caught.value)
    assert not Request.objects.exists()


def test_a_size_beyond_the_quota_is_refused(world: World, optics: Project, emmy: User) -> None:
    optics.quota_memory_mib = 4096
    optics.save()
    with pytest.raises(InvalidInput) as caught:
        factories.submit(emmy, services=["server"], options=chosen("large"))
    assert set(caught.value.errors) == {"services"}
    assert factories.submit(emmy, services=["server"], options=chosen("medium")).plan.cost.memory_mib == 2048


def test_another_size_is_a_change(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    alpha.project.quota_disk_gib = 500
    alpha.project.save()
    request = ask(emmy, options=chosen("large"))
    what = changes.what(request)
    assert (what.resized, what.grown, what.added, what.removed) == (("server",), ("server",), (), ())
    carry_out(world, request, admin)
    alpha.refresh_from_db()
    assert size(alpha) == LARGE and alpha.plan.options == chosen("large")
    definition = world.host_of(alpha).definition(alpha.plan.machine("server").uuid)
    assert (definition["memory_mib"], definition["vcpus"]) == LARGE[:2]
    assert quota.used(alpha.project) == alpha.plan.cost and books.check() == []


def test_a_smaller_size_keeps_the_data_volume(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    carry_out(world, ask(emmy, options=chosen("small")), admin)
    alpha.refresh_from_db()
    assert size(alpha) == (512, 1, 20)


def test_numbers_go_before_a_name(world: World, alpha: Platform, emmy: User) -> None:
    request = ask(emmy, options=chosen("small"), sizes={"server": {"memory_mib": 1024}})
    assert request.plan.machine("server").memory_mib == 1024


def test_the_size_that_it_has_changes_nothing(world: World, alpha: Platform, emmy: User) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(emmy, options=chosen("medium"))
    assert set(caught.value.errors) == {"services"}


def test_other_options_of_what_is_there_stay(world: World, optics: Project, emmy: User, admin: User) -> None:
    factories.ready_platform(world, emmy, admin, services=["web", "server"])
    with pytest.raises(InvalidInput) as caught:
        ask(emmy, options={"web": {"php": False}})
    assert set(caught.value.errors) == {"options.web.php"}


def test_a_change_of_size_is_planned_anew_as_it_was_asked(
    world: World, alpha: Platform, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image of a machine that comes along is replaced meanwhile: the new plan has the size still."""
    request = ask(emmy, options=chosen("small"), services=["server", "web"])
    now = wiring.images().name_for
    monkeypatch.setattr(
        wiring.images(), "name_for", lambda name: f"{now(name)}-new" if name == "www" else now(name)
    )
    monkeypatch.setattr(planning, "unbuilt", lambda _machine: None)
    offer = planning.offer(request)
    assert offer is not None and offer.draft is not None
    assert offer.draft.plan.machine("server") == request.plan.machine("server")
    assert offer.draft.plan.options["server"] == {"size": "small"}


def browser_of(user: User, language: str = "en") -> Client:
    client = Client(headers={"accept-language": language})
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


def test_the_form_shows_sizes_in_words(world: World, optics: Project, emmy: User) -> None:
    for language, words in (("en", "medium: 2 GiB"), ("fr", "moyenne : 2 Gio")):
        browser = browser_of(emmy, language)
        browser.post(
            "/platforms/new/",
            {"step": "1", "project": "optics", "services": ["server", "wiki"], "go": "next"},
        )
        page = browser.get("/platforms/new/?step=2").content.decode()
        assert f'<option value="medium" >{words}' in page
        assert ">French<" in page if language == "en" else ">français<" in page
        browser.post(
            "/platforms/new/",
            {"step": "2", "options.server.size": "medium", "options.wiki.language": "fr", "go": "next"},
        )
        step3 = {"step": "3", "slug": "beta", "days": "30", "justification": "x", "title": "", "go": "next"}
        browser.post("/platforms/new/", step3)
        review = text(browser.get("/platforms/new/?step=4"))
        assert words in review


def test_a_size_beyond_the_quota_is_said_at_its_field(world: World, optics: Project, emmy: User) -> None:
    optics.quota_memory_mib = 4096
    optics.save()
    browser = browser_of(emmy)
    browser.post("/platforms/new/", {"step": "1", "project": "optics", "services": ["server"], "go": "next"})
    answer = browser.post("/platforms/new/", {"step": "2", "options.server.size": "large", "go": "next"})
    assert answer.status_code == 422
    assert 'id="options.server.size-error"' in answer.content.decode()


def test_a_change_in_the_browser(world: World, alpha: Platform, emmy: User) -> None:
    browser, path = browser_of(emmy), "/platforms/alpha/change/"
    assert '<option value="medium" selected>' in browser.get(path).content.decode()
    machine = alpha.plan.machine("server")
    data = {
        "services": ["server"],
        "options.server.size": "small",
        "justification": "We need less.",
        **{f"sizes.server.{name}": str(getattr(machine, name)) for name in changes.SIZES},
    }
    preview = text(browser.get(f"{path}preview/", data))
    assert "512 MiB" in preview and "medium: 2 GiB" in preview and "small: 512 MiB" in preview
    browser.post(path, data)
    request = Request.objects.get(kind=Request.CHANGE)
    assert request.plan.options == chosen("small") and request.plan.machine("server").memory_mib == 512


def test_the_api_names_sizes(world: World, optics: Project, emmy: User, api: Any) -> None:
    services = {s["id"]: s for s in api(emmy)("GET", "/catalogue/services")}
    [option] = services["server"]["options"]
    assert (option["type"], option["choices"]) == ("size", ["small", "medium", "large"])
    assert option["titles"]["medium"].startswith("medium: 2 GiB")
    language = next(o for o in services["wiki"]["options"] if o["name"] == "language")
    assert language["titles"] == {"en": "English", "fr": "French"}
