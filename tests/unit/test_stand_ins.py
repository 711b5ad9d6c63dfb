"""Names that nobody has."""

from __future__ import annotations

import pytest

from placo.domain import guests, stand_ins
from placo.domain.slugs import slug_problem
from placo.domain.stand_ins import Role


@pytest.mark.parametrize("role", Role)
def test_no_person_can_have_the_name_of_a_stand_in(role: Role) -> None:
    uid = stand_ins.uid_of(2**31, role)
    assert stand_ins.is_stand_in(uid) and stand_ins.is_stand_in(uid.upper())
    assert guests.name_problem(uid.removeprefix(guests.MARK)) == "characters"
    assert len(uid) <= 32


def test_no_platform_can_have_the_name_of_a_stand_in() -> None:
    slug = stand_ins.slug_of(17)
    assert stand_ins.is_stand_in_slug(slug)
    assert slug_problem(slug) == "characters"


@pytest.mark.parametrize("name", ["g-marie", "marie", "g-o-17-member", "0-17"])
def test_people_are_no_stand_ins(name: str) -> None:
    assert not stand_ins.is_stand_in(name)
    assert stand_ins.platform_of(name) is None


@pytest.mark.parametrize(
    "name, platform",
    [("g-0-17-member", 17), ("stand--17", 17), ("G-0-3-OWNER", 3), ("g-0-x-member", None), ("g-0-²", None)],
)
def test_whose_they_are_is_in_their_names(name: str, platform: int | None) -> None:
    assert stand_ins.platform_of(name) == platform
