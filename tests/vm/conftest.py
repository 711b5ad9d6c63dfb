"""One platform with the services that members use by programs of their own: wiki, Git, calendars."""

from __future__ import annotations

import pytest

from deploy.client import Lab, wait_for
from tests.lab_world import Made, World

BRICKS = ("wiki", "git", "agenda")


@pytest.fixture(scope="session")
def bricks(world: World) -> Made:
    """The platform, its wiki in French."""
    world.ask("bricks", *BRICKS, options={"wiki": {"language": "fr"}})
    return world.ready("bricks")


@pytest.fixture
def member(lab: Lab, bricks: Made) -> str:
    """The uid of somebody who is a member of it, and no owner."""
    uid = lab.accounts["member"].uid
    # The directory locks who was given five wrong passwords, and only a real login makes it forget them: one that
    # Apache still remembers (LDAPCacheTTL) never reaches it.
    lab.api("member")
    bricks.owner("PUT", f"/platforms/bricks/members/{uid}")
    for service in BRICKS:
        url = bricks.url(service)
        wait_for(lambda url=url: lab.get(url, "member").status_code < 400, 30, f"{url} to let {uid} in")
    return uid
