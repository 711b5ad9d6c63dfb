"""The calendar of a platform's end: for every length, renewal and portal that looks or does not look."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placo.domain import expiry
from placo.domain.expiry import Duty, Rules, Term

FIRST = date(2027, 1, 1)
RULES = Rules()


def after(days: int) -> date:
    return FIRST + timedelta(days=days)


def reminded(length: int, looks: list[int], rules: Rules = RULES) -> dict[int, int]:
    """Day of the term -> the reminder given on it, if somebody looks on these days."""
    term, given, found = Term(FIRST, after(length)), set[int](), {}
    for day in looks:
        due = expiry.reminder(term, rules, given, after(day))
        if due is not None:
            found[day] = due
            given.add(due)
    return found


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (365, {335: 30, 358: 7, 364: 1}),
        (31, {1: 30, 24: 7, 30: 1}),
        (30, {23: 7, 29: 1}),
        (8, {1: 7, 7: 1}),
        (7, {6: 1}),
        (5, {4: 1}),
        (2, {1: 1}),
        (1, {}),
    ],
)
def test_each_reminder_on_its_day_and_only_what_makes_sense(length: int, expected: dict[int, int]) -> None:
    assert reminded(length, list(range(length + 40))) == expected


def test_who_was_away_says_one_thing_not_three() -> None:
    assert reminded(90, [10, 86]) == {86: 7}
    assert reminded(90, [10, 89]) == {89: 1}
    assert reminded(90, [10, 90, 91]) == {}


def test_other_reminders() -> None:
    assert reminded(90, list(range(90)), Rules(reminders=(3, 14))) == {76: 14, 87: 3}
    assert reminded(90, list(range(90)), Rules(reminders=())) == {}


def test_other_rules_in_the_middle_do_not_take_a_reminder_back() -> None:
    term = Term(FIRST, after(90))
    assert expiry.reminder(term, Rules(reminders=(7,)), {5}, after(86)) is None
    assert expiry.reminder(term, Rules(reminders=(3, 7)), {5}, after(87)) == 3


def test_the_end_day_by_day() -> None:
    term = Term(FIRST, after(90))
    assert expiry.duty(term, still=False, today=after(89)) is None
    assert expiry.duty(term, still=True, today=after(89)) is None
    assert expiry.duty(term, still=False, today=after(90)) is Duty.STOP
    assert expiry.duty(term, still=True, today=after(95)) is Duty.KEEP
    promised = replace(term, removed_on=after(125))
    assert expiry.duty(promised, still=True, today=after(124)) is None
    assert expiry.duty(promised, still=True, today=after(125)) is Duty.RETIRE
    assert expiry.duty(promised, still=False, today=after(125)) is Duty.STOP, "never while it runs"
    assert term.removal(RULES, after(10)) == after(120)
    assert term.removal(RULES, after(95)) == after(125)
    assert promised.removal(RULES, after(95)) == after(125)


@pytest.mark.parametrize(
    ("today", "days", "max_days", "expected"),
    [
        (59, 90, 365, None),  # too early
        (60, 90, 365, 180),
        (89, 90, 365, 180),
        (90, 90, 365, 180),
        (100, 90, 365, 190),  # in the grace period: from today
        (80, 90, 60, 140),  # at most so many days from today
        (80, 90, 10, None),  # that would be no more than there is
        (80, 90, 11, 91),
    ],
)
def test_what_a_renewal_gives(today: int, days: int, max_days: int, expected: int | None) -> None:
    found = expiry.renewed(Term(FIRST, after(90)), RULES, days=days, max_days=max_days, today=after(today))
    assert found == (None if expected is None else after(expected))


@dataclass
class Life:
    """A platform, as the service treats one: it asks the calendar, and writes down what it did."""

    rules: Rules
    days: int
    max_days: int
    term: Term
    today: date
    running: bool = True
    retired: bool = False
    stopped_on: date | None = None
    given: dict[date, set[int]] = field(default_factory=dict)
    told: list[tuple[date, date, int]] = field(default_factory=list)

    def tick(self, *, can_stop: bool) -> None:
        given = self.given.setdefault(self.term.ends_on, set())
        due = expiry.reminder(self.term, self.rules, given, self.today)
        if due is not None:
            given.add(due)
            self.told.append((self.today, self.term.ends_on, due))
        what = expiry.duty(self.term, still=not self.running, today=self.today)
        if what is Duty.STOP:
            self.term = replace(self.term, removed_on=None)
            if can_stop:
                assert self.today >= self.term.ends_on
                self.running, self.stopped_on = False, self.today
        elif what is Duty.KEEP:
            self.term = replace(self.term, removed_on=self.term.removal(self.rules, self.today))
        elif what is Duty.RETIRE:
            self.retired = True
            assert self.today >= self.term.ends_on
            assert self.stopped_on is not None
            assert (self.today - max(self.stopped_on, self.term.ends_on)).days >= self.rules.grace

    def renew(self) -> None:
        end = expiry.renewed(self.term, self.rules, days=self.days, max_days=self.max_days, today=self.today)
        if end is not None:
            assert end > self.term.ends_on
            assert end > self.today
            assert (end - self.today).days <= self.max_days
            self.term = Term(self.today, end)
            self.running, self.stopped_on = True, None

    def owner_stops(self) -> None:
        if self.running:
            self.running, self.stopped_on = False, self.today


LOOK, RENEW, OWNER, BLIND = "look", "renew", "owner stops", "look, but the host is down"
STEPS = st.tuples(st.integers(0, 50), st.sampled_from([LOOK, LOOK, LOOK, BLIND, RENEW, OWNER]))


@given(
    start=st.dates(date(2020, 1, 1), date(2090, 1, 1)),
    days=st.integers(1, 400),
    spare=st.integers(0, 400),
    reminders=st.one_of(
        st.just((30, 7, 1)), st.lists(st.integers(1, 60), unique=True, max_size=5).map(tuple)
    ),
    grace=st.integers(1, 60),
    steps=st.lists(STEPS, max_size=60),
)
def test_no_life_goes_wrong(
    start: date,
    days: int,
    spare: int,
    reminders: tuple[int, ...],
    grace: int,
    steps: list[tuple[int, str]],
) -> None:
    rules = Rules(reminders=reminders, grace=grace)
    life = Life(rules, days, days + spare, Term(start, start + timedelta(days=days)), start)
    renewed_at: date | None = None
    for pause, act in steps:
        if life.retired:
            break
        life.today += timedelta(days=pause)
        if act == RENEW:
            before = life.term.ends_on
            life.renew()
            renewed_at = life.today if life.term.ends_on != before else renewed_at
        elif act == OWNER:
            life.owner_stops()
        else:
            life.tick(can_stop=act == LOOK)
        assert not (life.retired and renewed_at is not None and life.today < life.term.ends_on)
    assert len({(end, due) for _day, end, due in life.told}) == len(life.told), "none twice"
    for day, end, due in life.told:
        assert day < end, "none after the end"
        assert (end - day).days <= due, "none before its day"
    for end in {end for _day, end, _due in life.told}:
        order = [due for _day, of, due in life.told if of == end]
        assert order == sorted(order, reverse=True), "none goes back"
        assert len({day for day, of, _due in life.told if of == end}) == len(order), "one a day at most"


@given(days=st.integers(1, 400), looks=st.lists(st.integers(0, 450)))
def test_looking_often_is_looking_once(days: int, looks: list[int]) -> None:
    looks = sorted(looks)
    twice = [day for day in looks for _again in range(2)]
    assert reminded(days, looks) == reminded(days, twice)
