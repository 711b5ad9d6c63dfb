"""The words for states, steps, runs and deeds: one place, so that screens agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

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
    "planned": Look("secondary", "circle-dashed", gettext_lazy("not there yet")),
    "starting": Look("azure", "loader-2", gettext_lazy("starting"), _BUSY),
    "answering": Look("green", "circle-check", gettext_lazy("answering")),
    "stopping": Look("azure", "loader-2", gettext_lazy("stopping"), _BUSY),
    "stopped": Look("secondary", "player-stop", gettext_lazy("stopped")),
    "suspended": Look("secondary", "player-pause", gettext_lazy("suspended")),
    "suspending": Look("azure", "loader-2", gettext_lazy("being suspended"), _BUSY),
    "resuming": Look("azure", "loader-2", gettext_lazy("resuming"), _BUSY),
    "silent": Look("red", "alert-triangle", gettext_lazy("not answering")),
    "gone": Look("secondary", "circle-off", gettext_lazy("gone")),
    # platforms and requests
    "requested": Look("yellow", "hourglass", gettext_lazy("requested")),
    "submitted": Look("yellow", "hourglass", gettext_lazy("waiting for a decision")),
    "approved": Look("green", "circle-check", gettext_lazy("approved")),
    "rejected": Look("red", "circle-x", gettext_lazy("rejected")),
    "withdrawn": Look("secondary", "arrow-back-up", gettext_lazy("withdrawn")),
    "declined": Look("secondary", "circle-x", gettext_lazy("declined")),
    "creating": Look("azure", "loader-2", gettext_lazy("being created"), _BUSY),
    "ready": Look("green", "circle-check", gettext_lazy("ready")),
    "restarting": Look("azure", "loader-2", gettext_lazy("restarting"), _BUSY),
    "retiring": Look("orange", "loader-2", gettext_lazy("being retired"), _BUSY),
    "retired": Look("secondary", "archive", gettext_lazy("retired")),
    # runs and steps
    "running": Look("azure", "loader-2", gettext_lazy("under way"), _BUSY),
    "pending": Look("secondary", "circle-dashed", gettext_lazy("to do")),
    "waiting": Look("azure", "hourglass", gettext_lazy("waiting")),
    "done": Look("green", "circle-check", gettext_lazy("done")),
    "failed": Look("red", "alert-triangle", gettext_lazy("failed")),
    "stuck": Look("red", "alert-triangle", gettext_lazy("stuck")),
    "skipped": Look("secondary", "player-skip-forward", gettext_lazy("skipped")),
    "undoing": Look("orange", "arrow-back-up", gettext_lazy("being undone")),
    "unwinding": Look("orange", "arrow-back-up", gettext_lazy("being undone")),
    "undone": Look("secondary", "arrow-back-up", gettext_lazy("undone")),
    # people and hosts
    "member": Look("green", "circle-check", gettext_lazy("member")),
    "adding": Look("azure", "loader-2", gettext_lazy("being added…"), _BUSY),
    "removing": Look("orange", "loader-2", gettext_lazy("being removed…"), _BUSY),
    "reachable": Look("green", "circle-check", gettext_lazy("answers")),
    "unreachable": Look("red", "alert-triangle", gettext_lazy("does not answer")),
    "unknown": Look("secondary", "help-circle", gettext_lazy("not asked yet")),
}

RESOURCES = {
    "platforms": gettext_lazy("Platforms"),
    "machines": gettext_lazy("Machines"),
    "vcpus": gettext_lazy("Processors"),
    "memory_mib": gettext_lazy("Memory"),
    "disk_gib": gettext_lazy("Disk"),
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


_HOST = gettext_lazy("The host may be busy, full or unreachable.")
_DIRECTORY = gettext_lazy("The directory may be unreachable or may have refused the entry.")
STEPS: dict[str, StepWords] = {
    "network": StepWords(
        gettext_lazy("network"),
        gettext_lazy("Making the platform's own network"),
        gettext_lazy("Removing the network"),
        _HOST,
    ),
    "directory": StepWords(
        gettext_lazy("directory"),
        gettext_lazy("Making room in the directory"),
        gettext_lazy("Clearing the directory"),
        _DIRECTORY,
    ),
    "image": StepWords(
        gettext_lazy("image"),
        gettext_lazy("Bringing the image %(target)s to the host"),
        gettext_lazy("Letting go of the image"),
        _HOST,
    ),
    "system-disk": StepWords(
        gettext_lazy("disk"),
        gettext_lazy("Cloning the disk of %(target)s"),
        gettext_lazy("Deleting the disk of %(target)s"),
        _HOST,
    ),
    "data-volume": StepWords(
        gettext_lazy("data"),
        gettext_lazy("Making the data volume of %(target)s"),
        gettext_lazy("Deleting the data of %(target)s"),
        _HOST,
    ),
    "account": StepWords(
        gettext_lazy("account"),
        gettext_lazy("Giving %(target)s an account in the directory"),
        gettext_lazy("Closing the account of %(target)s"),
        _DIRECTORY,
    ),
    "seed": StepWords(
        gettext_lazy("settings"),
        gettext_lazy("Writing the settings of %(target)s"),
        gettext_lazy("Removing the settings of %(target)s"),
        _HOST,
    ),
    "domain": StepWords(
        gettext_lazy("machine"),
        gettext_lazy("Assembling %(target)s"),
        gettext_lazy("Taking %(target)s apart"),
        _HOST,
    ),
    "power": StepWords(
        gettext_lazy("power"),
        gettext_lazy("Switching %(target)s on"),
        gettext_lazy("Switching %(target)s off"),
        _HOST,
    ),
    "suspend": StepWords(
        gettext_lazy("pause"),
        gettext_lazy("Suspending %(target)s"),
        gettext_lazy("Having %(target)s go on"),
        _HOST,
    ),
    "edge": StepWords(
        gettext_lazy("addresses"),
        gettext_lazy("Opening the public addresses"),
        gettext_lazy("Closing the public addresses"),
        gettext_lazy("The edge may have refused the new addresses or their certificate."),
    ),
    "health": StepWords(
        gettext_lazy("answer"),
        gettext_lazy("Waiting for %(target)s to answer"),
        gettext_lazy("No longer asking %(target)s"),
        gettext_lazy("The machine runs, but its service does not answer as it should."),
    ),
    "seed-release": StepWords(
        gettext_lazy("tidying"),
        gettext_lazy("Destroying the secrets that %(target)s was started with"),
        gettext_lazy("Nothing to do for %(target)s"),
        _HOST,
    ),
    "member": StepWords(
        gettext_lazy("membership"),
        gettext_lazy("Having the directory follow for %(target)s"),
        gettext_lazy("Taking back the change for %(target)s"),
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
    """What a step is about; which way for power, where one run does both."""
    if step.action == "power":
        return _("power off") if step.verb == Verb.REMOVE.value else _("power on")
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
    "the machine is shutting down": gettext_lazy("the machine is shutting down"),
    "the machine still holds its seed disk": gettext_lazy("the machine still holds its seed disk"),
    "the wish changed meanwhile": gettext_lazy("the wish changed meanwhile"),
}


def message(text: str) -> str:
    """A message of the engine in the reader's language; as it is where it is not one of the engine's own."""
    return str(ENGINE_WORDS.get(text, text))


_GOING = {
    RunKind.CREATE: gettext_lazy("Creating %(slug)s"),
    RunKind.RETIRE: gettext_lazy("Retiring %(slug)s"),
    RunKind.START: gettext_lazy("Starting %(slug)s"),
    RunKind.STOP: gettext_lazy("Stopping %(slug)s"),
    RunKind.RESTART: gettext_lazy("Restarting %(slug)s"),
    RunKind.SUSPEND: gettext_lazy("Suspending %(slug)s"),
    RunKind.RESUME: gettext_lazy("Resuming %(slug)s"),
    RunKind.MEMBER: gettext_lazy("Changing the members of %(slug)s"),
}
_DONE = {
    RunKind.CREATE: gettext_lazy("%(slug)s is ready"),
    RunKind.RETIRE: gettext_lazy("%(slug)s has been retired"),
    RunKind.START: gettext_lazy("%(slug)s has been started"),
    RunKind.STOP: gettext_lazy("%(slug)s has been stopped"),
    RunKind.RESTART: gettext_lazy("%(slug)s has been restarted"),
    RunKind.SUSPEND: gettext_lazy("%(slug)s has been suspended"),
    RunKind.RESUME: gettext_lazy("%(slug)s goes on"),
    RunKind.MEMBER: gettext_lazy("The members of %(slug)s have been changed"),
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
    "request.submit": gettext_lazy("asked for the platform"),
    "request.approved": gettext_lazy("approved the request"),
    "request.rejected": gettext_lazy("rejected the request"),
    "request.withdrawn": gettext_lazy("withdrew the request"),
    "request.replan": gettext_lazy("made a new plan for the request"),
    "run.create": gettext_lazy("started the creation"),
    "run.retire": gettext_lazy("began to retire it"),
    "run.start": gettext_lazy("started the machines"),
    "run.stop": gettext_lazy("stopped the machines"),
    "run.restart": gettext_lazy("restarted the machines"),
    "run.suspend": gettext_lazy("suspended the machines"),
    "run.resume": gettext_lazy("had the machines go on"),
    "run.member": gettext_lazy("had the directory follow for %(person)s"),
    "run.retry": gettext_lazy("had the failed steps tried again"),
    "run.skip": gettext_lazy("skipped the failed steps"),
    "run.undo": gettext_lazy("had everything undone"),
    "member.add": gettext_lazy("added %(person)s"),
    "member.remove": gettext_lazy("removed %(person)s"),
}


def deed(event: Any) -> str:
    """A row of the audit trail in words; its verb where nobody found words."""
    detail = event.detail if isinstance(event.detail, dict) else {}
    person = detail.get("uid") or detail.get("person") or detail.get("subject") or ""
    return str(_DEEDS.get(event.verb, event.verb)).replace("%(person)s", str(person))
