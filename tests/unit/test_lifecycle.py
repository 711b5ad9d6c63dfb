"""The states of a platform: closed, reachable, and with a way out."""

from __future__ import annotations

from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, TRANSITIONS, PlatformState, RunKind, RunState
from placo.domain.quota import RESOURCES, Cost


def reachable() -> set[PlatformState]:
    """Every state that runs lead to from a request."""
    found = {PlatformState.REQUESTED}
    while True:
        more = set(found)
        for transition in TRANSITIONS.values():
            if transition.sources & found:
                more |= {transition.during, transition.done, transition.undone}
        if more == found:
            return found
        found = more


def test_every_state_can_be_reached() -> None:
    assert reachable() | {PlatformState.DECLINED} == set(PlatformState)


def test_every_kind_of_life_cycle_run_has_a_transition() -> None:
    """A repair leaves its platform in the state that it has, and members are no part of it."""
    assert set(TRANSITIONS) == set(RunKind) - {RunKind.MEMBER, RunKind.REPAIR}


def test_what_has_ended_stays_so() -> None:
    for transition in TRANSITIONS.values():
        assert not transition.sources & ENDED


def test_what_is_under_way_is_left_alone() -> None:
    during = {transition.during for transition in TRANSITIONS.values()}
    for transition in TRANSITIONS.values():
        assert not transition.sources & during


def test_runs_end_or_are_active() -> None:
    assert set(RunState) - ACTIVE_RUNS == {RunState.DONE, RunState.UNDONE}


def test_costs_add_up() -> None:
    one, two = Cost(1, 2, 3, 4, 5), Cost(1, 1, 1, 1, 1)
    assert one + two == Cost(2, 3, 4, 5, 6)
    assert one - two == Cost(0, 1, 2, 3, 4)
    assert RESOURCES == ("platforms", "machines", "vcpus", "memory_mib", "disk_gib")


def test_what_is_missing() -> None:
    free = Cost(1, 2, 3, 400, 50)
    assert free.shortages(Cost(1, 2, 3, 400, 50)) == {}
    assert free.shortages(Cost(2, 2, 3, 500, 50)) == {"platforms": 1, "memory_mib": 100}
    assert Cost(machines=-2).shortages(Cost(machines=1)) == {
        "machines": 1
    }  # over quota already: all of it is missing
    assert Cost(machines=-2).shortages(Cost()) == {}
