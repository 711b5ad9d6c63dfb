"""A platform's screens: the picture, its people, its power, its end; in two languages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from placo.drivers.ports import Unavailable
from placo.platforms.models import Membership, Platform, Project, Run, User
from placo.services import engine
from tests import factories
from tests.fakes import World


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return factories.ready_platform(world, emmy, admin, title="Wave equations")


@pytest.fixture
def browser(emmy: User) -> Client:
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    return client


def text(answer: Any) -> str:
    found: str = answer.content.decode()
    return found


def test_the_picture_has_services_machines_and_software(alpha: Platform, browser: Client) -> None:
    page = text(browser.get("/platforms/alpha/"))
    for word in (
        "Wave equations",
        "Web site",
        "https://alpha-web.",
        "10.77.16.2",
        "Apache 2.4",
        "answering",
        "ready",
    ):
        assert word in page, word
    assert 'data-copy="https://alpha-web.' in page
    assert page.count("/power/") == 3, "a platform that is ready can be stopped, restarted and suspended"


def test_stopping_starting_and_what_does_not_fit(world: World, alpha: Platform, browser: Client) -> None:
    stopping = browser.post("/platforms/alpha/power/stop/")
    run = Run.objects.get(kind="stop")
    assert stopping["Location"] == f"/runs/{run.pk}/"
    assert browser.post("/platforms/alpha/power/stop/").status_code == 409
    for machine in alpha.plan.machines:
        world.hosts["h1"].kill_domain(machine.uuid)
    world.finish(run.pk)
    page = text(browser.get("/platforms/alpha/"))
    assert "stopped" in page
    assert '/power/start/"' in page
    assert '/power/stop/"' not in page
    assert browser.post("/platforms/alpha/power/start/").status_code == 302
    assert browser.post("/platforms/alpha/power/explode/").status_code == 422


def test_retiring_takes_the_slug_and_leads_to_its_run(world: World, alpha: Platform, browser: Client) -> None:
    page = text(browser.get("/platforms/alpha/settings/"))
    assert "all that is on its data volume" in page
    wrong = browser.post("/platforms/alpha/retire/", {"confirm": "Alpha"})
    assert wrong.status_code == 422
    assert 'value="Alpha"' in text(wrong)
    assert "to confirm" in wrong.context["errors"]["confirm"]
    assert not Run.objects.filter(kind="retire").exists()
    right = browser.post("/platforms/alpha/retire/", {"confirm": "alpha"})
    run = Run.objects.get(kind="retire")
    assert right["Location"] == f"/runs/{run.pk}/"
    world.finish(run.pk)
    assert world.audit("alpha") == []
    assert "Nothing of it is left but the record" in text(browser.get(f"/runs/{run.pk}/"))
    assert "Wave equations" not in text(browser.get("/"))
    assert browser.get("/platforms/alpha/").status_code == 200, "its history can still be read"


def test_people_are_found_added_and_removed(world: World, alpha: Platform, browser: Client) -> None:
    assert "Sofia Kovalevskaya" in text(browser.get("/platforms/alpha/people/search/?q=sof"))
    rows = browser.post("/platforms/alpha/people/add/", {"uid": "sofia"}, headers={"HX-Request": "true"})
    assert rows.status_code == 200
    assert "being added" in text(rows)
    assert 'hx-trigger="every 1s"' in text(rows), "asked for again until the directory has followed"
    world.finish(Run.objects.latest("id").pk)
    settled = text(browser.get("/platforms/alpha/people/rows/", headers={"HX-Request": "true"}))
    assert "being added" not in settled
    assert "every 1s" not in settled
    assert world.directory.members("alpha")["sofia"] is False
    leaving = browser.post(
        "/platforms/alpha/people/remove/", {"uid": "sofia"}, headers={"HX-Request": "true"}
    )
    assert "being removed" in text(leaving)
    world.finish(Run.objects.latest("id").pk)
    assert "sofia" not in world.directory.members("alpha")
    assert "Sofia" not in text(browser.get("/platforms/alpha/people/"))


def test_people_are_removed_from_a_platform_that_is_busy_and_none_is_added(
    world: World, alpha: Platform, browser: Client
) -> None:
    browser.post("/platforms/alpha/people/add/", {"uid": "sofia"})
    world.finish(Run.objects.get(kind="member", subject="sofia").pk)
    world.host_of(alpha).faults.unreachable = True
    browser.post("/platforms/alpha/retire/", {"confirm": "alpha"})
    world.finish(Run.objects.get(kind="retire").pk)
    page = text(browser.get("/platforms/alpha/people/"))
    assert "nobody can be added now" in page
    assert "/people/remove/" in page
    assert "/people/until/" not in page and "/people/owner/" not in page
    french = text(browser.get("/platforms/alpha/people/", headers={"Accept-Language": "fr"}))
    assert "Un membre retiré est refusé aussitôt" in french
    assert browser.post("/platforms/alpha/people/add/", {"uid": "alan"}).status_code == 409
    browser.post("/platforms/alpha/people/remove/", {"uid": "sofia"})
    world.finish(Run.objects.filter(kind="member", subject="sofia").latest("id").pk)
    assert set(world.directory.members("alpha")) == {"emmy"}


def test_a_directory_that_keeps_people_waiting_is_told_of(
    world: World, alpha: Platform, browser: Client
) -> None:
    browser.post("/platforms/alpha/people/add/", {"uid": "sofia"})
    run = Run.objects.latest("id")
    waits = f'href="/runs/{run.pk}/">the directory has not followed yet'
    assert waits not in text(browser.get("/platforms/alpha/people/"))
    world.directory.faults.fail_next("ensure_member", Unavailable("restarting"))
    engine.advance(run.pk)
    assert waits in text(browser.get("/platforms/alpha/people/"))
    world.finish(run.pk)
    assert waits not in text(browser.get("/platforms/alpha/people/"))


@pytest.mark.parametrize(
    "uid", ["", "nobody-here", "*", "so*", "(uid=sofia)", "so\\fia", "sofia\x00", "sofia,ou=people"]
)
def test_odd_accounts_are_refused_at_the_field(alpha: Platform, browser: Client, uid: str) -> None:
    answer = browser.post("/platforms/alpha/people/add/", {"uid": uid})
    assert answer.status_code == 422
    assert "There is nobody with this account in the directory." in text(answer)
    assert Membership.objects.count() == 1
    fragment = browser.post("/platforms/alpha/people/add/", {"uid": uid}, headers={"HX-Request": "true"})
    assert fragment.status_code == 422
    assert fragment["HX-Retarget"] == "#alerts"
    assert "<html" not in text(fragment)


@pytest.mark.parametrize("q", ["*", "(", "\\", "%00", ")(uid=*", "é" * 200])
def test_odd_searches_find_nobody_and_break_nothing(alpha: Platform, browser: Client, q: str) -> None:
    answer = browser.get("/platforms/alpha/people/search/", {"q": q})
    assert answer.status_code == 200
    assert "/people/add/" not in text(answer)


def test_owners_cannot_be_removed(alpha: Platform, browser: Client) -> None:
    answer = browser.post("/platforms/alpha/people/remove/", {"uid": "emmy"})
    assert answer.status_code == 409
    assert "An owner of the project cannot be removed" in text(answer)
    assert 'id="person-emmy"' in text(answer)
    assert text(answer).count("/people/remove/") == 0


def test_activity_tells_runs_and_deeds(alpha: Platform, browser: Client, admin: User) -> None:
    page = text(browser.get("/platforms/alpha/activity/"))
    assert "alpha is ready" in page
    assert "approved the request" in page
    assert admin.username in page


def test_a_name_that_is_used_again_shows_nothing_of_its_former_life(
    world: World, alpha: Platform, browser: Client, sofia: User, admin: User
) -> None:
    browser.post("/platforms/alpha/retire/", {"confirm": "alpha"})
    world.finish(Run.objects.latest("id").pk)
    factories.ready_platform(world, sofia, admin, project_slug="topology", slug="alpha", title="Knots")
    client = Client()
    client.force_login(sofia, backend="placo.web.auth.DirectoryBackend")
    deeds = client.get("/platforms/alpha/activity/").context["table"].page.object_list
    assert {event.actor for event in deeds} == {"sofia", admin.username}
    assert "Wave equations" in text(browser.get("/platforms/alpha/")), "the former owner still reads theirs"


def test_everything_speaks_french(alpha: Platform, browser: Client) -> None:
    browser.post("/i18n/setlang/", {"language": "fr", "next": "/"})
    run = Run.objects.get(kind="create")
    for path, words in {
        "/": "Vos plateformes",
        "/platforms/alpha/": "prête",
        "/platforms/alpha/people/": "Qui peut l’utiliser",
        "/platforms/alpha/settings/": "Clôturer cette plateforme",
        "/platforms/new/": "De quoi votre groupe a-t-il besoin",
        f"/runs/{run.pk}/": "alpha est prête",
        "/requests/": "Demandes",
        "/nothing/": "Introuvable",
    }.items():
        page = text(browser.get(path))
        assert '<html lang="fr"' in page
        assert words in page, path


def test_no_page_asks_a_host_or_the_directory(
    world: World, alpha: Platform, browser: Client, admin: User
) -> None:
    for host in world.hosts.values():
        host.faults.unreachable = True
    world.directory.faults.unreachable = True
    run = Run.objects.get(kind="create")
    paths = [
        "/",
        "/platforms/alpha/",
        "/platforms/alpha/people/",
        "/platforms/alpha/machines/www/",
        f"/runs/{run.pk}/",
    ]
    for path in [*paths, "/platforms/alpha/activity/", "/platforms/alpha/settings/", "/requests/"]:
        assert browser.get(path).status_code == 200, path
    desk = Client()
    desk.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    for name in ("hosts", "runs", "quotas", "audit"):
        assert desk.get(f"/operations/{name}/").status_code == 200
    found = browser.get("/platforms/alpha/people/?q=so")
    assert found.status_code == 200
    assert "The directory does not answer" in text(found)


def test_pages_take_as_many_queries_for_many_platforms_as_for_few(
    world: World,
    optics: Project,
    emmy: User,
    admin: User,
    browser: Client,
    django_assert_max_num_queries: Any,
) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_platforms=20, quota_machines=40, quota_vcpus=40)
    Project.objects.filter(pk=optics.pk).update(quota_memory_mib=99999, quota_disk_gib=999)
    for number in range(6):
        factories.ready_platform(world, emmy, admin, slug=f"group{number}", services=["web"])
    with django_assert_max_num_queries(22):
        assert browser.get("/").status_code == 200
    with django_assert_max_num_queries(14):
        assert browser.get("/platforms/group1/").status_code == 200
