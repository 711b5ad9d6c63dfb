"""Addresses that owners choose: what is taken and what is not."""

from __future__ import annotations

import pytest

from placo.domain import aliases
from placo.domain.aliases import AliasError
from placo.domain.catalogue import Option, OptionError, OptionType
from placo.domain.catalogue_model import Text


def test_names_lead_to_people_groups_and_other_names() -> None:
    wanted = aliases.parse(" contact = ada, emmy ;seminar=members; all=contact,owners;; ")
    assert wanted == {"contact": ("ada", "emmy"), "seminar": ("members",), "all": ("contact", "owners")}
    assert aliases.people(wanted) == {"ada", "emmy"}
    assert aliases.parse("") == aliases.parse(" ; ") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("contact", "syntax"),
        ("contact:ada", "syntax"),
        ("contact=ada=emmy", "syntax"),
        ("=ada", "name"),
        ("contact=", "name"),
        ("contact=ada,,emmy", "name"),
        ("Contact=ada", "name"),
        ("con tact=ada", "name"),
        ("c..t=ada", "name"),
        (".c=ada", "name"),
        ("c@elsewhere.example.org=ada", "name"),
        ("contact=ada@elsewhere.example.org", "name"),
        ("contact=|/bin/sh", "name"),
        ("contact=/etc/passwd", "name"),
        ('"contact"=ada', "name"),
        ("c+x=ada", "name"),
        ("-c=ada", "name"),
        ("été=ada", "name"),
        ("c\u200b=ada", "name"),
        (f"{'c' * 65}=ada", "name"),
        ("postmaster=ada", "reserved"),
        ("abuse=ada", "reserved"),
        ("members=ada", "reserved"),
        ("owners=ada", "reserved"),
        ("g-marie=ada", "reserved"),
        ("contact=ada;contact=emmy", "twice"),
        ("contact=contact", "loop"),
        ("a=b;b=c;c=a", "loop"),
        ("a=ada,b;b=emmy,a", "loop"),
        (";".join(f"n{i}=ada" for i in range(51)), "many"),
        ("contact=" + ",".join(f"p{i}" for i in range(51)), "many"),
    ],
)
def test_what_cannot_be_used_is_told(text: str, problem: str) -> None:
    with pytest.raises(AliasError) as refused:
        aliases.parse(text)
    assert refused.value.problem == problem


def test_names_that_many_ways_lead_to_are_no_loop_and_take_no_time() -> None:
    chain = ";".join(f"n{i}=n{i + 1},m{i + 1};m{i}=n{i + 1},m{i + 1}" for i in range(24)) + ";n24=ada;m24=ada"
    assert len(aliases.parse(chain)) == 50


def test_an_option_of_this_type_says_what_is_wrong_in_both_languages() -> None:
    option = Option("aliases", OptionType.ALIASES, Text("x", "x"), "", maximum=100)
    assert option.check("contact=ada") == "contact=ada"
    for bad in ("a=b;b=a", "postmaster=ada", "x" * 101, 3, "a=b\nb=c"):
        with pytest.raises(OptionError) as refused:
            option.check(bad)
        assert refused.value.text.en and refused.value.text.fr
