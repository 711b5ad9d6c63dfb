"""The words for states, steps, runs and deeds: one place, so that screens agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as __

from placo.domain.lifecycle import RunKind, RunState
from placo.domain.saga import Verb


@dataclass(frozen=True)
class Look:
    """How a state looks: colour family of Tabler, icon, word, CSS class of the icon."""

    colour: str
    icon: str
    word: object = ""
    css: str = ""


_BUSY = "placo-turn"
LOOKS: dict[str, Look] = {
    # machines
    "planned": Look("secondary", "circle-dashed", __("not there yet")),
    "starting": Look("azure", "loader-2", __("starting"), _BUSY),
    "answering": Look("green", "circle-check", __("answering")),
    "stopping": Look("azure", "loader-2", __("stopping"), _BUSY),
    "stopped": Look("secondary", "player-stop", __("stopped")),
    "silent": Look("red", "alert-triangle", __("not answering")),
    "gone": Look("secondary", "circle-off", __("gone")),
    # platforms and requests
    "requested": Look("yellow", "hourglass", __("requested")),
    "submitted": Look("yellow", "hourglass", __("waiting for a decision")),
    "approved": Look("green", "circle-check", __("approved")),
    "rejected": Look("red", "circle-x", __("rejected")),
    "withdrawn": Look("secondary", "arrow-back-up", __("withdrawn")),
    "declined": Look("secondary", "circle-x", __("declined")),
    "creating": Look("azure", "loader-2", __("being created"), _BUSY),
    "ready": Look("green", "circle-check", __("ready")),
    "restarting": Look("azure", "loader-2", __("restarting"), _BUSY),
    "retiring": Look("orange", "loader-2", __("being retired"), _BUSY),
    "retired": Look("secondary", "archive", __("retired")),
    # runs and steps
    "running": Look("azure", "loader-2", __("under way"), _BUSY),
    "pending": Look("secondary", "circle-dashed", __("to do")),
    "waiting": Look("azure", "hourglass", __("waiting")),
    "done": Look("green", "circle-check", __("done")),
    "failed": Look("red", "alert-triangle", __("failed")),
    "stuck": Look("red", "alert-triangle", __("stuck")),
    "skipped": Look("secondary", "player-skip-forward", __("skipped")),
    "undoing": Look("orange", "arrow-back-up", __("being undone")),
    "unwinding": Look("orange", "arrow-back-up", __("being undone")),
    "undone": Look("secondary", "arrow-back-up", __("undone")),
    # people and hosts
    "member": Look("green", "circle-check", __("member")),
    "adding": Look("azure", "loader-2", __("being added…"), _BUSY),
    "removing": Look("orange", "loader-2", __("being removed…"), _BUSY),
    "reachable": Look("green", "circle-check", __("answers")),
    "unreachable": Look("red", "alert-triangle", __("does not answer")),
    "unknown": Look("secondary", "help-circle", __("not asked yet")),
}

RESOURCES = {
    "platforms": __("Platforms"),
    "machines": __("Machines"),
    "vcpus": __("Processors"),
    "memory_mib": __("Memory"),
    "disk_gib": __("Disk"),
}


def look(state: str) -> Look:
    """How a state looks; a state that nobody thought of still shows its name."""
    return LOOKS.get(state, Look("secondary", "help-circle", state))


@dataclass(frozen=True)
class StepWords:
    """A step in words: its noun, what is being done, what is being undone, what its failure means."""

    noun: object
    doing: object
    undoing: object
    meaning: object


_HOST = __("The host may be busy, full or unreachable.")
_DIRECTORY = __("The directory may be unreachable or may have refused the entry.")
STEPS: dict[str, StepWords] = {
    "network": StepWords(__("network"), __("Making the platform's own network"), __("Removing the network"), _HOST),
    "directory": StepWords(
        __("directory"), __("Making room in the directory"), __("Clearing the directory"), _DIRECTORY
    ),
    "image": StepWords(
        __("image"), __("Bringing the image %(target)s to the host"), __("Letting go of the image"), _HOST
    ),
    "system-disk": StepWords(
        __("disk"), __("Cloning the disk of %(target)s"), __("Deleting the disk of %(target)s"), _HOST
    ),
    "data-volume": StepWords(
        __("data"), __("Making the data volume of %(target)s"), __("Deleting the data of %(target)s"), _HOST
    ),
    "account": StepWords(
        __("account"),
        __("Giving %(target)s an account in the directory"),
        __("Closing the account of %(target)s"),
        _DIRECTORY,
    ),
    "seed": StepWords(
        __("settings"), __("Writing the settings of %(target)s"), __("Removing the settings of %(target)s"), _HOST
    ),
    "domain": StepWords(__("machine"), __("Assembling %(target)s"), __("Taking %(target)s apart"), _HOST),
    "power": StepWords(__("power"), __("Switching %(target)s on"), __("Switching %(target)s off"), _HOST),
    "edge": StepWords(
        __("addresses"),
        __("Opening the public addresses"),
        __("Closing the public addresses"),
        __("The edge may have refused the new addresses or their certificate."),
    ),
    "health": StepWords(
        __("answer"),
        __("Waiting for %(target)s to answer"),
        __("No longer asking %(target)s"),
        __("The machine runs, but its service does not answer as it should."),
    ),
    "seed-release": StepWords(
        __("tidying"),
        __("Destroying the secrets that %(target)s was started with"),
        __("Nothing to do for %(target)s"),
        _HOST,
    ),
    "member": StepWords(
        __("membership"),
        __("Having the directory follow for %(target)s"),
        __("Taking back the change for %(target)s"),
        _DIRECTORY,
    ),
}


def _words(action: str) -> StepWords:
    return STEPS.get(action, StepWords(action, action, action, ""))


def _target(step: Any) -> str:
    """What a step is about, without the hash at the end of an image's name."""
    target = str(step.target)
    return target.removeprefix("placo-").rpartition("-")[0] or target if step.action == "image" else target


