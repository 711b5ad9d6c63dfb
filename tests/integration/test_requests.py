"""Asking for a platform and deciding about it: what is refused, at which field, and that nothing has changed afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from placo.domain.slugs import RESERVED_SLUGS, SLUG_MAX
from placo.platforms.models import (
    AuditEvent,
    Host,
    LedgerEntry,
    Platform,
    Project,
    ProjectOwner,
    Request,
    Run,
    User,
)
from placo.services import quota, requests
from placo.services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.factories import make_user, ready_platform, submit
from tests.fakes import World


def books() -> tuple[Any, ...]:
    """Everything that a refused call must leave as it was."""
    return (
        list(Request.objects.values_list("pk", "state", "plan_hash", "comment")),
        list(Platform.objects.values_list("pk", "slug", "state", "subnet_index")),
        list(LedgerEntry.objects.values_list("platform", "committed", "machines")),
        list(Run.objects.values_list("pk", "state")),
        AuditEvent.objects.count(),
    )


def refused(user: User, **changes: Any) -> dict[str, list[object]]:
    """The errors of a request that is refused, once it is sure that nothing has changed."""
    before = books()
    with pytest.raises(InvalidInput) as error:
        submit(user, **changes)
    assert books() == before
    return dict(error.value.errors)


def test_a_request_freezes_a_plan_and_reserves(world: World, optics: Project, emmy: User) -> None:
    request = submit(emmy, options={"svn": {"repository": "thesis"}})

    plan = request.platform.plan
    assert (request.state, request.platform.state) == ("submitted", "requested")
    assert plan.hash == request.plan_hash
    assert plan.services == ("svn", "web")
    assert plan.owners == ("emmy",)
    assert plan.options["svn"]["repository"] == "thesis"
    assert plan.options["web"]["php"] is True
    assert any(e.url.endswith("/svn/thesis") for e in plan.endpoints)
    assert quota.used(optics) == plan.cost
    assert not LedgerEntry.objects.get().committed
    assert world.audit("alpha")[0].kind == "addresses"
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "Alpha",
        "été",
        "-alpha",
        "alpha-",
        "al--pha",
        "al_pha",
        "al pha",
        "al.pha",
        "alpha\n",
        "alpha\x00",
        "ａlpha",
        "a" * (SLUG_MAX + 1),
        "a" * 64,
        "../etc",
        None,
        7,
    ],
)
def test_slugs_that_cannot_be_addresses(slug: Any, world: World, optics: Project, emmy: User) -> None:
    assert set(refused(emmy, slug=slug)) == {"slug"}


@pytest.mark.parametrize("slug", ["www", "mail", "placo", "admin"])
def test_reserved_slugs(slug: str, world: World, optics: Project, emmy: User) -> None:
    assert slug in RESERVED_SLUGS
    assert "reserved" in str(refused(emmy, slug=slug)["slug"][0])


@pytest.mark.parametrize("slug", ["alpha-web", "alpha-svn", "a-b-chat"])
def test_a_slug_is_no_public_name_of_another_platform(
    slug: str, world: World, optics: Project, emmy: User
) -> None:
    assert "reserved" in str(refused(emmy, slug=slug)["slug"][0])


def test_a_slug_that_is_taken(world: World, optics: Project, emmy: User, sofia: User, admin: User) -> None:
    submit(emmy)
    assert "taken" in str(refused(emmy)["slug"][0])
    assert "taken" in str(refused(sofia, project_slug="topology")["slug"][0])


def test_the_slug_of_a_declined_request_is_free_again(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    requests.withdraw_request(acting_user=emmy, request_id=submit(emmy).pk)
    assert submit(emmy).platform.subnet_index == 0


@pytest.mark.parametrize("services", [[], ["forum"], ["web", "forum"], ["web\x00"], ["WEB"], [""]])
def test_services_that_there_are_not(services: list[str], world: World, optics: Project, emmy: User) -> None:
    assert set(refused(emmy, services=services)) == {"services"}


@pytest.mark.parametrize("days", [0, -1, 366, 10**30, "", "x", "1_0", 1.5, None, True, "٣"])
def test_durations_out_of_bounds(days: Any, world: World, optics: Project, emmy: User) -> None:
    assert set(refused(emmy, days=days)) == {"days"}


def test_durations_at_the_bounds(world: World, optics: Project, emmy: User) -> None:
    assert submit(emmy, days=1).days == 1
    assert submit(emmy, slug="beta", days="365").days == 365


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001, "a\x00b", "half a \ud800 character", None, 7])
def test_a_justification_is_needed(text: Any, world: World, optics: Project, emmy: User) -> None:
    assert set(refused(emmy, justification=text)) == {"justification"}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"forum": {}}, "options.forum"),
        ({"web": {"colour": "red"}}, "options.web.colour"),
        ({"web": {"php": "perhaps"}}, "options.web.php"),
        ({"svn": {"repository": "../../etc"}}, "options.svn.repository"),
        ({"svn": {"repository": ""}}, "options.svn.repository"),
        ({"svn": {"repository": 7}}, "options.svn.repository"),
    ],
)
def test_options_that_a_service_does_not_take(
    options: dict[str, Any], field: str, world: World, optics: Project, emmy: User
) -> None:
    assert set(refused(emmy, options=options)) == {field}


def test_every_error_is_told_at_once(world: World, optics: Project, emmy: User) -> None:
    assert set(refused(emmy, slug="WWW", services=[], days=0, justification="")) == {
        "slug",
        "services",
        "days",
        "justification",
    }


def test_an_unknown_hypervisor(world: World, optics: Project, emmy: User) -> None:
    assert set(refused(emmy, hypervisor="abacus")) == {"hypervisor"}
    assert submit(emmy, hypervisor="kvm").platform.host.hypervisor == "kvm"


@pytest.mark.parametrize("project", ["topology", "nothing", "", "opt\x00ics"])
def test_projects_of_others_are_not_there(project: str, world: World, optics: Project, emmy: User) -> None:
    before = books()
    with pytest.raises(NotFound):
        submit(emmy, project_slug=project)
    assert books() == before


def test_no_host_takes_platforms(world: World, optics: Project, emmy: User) -> None:
    Host.objects.update(enabled=False)
    before = books()
    with pytest.raises(Conflict):
        submit(emmy)
    assert books() == before


def test_a_host_that_does_not_answer_is_the_last_choice(world: World, optics: Project, emmy: User) -> None:
    Host.objects.filter(name="h1").update(reachable=False)
    assert [submit(emmy, slug=slug).platform.host.name for slug in ("alpha", "beta")] == ["h2", "h2"]
    Host.objects.filter(name="h2").update(enabled=False)
    assert submit(emmy, slug="gamma", services=["web"]).platform.host.name == "h1"


# --- deciding --------------------------------------------------------------------------------------------------------


def test_approving_twice(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    requests.approve_request(acting_user=admin, request_id=request.pk)
    before = books()
    with pytest.raises(Conflict, match="already been decided"):
        requests.approve_request(acting_user=admin, request_id=request.pk)
    for decide in (requests.reject_request, requests.withdraw_request, requests.replan_request):
        with pytest.raises(Conflict):
            decide(
                acting_user=admin,
                request_id=request.pk,
                **({"comment": "no"} if "reject" in decide.__name__ else {}),
            )
    assert books() == before


def test_ones_own_request_is_not_ones_to_approve(world: World, optics: Project, emmy: User) -> None:
    request = submit(emmy)
    before = books()
    with pytest.raises(Forbidden):
        requests.approve_request(acting_user=emmy, request_id=request.pk)
    for decide, extra in ((requests.reject_request, {"comment": "no"}), (requests.replan_request, {})):
        with pytest.raises(Forbidden):
            decide(acting_user=emmy, request_id=request.pk, **extra)
    assert books() == before


def test_strangers_do_not_see_a_request(world: World, optics: Project, emmy: User, sofia: User) -> None:
    request = submit(emmy)
    before = books()
    for decide, extra in (
        (requests.approve_request, {}),
        (requests.reject_request, {"comment": "no"}),
        (requests.withdraw_request, {}),
        (requests.replan_request, {}),
    ):
        with pytest.raises(NotFound):
            decide(acting_user=sofia, request_id=request.pk, **extra)
        with pytest.raises(NotFound):
            decide(acting_user=sofia, request_id=10**12, **extra)
    assert books() == before


def test_an_administrator_may_approve_their_own(world: World, optics: Project, admin: User) -> None:
    request = submit(admin)
    assert requests.approve_request(acting_user=admin, request_id=request.pk).state == "running"


def test_another_plan_than_the_one_that_was_read(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    before = books()
    with pytest.raises(Conflict, match="plan has changed"):
        requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash="0" * 64)
    assert books() == before
    requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=request.plan_hash)


def _lower_quota(world: World, optics: Project, request: Request) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_machines=1)


def _disable_host(world: World, optics: Project, request: Request) -> None:
    Host.objects.filter(pk=request.platform.host_id).update(enabled=False)


def _replace_image(world: World, optics: Project, request: Request) -> None:
    world.images.versions["www"] = 7


def _change_owners(world: World, optics: Project, request: Request) -> None:
    ProjectOwner.objects.create(project=optics, uid="alan")


@pytest.mark.parametrize(
    ("change", "why", "plannable"),
    [
        (_lower_quota, "1 machines missing", False),
        (_disable_host, "no longer takes platforms", True),
        (_replace_image, "image of www has been replaced", True),
        (_change_owners, "owners of the project have changed", True),
    ],
)
def test_a_plan_that_no_longer_fits(
    change: Any, why: str, plannable: bool, world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    change(world, optics, request)
    before = books()
    with pytest.raises(Conflict, match=why):
        requests.approve_request(acting_user=admin, request_id=request.pk)
    assert books() == before
    if not plannable:
        with pytest.raises(InvalidInput):
            requests.replan_request(acting_user=admin, request_id=request.pk)
        assert books() == before
        return
    again = requests.replan_request(acting_user=admin, request_id=request.pk)
    assert again.plan_hash != request.plan_hash
    assert again.platform.plan.hash == again.plan_hash
    assert str(again.platform.uuid) == str(request.platform.uuid)
    assert world.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk).state == "done"


def test_a_plan_for_an_image_that_was_not_built_yet(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    world.images.unbuilt.add("www")
    before = books()
    with pytest.raises(Conflict, match="has not been built on this site yet"):
        requests.approve_request(acting_user=admin, request_id=request.pk)
    assert books() == before
    world.images.unbuilt.clear()
    assert world.finish(requests.approve_request(acting_user=admin, request_id=request.pk).pk).state == "done"


def test_rejection_gives_everything_back(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    for comment in ("", "  ", "x" * 4001):
        with pytest.raises(InvalidInput) as error:
            requests.reject_request(acting_user=admin, request_id=request.pk, comment=comment)
        assert set(error.value.errors) == {"comment"}
    requests.reject_request(acting_user=admin, request_id=request.pk, comment="Use the common site.")

    request.refresh_from_db()
    assert (request.state, request.comment, request.decided_by) == ("rejected", "Use the common site.", admin)
    assert Platform.objects.get().state == "declined"
    assert world.audit("alpha") == []
    assert quota.used(optics).platforms == 0


def test_withdrawing_gives_everything_back(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    requests.withdraw_request(acting_user=emmy, request_id=request.pk)

    request.refresh_from_db()
    assert request.state == "withdrawn"
    assert world.audit("alpha") == []
    with pytest.raises(Conflict):
        requests.approve_request(acting_user=admin, request_id=request.pk)
    assert not Run.objects.exists()


def test_members_do_not_see_requests(world: World, optics: Project, emmy: User, admin: User) -> None:
    platform = ready_platform(world, emmy, admin)
    platform.memberships.create(uid="alan", name="Alan Turing", settled=True)
    with pytest.raises(NotFound):
        requests.withdraw_request(acting_user=make_user("alan"), request_id=platform.request.pk)


def test_who_did_what_is_kept(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    requests.approve_request(acting_user=admin, request_id=request.pk, comment="Welcome")
    trail = list(AuditEvent.objects.order_by("id").values_list("actor", "verb", "subject"))
    assert trail == [
        ("emmy", "request.submit", "alpha"),
        ("ada", "request.approved", "alpha"),
        ("ada", "run.create", "alpha"),
    ]


def test_a_choice_and_its_price_before_asking(world: World, optics: Project, emmy: User, sofia: User) -> None:
    seen = requests.preview(acting_user=emmy, project_slug="optics", services=["svn", "web"])
    assert (seen.cost.machines, seen.cost.platforms) == (2, 1)
    assert requests.preview(acting_user=emmy, project_slug="optics", services=[]).cost.machines == 0
    with pytest.raises(InvalidInput):
        requests.preview(acting_user=emmy, project_slug="optics", services=["forum"])
    with pytest.raises(NotFound):
        requests.preview(acting_user=sofia, project_slug="optics", services=["web"])
