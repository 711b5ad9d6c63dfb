"""Options that are chosen anew while a platform lives: asked for, planned, told to the machine, taken back, shown."""

from __future__ import annotations

import io
import re
import tarfile
from typing import Any

import pytest
from django.test import Client

from placo.drivers.ports import Rejected
from placo.platforms.models import Platform, Project, Request, Run, User
from placo.services import books, changes, decisions, engine, planning, requests
from placo.services.errors import InvalidInput, PlanOutdated
from tests import factories
from tests.fakes import World

CHANGE = "/platforms/alpha/change/"
ROOM, ALIASES = "root/etc/dovecot/dovecot.conf", "root/etc/postfix/placo-aliases"


def mail(**options: Any) -> dict[str, dict[str, Any]]:
    return {"webmail": options}


def ask(user: User, **wish: Any) -> Request:
    return changes.submit_change(**{"acting_user": user, "slug": "alpha", "justification": "more", **wish})


def start(request: Request, admin: User) -> Run:
    return requests.approve_request(acting_user=admin, request_id=request.pk)


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    """A platform with mail and a site."""
    return factories.ready_platform(
        world, emmy, admin, services=["webmail", "web"], options=mail(quota_mib=50)
    )


def told(world: World, alpha: Platform, file: str, machine: str = "mail") -> str | None:
    """A file of the settings that a machine was told last, while it ran."""
    archive = world.host_of(alpha).told(alpha.plan.machine(machine).uuid)
    if archive is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as settings:
        content = settings.extractfile(file)
        assert content is not None
        return content.read().decode()


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_another_choice_is_told_to_the_machine_that_it_concerns(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, options=mail(quota_mib=80, aliases="contact=emmy"))
    what = changes.what(request)
    assert (what.told, what.resized, what.added, what.removed) == (("mail",), (), (), ())
    run = world.finish(start(request, admin).pk)
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    assert {s.name for s in run.steps.all()} == {"settings:mail", "answered:mail"}
    assert "storage=80M" in (told(world, alpha, ROOM) or "")
    assert "contact@alpha" in (told(world, alpha, ALIASES) or "")
    assert world.host_of(alpha).told(alpha.plan.machine("www").uuid) is None
    alpha.refresh_from_db()
    assert alpha.plan.options["webmail"]["quota_mib"] == 80
    assert alpha.plan.options["webmail"]["hourly_recipients"] == 300, "what was not named stays"
    assert books.check() == []


def test_what_a_machine_took_for_good_is_not_chosen_anew(world: World, alpha: Platform, emmy: User) -> None:
    for given in ({"web": {"php": False}}, {"webmail": {"colour": "red"}}):
        with pytest.raises(InvalidInput) as caught:
            ask(emmy, options=given)
        ((service, options),) = given.items()
        assert set(caught.value.errors) == {f"options.{service}.{name}" for name in options}
    assert not Request.objects.filter(kind=Request.CHANGE).exists()


