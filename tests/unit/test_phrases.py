"""How machines come up, in words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.utils import translation

from placo.domain.lifecycle import TRANSITIONS, PlatformState, RunKind, RunState
from placo.domain.saga import StepSpec, change_steps, create_steps, power_steps
from placo.platforms.models import Machine, Platform, Run, Template
from placo.web import phrases, step_words

REASONS = (
    Template.MAKING,
    Template.BROKEN,
    Template.FAILED,
    Template.IMPOSSIBLE,
    Template.OFF,
    Template.MEMORY,
    Template.FELL_BACK,
)
POWERED = ("start", "stop", "restart", "suspend", "resume")
WARM, COLD = {"www": Machine.WARM}, {"www": Machine.COLD}


@dataclass
class FakeStep:
    """What the words need of a step."""

    action: str
    target: str = "www"
    state: str = "done"
    verb: str = "ensure"


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("code", REASONS)
def test_every_reason_has_words_in_both_languages(code: str, language: str) -> None:
    with translation.override("en"):
        english = phrases.way_reason(code)
    with translation.override(language):
        words = phrases.way_reason(code)
    assert words != code
    assert len(words.split()) > 4
    assert (words == english) == (language == "en")


@pytest.mark.parametrize(
    ("way", "reason", "took", "words"),
    [
        ("", "", None, ""),
        ("warm", "", None, "from a template"),
        ("warm", "", 2.3, "resumed from a template in 2.3 s"),
        ("cold", "making", None, "boots: the template of its image was being made"),
        ("cold", "making", 21.0, "booted in 21.0 s: the template of its image was being made"),
        ("cold", "", 21.0, "booted in 21.0 s"),
        ("cold", "new-code", 21.0, "booted in 21.0 s: new-code"),
    ],
)
def test_a_machine_says_how_it_came_up(way: str, reason: str, took: float | None, words: str) -> None:
    machine = Machine(way=way, way_reason=reason, took_s=took)
    with translation.override("en"):
        assert phrases.way(machine, f"{took} s") == words


def test_a_machine_that_is_not_there_yet_says_nothing() -> None:
    assert phrases.way(None, "") == ""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("warm", "from a template"),
        ("cold", "boots"),
        ("cold: making", "boots: the template of its image was being made"),
        ("cold: failed h1: no room", "boots: the template of its image could not be made"),
        ("answers 200 OK", "answers 200 OK"),
        ("colder: x", "colder: x"),
    ],
)
def test_messages_of_the_engine_are_put_in_words(message: str, words: str) -> None:
    with translation.override("en"):
        assert step_words.message(message) == words


def test_every_step_of_a_creation_has_words() -> None:
    assert {step.action for step in create_steps({"www": "placo-www-1"})} <= set(step_words.STEPS)


CHANGE = change_steps(
    added={"svn": "placo-svn-1"},
    removed=["wiki"],
    resized=["www"],
    grown=["www"],
    told=["www"],
    routes=True,
    end=True,
)
POWER = [step for kind in TRANSITIONS if kind.value in POWERED for step in power_steps(kind, ["www"])]


@pytest.mark.parametrize("spec", [*CHANGE, *POWER], ids=lambda spec: spec.id)
def test_every_step_of_a_change_and_of_power_has_words_both_ways(spec: StepSpec) -> None:
    assert spec.action in step_words.STEPS
    with translation.override("en"):
        there, back = (
            step_words.sentence(FakeStep(spec.action, spec.target or "x", state, spec.verb.value), {})
            for state in ("running", "undoing")
        )
    assert there
    assert back
    assert there != back


def test_what_is_changed_is_not_called_made() -> None:
    with translation.override("en"):
        network = FakeStep("network", "", "running", "change")
        assert step_words.sentence(network, {}) == "Fitting the network to the machines"
        network.state = "undoing"
        assert step_words.sentence(network, {}) == "Bringing the network back to how it was"
        assert step_words.step_word(FakeStep("start", verb="remove"), {}) == "stop"
        assert step_words.step_word(FakeStep("start"), {}) == "start"


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("state", [state.value for state in RunState])
@pytest.mark.parametrize("kind", [kind.value for kind in RunKind])
def test_every_run_has_a_title(kind: str, state: str, language: str) -> None:
    run = Run(kind=kind, state=state, platform=Platform(slug="alpha"))
    with translation.override("en"):
        english = phrases.run_title(run)
    with translation.override(language):
        title = phrases.run_title(run)
    assert "alpha" in title
    assert (title == english) == (language == "en")


def test_every_state_of_a_platform_has_a_look() -> None:
    assert {state.value for state in PlatformState} <= set(phrases.LOOKS)


def test_steps_read_in_the_way_of_their_machine() -> None:
    with translation.override("en"):
        power = FakeStep("power")
        assert step_words.sentence(power, WARM) == "Resuming www from its template"
        assert step_words.sentence(power, COLD) == "Switching www on"
        assert step_words.sentence(power, {}) == "Switching www on"
        assert step_words.step_word(power, WARM) != step_words.step_word(power, COLD)
        undone = FakeStep("power", state="undoing")
        assert step_words.sentence(undone, WARM) == "Switching www off"


def test_steps_without_anything_to_do_are_known() -> None:
    actions = ("way", "system-disk", "seed", "memory", "power", "personalise", "health", "seed-release")
    for ways, expected in ((WARM, {"seed", "seed-release"}), (COLD, {"memory", "personalise"}), ({}, set())):
        assert {a for a in actions if step_words.needless(FakeStep(a), ways)} == expected
    assert not step_words.needless(FakeStep("memory", state="undoing"), COLD)
    assert not step_words.needless(FakeStep("memory", state="failed"), COLD)
    assert not step_words.needless(FakeStep("memory", target="svn"), COLD)
