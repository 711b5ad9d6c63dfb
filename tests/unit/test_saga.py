"""Which steps are due, in which order, going forward and back: for every graph, not for one example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placo.domain import saga
from placo.domain.lifecycle import RunKind, RunState, StepState
from placo.domain.saga import StepSpec, Verb

IMAGES = {"www": "placo-www-1", "svn": "placo-svn-1"}


def by_id(steps: tuple[StepSpec, ...]) -> dict[str, StepSpec]:
    return {step.id: step for step in steps}


def order_of(steps: tuple[StepSpec, ...]) -> list[str]:
    """Do steps one at a time until the run is done; the order in which they were due."""
    specs, done = by_id(steps), []
    states = dict.fromkeys(specs, StepState.PENDING)
    while turn := saga.due(RunState.RUNNING, specs, states):
        done.append(turn[0])
        states[turn[0]] = StepState.DONE
    assert saga.outcome(RunState.RUNNING, states) is RunState.DONE
    return done


@given(st.lists(st.sampled_from(["www", "svn", "mail", "wiki", "lists"]), unique=True, min_size=1))
def test_every_graph_can_be_done_and_needs_come_first(machines: list[str]) -> None:
    images = {name: f"image-{len(name)}" for name in machines}  # some machines share an image
    for steps in (
        saga.create_steps(images),
        saga.retire_steps(images),
        saga.power_steps(RunKind.RESTART, machines),
        saga.power_steps(RunKind.STOP, machines),
        saga.power_steps(RunKind.START, machines),
    ):
        assert len(by_id(steps)) == len(steps)
        done = order_of(steps)
        assert sorted(done) == sorted(by_id(steps))
        for step in steps:
            assert all(done.index(need) < done.index(step.id) for need in step.needs)


def test_a_machine_is_defined_before_it_is_started_and_probed() -> None:
    done = order_of(saga.create_steps(IMAGES))
    for name in IMAGES:
        chain = [
            "network",
            f"seed:{name}",
            f"domain:{name}",
            f"power:{name}",
            "edge",
            f"health:{name}",
            f"seed-release:{name}",
        ]
        assert [step for step in done if step in chain] == sorted(chain, key=done.index)
        assert [done.index(step) for step in chain] == sorted(done.index(step) for step in chain)


def test_retirement_is_creation_in_reverse() -> None:
    nothing_left = ("image", "way", "personalise", "health", "seed-release")
    made = [s for s in saga.create_steps(IMAGES) if s.action not in nothing_left]
    gone = saga.retire_steps(IMAGES)
    assert {s.id for s in gone} == {s.id for s in made}
    assert {s.verb for s in gone} == {Verb.REMOVE}
    order = order_of(gone)
    for step in made:
        for need in step.needs:
            if need in order:
                assert order.index(step.id) < order.index(need)


def test_images_are_shared_and_stay() -> None:
    assert not [s for s in saga.retire_steps(IMAGES) if s.action == "image"]
    same = saga.create_steps({"a": "one", "b": "one"})
    assert [s.id for s in same if s.action == "image"] == ["image:one"]


def test_independent_machines_are_due_together() -> None:
    steps = saga.create_steps(IMAGES)
    states = dict.fromkeys(by_id(steps), StepState.PENDING)
    states |= dict.fromkeys((s.id for s in steps if s.action in ("image", "way")), StepState.DONE)
    due = saga.due(RunState.RUNNING, by_id(steps), states)
    assert {"network", "directory", "data-volume:www", "data-volume:svn", "system-disk:www"} <= set(due)


def test_what_is_done_again_the_other_way_depends_on_nothing_that_is_not() -> None:
    """Between two steps of a machine's way there is none that would keep what the first one made of it."""
    specs = by_id(saga.create_steps(IMAGES))
    for step in specs.values():
        if step.action in saga.WAY_ACTIONS or step.action in ("health", "seed-release"):
            continue
        assert not [need for need in step.needs if specs[need].action in saga.WAY_ACTIONS], step.id


def test_a_machine_is_resumed_after_all_that_it_needs() -> None:
    done = order_of(saga.create_steps(IMAGES))
    for name, image in IMAGES.items():
        for first, then in (
            (f"image:{image}", f"way:{name}"),
            (f"way:{name}", f"system-disk:{name}"),
            (f"system-disk:{name}", f"memory:{name}"),
            (f"memory:{name}", f"power:{name}"),
            (f"domain:{name}", f"power:{name}"),
            ("network", f"power:{name}"),
            (f"account:{name}", f"personalise:{name}"),
            (f"power:{name}", f"personalise:{name}"),
            (f"personalise:{name}", f"health:{name}"),
        ):
            assert done.index(first) < done.index(then), (first, then)


@given(st.data())
def test_unwinding_undoes_what_was_touched_last_first(data: st.DataObject) -> None:
    specs = by_id(saga.create_steps(IMAGES))
    states = dict.fromkeys(specs, StepState.PENDING)
    touched: list[str] = []
    for _step in range(data.draw(st.integers(0, len(specs)))):
        name = data.draw(st.sampled_from(saga.due(RunState.RUNNING, specs, states)))
        states[name] = StepState.DONE
        touched.append(name)
    states = saga.start_of_unwinding(states, touched)
    undone: list[str] = []
    while turn := saga.due(RunState.UNWINDING, specs, states):
        undone.append(turn[0])
        states[turn[0]] = StepState.UNDONE

    assert sorted(undone) == sorted(touched)
    assert saga.outcome(RunState.UNWINDING, states) is RunState.UNDONE
    for name in touched:
        for need in specs[name].needs:
            assert undone.index(name) < undone.index(need)


def test_a_failed_step_blocks_only_what_needs_it() -> None:
    specs = by_id(saga.create_steps(IMAGES))
    states = dict.fromkeys(specs, StepState.PENDING) | {
        "account:www": StepState.FAILED,
        "directory": StepState.DONE,
    }
    assert saga.outcome(RunState.RUNNING, states) is RunState.STUCK
    due = saga.due(RunState.STUCK, specs, states)
    assert "account:svn" in due
    assert "seed:www" not in due


def test_a_skipped_step_counts_as_done() -> None:
    specs = by_id(saga.member_steps("alan"))
    assert saga.outcome(RunState.STUCK, dict.fromkeys(specs, StepState.SKIPPED)) is RunState.DONE


@pytest.mark.parametrize("state", [RunState.DONE, RunState.UNDONE])
def test_nothing_is_due_of_a_run_that_has_ended(state: RunState) -> None:
    specs = by_id(saga.create_steps(IMAGES))
    states = dict.fromkeys(specs, StepState.PENDING)
    assert saga.due(state, specs, states) == []
    assert saga.outcome(state, states) is state


def test_waits_grow_and_stay_bounded() -> None:
    waits = [saga.backoff(attempt) for attempt in range(1, 12)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits == sorted(waits)
    assert max(waits) == 30


def test_every_action_has_a_policy() -> None:
    for step in saga.create_steps(IMAGES) + saga.member_steps("alan"):
        policy = saga.policy(step.action)
        assert policy.lease > 0
        assert policy.attempts > 1
