"""People, projects, hosts and platforms for tests, made through the use cases wherever there is one."""

from __future__ import annotations

from typing import Any

from placo.platforms.models import Host, Platform, Project, ProjectOwner, Request, Run, User
from placo.services import accounts, requests
from tests.fakes import World


def make_user(uid: str, *, administrator: bool = False, name: str = "") -> User:
    """Somebody who has logged in once."""
    user, _made = User.objects.get_or_create(username=uid, defaults={"is_administrator": administrator})
    if name:
        user.last_name = name
        user.save(update_fields=["last_name"])
    return user


def make_project(slug: str, *owners: User, **limits: Any) -> Project:
    """A project with plenty of quota, unless `limits` (columns of Project) say otherwise."""
    plenty = {
        "quota_platforms": 4,
        "quota_machines": 8,
        "quota_vcpus": 8,
        "quota_memory_mib": 8192,
        "quota_disk_gib": 100,
        "max_days": 365,
    }
    project = Project.objects.create(slug=slug, title=slug.title(), **{**plenty, **limits})
    for owner in owners:
        ProjectOwner.objects.create(project=project, uid=owner.username)
    return project


def make_hosts(*names: str) -> list[Host]:
    """Hosts of the fake kind; `World` has h1 and h2."""
    return [
        Host.objects.create(
            name=name,
            uri=f"fake://{name}",
            hypervisor="kvm",
            storage_pool="placo",
            domain_type="qemu",
            reachable=True,
        )
        for name in names or ("h1", "h2")
    ]


def wish(**changes: Any) -> dict[str, Any]:
    """A sound request for web + svn as keyword arguments of `submit_request`, but for `acting_user`."""
    sound = {
        "project_slug": "optics",
        "slug": "alpha",
        "services": ["web", "svn"],
        "days": 90,
        "justification": "Workshop on wave equations",
    }
    return {**sound, **changes}


def submit(user: User, **changes: Any) -> Request:
    """Ask for a platform."""
    return requests.submit_request(acting_user=user, **wish(**changes))


def approve(user: User, admin: User, **changes: Any) -> Run:
    """Ask for a platform and approve it; nothing has been made yet."""
    return requests.approve_request(acting_user=admin, request_id=submit(user, **changes).pk)


def ready_platform(world: World, user: User, admin: User, **changes: Any) -> Platform:
    """A platform that is ready, on the fakes."""
    run = world.finish(approve(user, admin, **changes).pk)
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    return Platform.objects.get(pk=run.platform_id)


def bearer(user: User) -> dict[str, str]:
    """Headers of a call of the API in somebody's name."""
    return {"Authorization": f"Bearer {accounts.issue_token(acting_user=user)}"}