def step_word(step: Any) -> str:
    """What a step is about; "off" and "on" where one run does both."""
    if step.action == "power":
        return _("off") if step.verb == Verb.REMOVE.value else _("on")
    if step.action == "image":
        return f"{_words(step.action).noun} {_target(step)}"
    return str(_words(step.action).noun)


def sentence(step: Any) -> str:
    """What is being done while this step is."""
    verb = Verb(step.verb)
    if step.state in ("undoing", "undone"):
        verb = verb.inverse
    words = _words(step.action)
    text = words.doing if verb is Verb.ENSURE else words.undoing
    return str(text) % {"target": _target(step)}


def meaning(step: Any) -> str:
    """What it means that this step failed, for somebody who is no administrator."""
    return str(_words(step.action).meaning)


ENGINE_WORDS = {
    "the machine is shutting down": __("the machine is shutting down"),
    "the machine still holds its seed disk": __("the machine still holds its seed disk"),
    "the wish changed meanwhile": __("the wish changed meanwhile"),
}


def message(text: str) -> str:
    """A message of the engine in the reader's language; as it is where it is not one of the engine's own."""
    return str(ENGINE_WORDS.get(text, text))


_GOING = {
    RunKind.CREATE: __("Creating %(slug)s"),
    RunKind.RETIRE: __("Retiring %(slug)s"),
    RunKind.START: __("Starting %(slug)s"),
    RunKind.STOP: __("Stopping %(slug)s"),
    RunKind.RESTART: __("Restarting %(slug)s"),
    RunKind.MEMBER: __("Changing the members of %(slug)s"),
}
_DONE = {
    RunKind.CREATE: __("%(slug)s is ready"),
    RunKind.RETIRE: __("%(slug)s has been retired"),
    RunKind.START: __("%(slug)s has been started"),
    RunKind.STOP: __("%(slug)s has been stopped"),
    RunKind.RESTART: __("%(slug)s has been restarted"),
    RunKind.MEMBER: __("The members of %(slug)s have been changed"),
}


def run_title(run: Any) -> str:
    """A run as a headline."""
    kind, values = RunKind(run.kind), {"slug": run.platform.slug}
    if run.state == RunState.DONE.value:
        return str(_DONE[kind]) % values
    if run.state == RunState.UNDONE.value:
        return _("%(slug)s: everything has been undone") % values
    if run.state == RunState.UNWINDING.value:
        return _("%(slug)s: undoing what was done") % values
    return str(_GOING[kind]) % values


_DEEDS = {
    "request.submit": __("asked for the platform"),
    "request.approved": __("approved the request"),
    "request.rejected": __("rejected the request"),
    "request.withdrawn": __("withdrew the request"),
    "request.replan": __("made a new plan for the request"),
    "run.create": __("started the creation"),
    "run.retire": __("began to retire it"),
    "run.start": __("started the machines"),
    "run.stop": __("stopped the machines"),
    "run.restart": __("restarted the machines"),
    "run.member": __("had the directory follow for %(person)s"),
    "run.retry": __("had the failed steps tried again"),
    "run.skip": __("skipped the failed steps"),
    "run.undo": __("had everything undone"),
    "member.add": __("added %(person)s"),
    "member.remove": __("removed %(person)s"),
}


def deed(event: Any) -> str:
    """A row of the audit trail in words; its verb where nobody found words."""
    detail = event.detail if isinstance(event.detail, dict) else {}
    person = detail.get("uid") or detail.get("person") or detail.get("subject") or ""
    return str(_DEEDS.get(event.verb, event.verb)).replace("%(person)s", str(person))
