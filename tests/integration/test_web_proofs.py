"""Proofs on the platform's page, in the API, by the command's eyes, for the doctor and in metrics; in mails; in French."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import translation

from placo.platforms.models import Platform, Project, Proof, User
from placo.services import doctor, gauges, post, proofs, proving
from placo.services.doctor.proven import look_at_proofs
from placo.services.doctor.report import Level
from tests import factories
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.test_proofs import host, prove

URL = "/platforms/alpha/"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "ADMITTED_S", 0.1)
    monkeypatch.setattr(proving, "MEASURED_S", 0.2)
    monkeypatch.setattr(proving, "PAUSE_S", 0.02)


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return factories.ready_platform(world, emmy, admin, services=["web", "svn"])


@pytest.fixture
def page(client: Client, emmy: User) -> Iterator[Any]:
    """The page of alpha, as its owner sees it."""
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")

    def shown(language: str = "en") -> str:
        return client.get(URL, HTTP_ACCEPT_LANGUAGE=language).content.decode()

    yield shown


def test_the_page_says_what_came_of_the_last_one(
    alpha: Platform, emmy: User, world: World, page: Any, client: Client
) -> None:
    assert "Nobody has tried yet" in page()
    answer = client.post("/platforms/alpha/prove/")
    assert answer.status_code == 302 and answer["Location"] == URL
    assert "knock at every door" in page()
    assert "Try now" not in page()
    assert "hx-get" in client.get("/platforms/alpha/proof/").content.decode()
    proving.make(Proof.objects.get().pk)
    assert "Everything is as it should be: 29 attempts" in page()
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    found = page()
    assert "12 of 29 attempts to come in did not end as they should." in found
    assert "Subversion repositories: Repository" in found
    assert "A guest whose time is over got in" in found
    assert "A member who was removed was still let in after" in found
    world.directory.faults.unreachable = True
    prove(alpha, emmy)
    world.directory.faults.unreachable = False
    assert "was broken off: the directory did not answer" in page()
    assert "12 of 29" in page(), "what is known is still said"


def test_the_page_in_french(alpha: Platform, emmy: User, world: World, page: Any) -> None:
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    found = page("fr")
    for words in (
        "Qui peut entrer",
        "12 tentatives d’entrer sur 29",
        "Un invité dont le temps est écoulé a pu entrer",
        "Dépôts Subversion",
        "Vérifier maintenant",
    ):
        assert words in found


def test_members_do_not_see_it(alpha: Platform, emmy: User, world: World, client: Client) -> None:
    alan = factories.make_user("alan")
    alpha.memberships.create(uid="alan", name="Alan Turing", settled=True)
    prove(alpha, emmy)
    client.force_login(alan, backend="placo.web.auth.DirectoryBackend")
    assert "Who is let in" not in client.get(URL).content.decode()


def test_the_api_asks_and_tells(
    alpha: Platform, emmy: User, admin: User, sofia: User, world: World, api: Any
) -> None:
    owner, stranger = api(emmy), api(sofia)
    asked = owner("POST", "/platforms/alpha/proofs", status=202)
    assert (asked["state"], asked["asked_by"], asked["cases"]) == ("asked", "emmy", [])
    assert owner("POST", "/platforms/alpha/proofs", status=202)["id"] == asked["id"]
    world.doorman.shut.add(host(alpha, "svn"))
    proving.make(asked["id"])
    [found] = api(admin)("GET", "/platforms/alpha/proofs")
    assert (found["state"], found["platform"]) == ("failed", "alpha")
    wrong, _of_the_other_address = [case for case in found["cases"] if not case["passed"]]
    assert wrong["case"] == "insider"
    assert wrong["text"] == "Subversion repositories: Repository: A member was refused"
    assert wrong["answer"] == "refused"
    stranger("GET", "/platforms/alpha/proofs", status=404)
    stranger("POST", "/platforms/alpha/proofs", status=404)
    api(None)("POST", "/platforms/alpha/proofs", status=401)
    Platform.objects.update(state="stopped")
    owner("POST", "/platforms/alpha/proofs", status=409)


def test_administrators_get_a_mail(
    alpha: Platform, emmy: User, admin: User, world: World, configured: Any
) -> None:
    configured(mail={"sender": "PLACO <placo@example.org>", "language": "en"})
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    assert post.send_due() == 1
    [letter] = mail.outbox
    assert letter.to == ["ada@example.org"]
    assert letter.subject == "alpha lets in whom it should not, or the other way round"
    assert "because you are an administrator" in letter.body
    assert "/platforms/alpha/\n" in letter.body


def test_what_is_right_again_is_not_mailed(
    alpha: Platform, emmy: User, admin: User, world: World, configured: Any
) -> None:
    configured(mail={"sender": "PLACO <placo@example.org>", "language": "en"})
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    world.doorman.wide_open.clear()
    prove(alpha, emmy)
    assert post.send_due() == 0


def test_the_doctor_says_so(alpha: Platform, emmy: User, world: World, clock: Clock) -> None:
    assert [result.level for result in look_at_proofs()] == [Level.OK]
    assert "proofs" in {look.component for look in doctor.all_looks(doctor.records.Records(there=True))}
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    [result] = look_at_proofs()
    assert result.level is Level.FAILURE
    assert "alpha" in result.text
    clock.forward(days=4)
    [_failure, late] = look_at_proofs()
    assert late.level is Level.WARNING and "alpha" in late.text and "4 days" in late.text
    with translation.override("fr"):
        assert "laisse entrer" in next(iter(look_at_proofs())).text


def test_metrics_count_them(alpha: Platform, emmy: User, world: World) -> None:
    def numbers() -> dict[str, float]:
        return {family.name: family.samples[0].value for family in gauges._proofs()}

    assert numbers()["placo_failed_proofs"] == 0
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    found = numbers()
    assert found["placo_failed_proofs"] == 1
    assert 0 <= found["placo_oldest_proof_age_seconds"] < 60
    Platform.objects.update(state="stopped")
    assert numbers() == {"placo_failed_proofs": 0, "placo_oldest_proof_age_seconds": 0}


def test_the_latest_verdict_stands(alpha: Platform, emmy: User, world: World) -> None:
    shown = proofs.shown(alpha)
    assert (shown.latest, shown.verdict, shown.possible, shown.going) == (None, None, True, False)
    proofs.ask(acting_user=emmy, slug="alpha")
    assert proofs.shown(alpha).going
