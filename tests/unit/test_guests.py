"""What guests are called, and when their accounts end."""

from __future__ import annotations

from datetime import date

import pytest

from placo.domain import guests

TODAY, TOMORROW, LATER = date(2027, 3, 1), date(2027, 3, 2), date(2027, 9, 1)


@pytest.mark.parametrize("name", ["marie", "marie.curie", "m-curie", "mc2", "a" * guests.NAME_MAX])
def test_a_sound_name(name: str) -> None:
    assert guests.name_problem(name) == ""
    assert len(guests.uid_of(name)) <= 32


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("ab", "too-short"),
        ("a" * 29, "too-long"),
        ("Marie", "characters"),
        ("marié", "characters"),
        ("mаrie", "characters"),  # a Cyrillic a
        ("1marie", "characters"),
        ("marie.", "characters"),
        (".marie", "characters"),
        ("marie..curie", "characters"),
        ("marie curie", "characters"),
        ("marie\n", "characters"),
        ("marie\x00", "characters"),
        ("m*", "characters"),
        ("marie,ou=people", "characters"),
        ("root", "reserved"),
        ("r00t", "reserved"),
        ("adm1n", "reserved"),
        ("post.master", "reserved"),
        ("www-data", "reserved"),
    ],
)
def test_a_name_that_cannot_be(name: str, problem: str) -> None:
    assert guests.name_problem(name) == problem


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("marie", "rnarie"),
        ("mario", "mari0"),
        ("paul", "pau1"),
        ("paul", "paui"),
        ("m.curie", "mcurie"),
        ("m-curie", "m.curie"),
        ("wanda", "vvanda"),
        ("g-marie", "marie"),
    ],
)
def test_names_that_look_the_same(one: str, other: str) -> None:
    assert guests.skeleton(one) == guests.skeleton(other)


def test_names_that_look_different() -> None:
    names = ["marie", "maria", "mario", "paul", "pauline", "peter", "emmy", "sofia"]
    assert len({guests.skeleton(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["Marie Curie", "Élodie N'Guessan", "李小龍", "Jean-Paul de l’Isle", "O"])
def test_names_that_are_shown(name: str) -> None:
    assert guests.shown_name_problem(guests.shown_name(f"  {name}\n")) == ""


@pytest.mark.parametrize(
    "name",
    ["", " ", "123", "a\u202eb", "a\u200bb", "a\x00b", "Marie <a@b.test>", "a\ud800", "x" * 101],
)
def test_names_that_are_not(name: str) -> None:
    assert guests.shown_name_problem(guests.shown_name(name))


def test_an_account_ends_with_the_last_thing_that_it_is_for() -> None:
    assert guests.ends_on([], [], TODAY) == TODAY
    assert guests.ends_on([LATER, TOMORROW], [], TODAY) == LATER
    assert guests.ends_on([LATER, None], [], TODAY) is None
    assert guests.ends_on([], [TODAY], TODAY) == TOMORROW
    assert guests.ends_on([TODAY], [TOMORROW], TODAY) == date(2027, 3, 3)
    assert guests.earlier(None, None) is None
    assert guests.earlier(LATER, None, TOMORROW) == TOMORROW