@pytest.mark.parametrize(
    "given",
    [{"quota_mib": 5}, {"quota_mib": "80"}, {"aliases": "contact=nobody.at.all"}, {"aliases": "a=b; b=a"}],
)
def test_what_an_option_does_not_take_is_refused(
    world: World, alpha: Platform, emmy: User, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(emmy, options=mail(**given))
    assert set(caught.value.errors) == {f"options.webmail.{name}" for name in given}


def test_the_choice_that_it_has_changes_nothing(world: World, alpha: Platform, emmy: User) -> None:
    """Also where the plan is older than the option: its machines have the default."""
    plan = alpha.plan_data
    del plan["options"]["webmail"]["hourly_recipients"]
    alpha.plan_data = plan
    alpha.save(update_fields=["plan_data"])
    with pytest.raises(InvalidInput) as caught:
        ask(emmy, options=mail(quota_mib=50, hourly_recipients=300))
    assert set(caught.value.errors) == {"services"}
    assert changes.what(ask(emmy, options=mail(hourly_recipients=20))).told == ("mail",)


def test_a_machine_that_does_not_answer_is_waited_for(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    machine = alpha.plan.machine("mail").uuid
    deaf = world.host_of(alpha).deaf_guests
    deaf.add(machine)
    run = start(ask(emmy, options=mail(quota_mib=80)), admin)
    for _ in range(5):
        world.let_time_pass(run.pk)
        engine.advance(run.pk)
    assert Run.objects.get(pk=run.pk).state == "running"
    deaf.discard(machine)
    assert world.finish(run.pk).state == "done"
    assert "storage=80M" in (told(world, alpha, ROOM) or "")


def test_a_machine_that_cannot_take_it_ends_the_change(
    world: World, alpha: Platform, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image is too old: nothing of the change is kept, and the platform is ready as before."""

    def too_old(_uuid: str, _archive: bytes) -> bool:
        raise Rejected("cannot take other settings")

    host = world.host_of(alpha)
    run = start(ask(emmy, options=mail(quota_mib=80)), admin)
    monkeypatch.setattr(host, "tell_settings", too_old)
    assert world.finish(run.pk).state == "undone"
    alpha.refresh_from_db()
    assert (alpha.state, alpha.plan.options["webmail"]["quota_mib"]) == ("ready", 50)
    assert books.check() == []


def test_calling_it_off_tells_the_former_settings(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    run = start(ask(emmy, options=mail(quota_mib=80)), admin)
    server = next(e.host for e in alpha.plan.endpoints if e.protocol == "imaps")
    world.prober.answers[server] = 500
    engine.advance(run.pk)
    assert "storage=80M" in (told(world, alpha, ROOM) or "")
    del world.prober.answers[server]
    decisions.undo_run(acting_user=emmy, run_id=run.pk)
    assert world.finish(run.pk).state == "undone"
    assert "storage=50M" in (told(world, alpha, ROOM) or "")
    alpha.refresh_from_db()
    assert alpha.plan.options["webmail"]["quota_mib"] == 50


def test_a_change_of_size_comes_before_the_settings(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, options=mail(quota_mib=80), sizes={"mail": {"memory_mib": 1024}})
    run = world.finish(start(request, admin).pk)
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    ended = {s.name: s.finished_at for s in run.steps.all()}
    assert ended["health:mail"] <= ended["settings:mail"] <= ended["answered:mail"]
    assert "storage=80M" in (told(world, alpha, ROOM) or "")


def test_a_change_is_planned_anew_as_it_was_asked(
    world: World, alpha: Platform, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody whom an address was meant for leaves meanwhile: the administrator does not approve that plan."""
    request = ask(emmy, options=mail(quota_mib=80, aliases="contact=sofia"))
    assert planning.offer(request) is None
    world.directory.remove_person("sofia")
    with pytest.raises(PlanOutdated):
        start(request, admin)


def test_what_was_chosen_before_does_not_stand_in_the_way_of_other_changes(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    """Somebody whom an address was meant for has left since."""
    world.finish(start(ask(emmy, options=mail(aliases="contact=sofia")), admin).pk)
    world.directory.remove_person("sofia")
    same = mail(aliases="contact=sofia\r\n", quota_mib=50)
    request = ask(emmy, options=same, sizes={"mail": {"memory_mib": 1024}})
    assert (changes.what(request).told, changes.what(request).resized) == ((), ("mail",))
    assert world.finish(start(request, admin).pk).state == "done"
    with pytest.raises(InvalidInput):
        ask(emmy, options=mail(aliases="contact=sofia, emmy"))


def test_a_machine_of_an_older_image_is_rebuilt_before_it_is_told(
    world: World, alpha: Platform, emmy: User
) -> None:
    """What is rendered is today's catalogue, of which it knows nothing."""
    world.images.versions["mail"] = 1
    with pytest.raises(InvalidInput) as caught:
        ask(emmy, options=mail(quota_mib=80))
    ((field, (why,)),) = caught.value.errors.items()
    assert field == "options.webmail.quota_mib" and "rebuilt first" in str(why)
    assert ask(emmy, options=mail(quota_mib=50), sizes={"mail": {"memory_mib": 1024}})


def test_images_that_are_built_after_the_approval_end_the_change(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    run = start(ask(emmy, options=mail(quota_mib=80)), admin)
    world.images.versions["mail"] = 1
    assert world.finish(run.pk).state == "undone"
    assert told(world, alpha, ROOM) is None
    alpha.refresh_from_db()
    assert (alpha.state, alpha.plan.options["webmail"]["quota_mib"]) == ("ready", 50)


def browser_of(user: User, language: str = "en") -> Client:
    client = Client(headers={"accept-language": language})
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


@pytest.mark.parametrize(
    ("language", "words"), [("en", "The service takes it in while it runs."), ("fr", "sans s’arrêter")]
)
def test_the_form_asks_for_what_can_be_chosen_anew(
    world: World, alpha: Platform, emmy: User, admin: User, language: str, words: str
) -> None:
    browser = browser_of(emmy, language)
    page = browser.get(CHANGE).content.decode()
    assert 'name="options.webmail.quota_mib" value="50"' in page
    assert "options.web.php" not in page
    sent: dict[str, Any] = {
        "services": ["web", "webmail"],
        "options.webmail.quota_mib": "80",
        "options.webmail.hourly_recipients": "300",
        "options.webmail.aliases": "",
        "expires_on": f"{alpha.expires_on:%Y-%m-%d}",
        "justification": "Longer mails.",
    }
    for m in alpha.plan.machines:
        sent |= {f"sizes.{m.name}.{name}": str(getattr(m, name)) for name in changes.SIZES}
    preview = text(browser.get(f"{CHANGE}preview/", sent))
    assert "50" in preview and "80" in preview and words in preview
    wrong = browser.post(CHANGE, {**sent, "options.webmail.aliases": "contact"}).content.decode()
    assert 'id="options.webmail.aliases-error"' in wrong
    assert browser.post(CHANGE, sent).status_code == 302
    request = Request.objects.get(kind=Request.CHANGE)
    assert request.plan.options["webmail"]["quota_mib"] == 80
    assert changes.what(request).told == ("mail",)
