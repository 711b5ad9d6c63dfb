"""The words for steps of runs and for what the engine says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from placo.domain.saga import Verb
from placo.platforms.models import Machine
from placo.services.work import HOST_IS_LOST, LOST_WITH_HOST
from placo.web import phrases


@dataclass(frozen=True)
class StepWords:
    """A step in words: its noun, what is being done, what is being undone, what its failure means.

    `changing` and `restoring`: what is being done when something that is there is brought to a new plan, or back.
    """

    noun: object
    doing: object
    undoing: object
    meaning: object
    changing: object = ""
    restoring: object = ""


Ways = Mapping[str, str]
"""How each machine of a run comes up, as far as that is decided: `Machine.WARM` or `Machine.COLD` by name."""
_NEEDLESS = {Machine.WARM: ("seed", "seed-release"), Machine.COLD: ("memory", "personalise")}
_FORWARD = ("pending", "running", "waiting", "done", "skipped")
_RESUMING = gettext_lazy("Resuming %(target)s from its template")
_HOST = gettext_lazy("The host may be busy, full or unreachable.")
_DIRECTORY = gettext_lazy("The directory may be unreachable or may have refused the entry.")


def _changes(noun: object, changing: object, restoring: object, meaning: object) -> StepWords:
    """The words of a step that only changes what is there."""
    return StepWords(noun, changing, restoring, meaning, changing, restoring)


STEPS: dict[str, StepWords] = {
    "network": StepWords(
        gettext_lazy("network"),
        gettext_lazy("Making the platform's own network"),
        gettext_lazy("Removing the network"),
        _HOST,
        gettext_lazy("Fitting the network to the machines"),
        gettext_lazy("Bringing the network back to how it was"),
    ),
    "directory": StepWords(
        gettext_lazy("directory"),
        gettext_lazy("Making room in the directory"),
        gettext_lazy("Clearing the directory"),
        _DIRECTORY,
        gettext_lazy("Fitting the directory to the machines"),
        gettext_lazy("Bringing the directory back to how it was"),
    ),
    "image": StepWords(
        gettext_lazy("image"),
        gettext_lazy("Bringing the image %(target)s to the host"),
        gettext_lazy("Letting go of the image"),
        _HOST,
    ),
    "way": StepWords(
        gettext_lazy("template"),
        gettext_lazy("Looking for a template for %(target)s"),
        gettext_lazy("Nothing to do for %(target)s"),
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
    "memory": StepWords(
        gettext_lazy("memory"),
        gettext_lazy("Copying the template's memory for %(target)s"),
        gettext_lazy("Deleting the copied memory of %(target)s"),
        _HOST,
    ),
    "power": StepWords(
        gettext_lazy("power"),
        gettext_lazy("Switching %(target)s on"),
        gettext_lazy("Switching %(target)s off"),
        _HOST,
    ),
    "start": StepWords(
        gettext_lazy("start"),
        gettext_lazy("Starting %(target)s"),
        gettext_lazy("Stopping %(target)s"),
        _HOST,
    ),
    "size": _changes(
        gettext_lazy("size"),
        gettext_lazy("Giving %(target)s its new memory and processors"),
        gettext_lazy("Giving %(target)s its former memory and processors"),
        _HOST,
    ),
    "exchange": _changes(
        gettext_lazy("new system"),
        gettext_lazy("Giving %(target)s its new system disk"),
        gettext_lazy("Giving %(target)s its former system disk"),
        _HOST,
    ),
    "volume": _changes(
        gettext_lazy("data volume"),
        gettext_lazy("Making the data volume of %(target)s larger"),
        gettext_lazy("Nothing to do for %(target)s"),
        _HOST,
    ),
    "end": _changes(
        gettext_lazy("end date"),
        gettext_lazy("Moving the platform's end date"),
        gettext_lazy("Moving the end date back"),
        gettext_lazy("The portal's database may have been busy."),
    ),
    "file-system": _changes(
        gettext_lazy("file system"),
        gettext_lazy("Having %(target)s use its larger data volume"),
        gettext_lazy("Nothing to do for %(target)s"),
        gettext_lazy(
            "The data volume is larger, but the machine does not answer the host, or does not see it yet."
        ),
    ),
    "settings": _changes(
        gettext_lazy("settings"),
        gettext_lazy("Telling %(target)s its new settings"),
        gettext_lazy("Telling %(target)s its former settings"),
        gettext_lazy("The machine does not answer the host, or its software did not take the settings."),
    ),
    "personalise": StepWords(
        gettext_lazy("identity"),
        gettext_lazy("Giving %(target)s its name, address and secrets"),
        gettext_lazy("Nothing to do for %(target)s"),
        gettext_lazy("The machine was resumed, but did not take its settings."),
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
        gettext_lazy("Fitting the public addresses to the services"),
        gettext_lazy("Bringing the public addresses back to how they were"),
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


def _resumed(step: Any, ways: Ways) -> bool:
    """Whether this step belongs to a machine that is resumed from a template."""
    return bool(ways) and ways.get(step.target) == Machine.WARM


def needless(step: Any, ways: Ways) -> bool:
    """Whether this step has nothing to do in its machine's way: one that is resumed has no seed, one that boots no memory."""
    way = ways.get(step.target)
    return step.state in _FORWARD and step.action in _NEEDLESS.get(way or "", ())


def step_word(step: Any, ways: Ways) -> str:
    """What a step is about; which way for power, where one run does both."""
    if step.action == "power":
        if step.verb == Verb.REMOVE.value:
            return _("power off")
        return _("resume") if _resumed(step, ways) else _("power on")
    if step.action == "start" and step.verb == Verb.REMOVE.value:
        return _("stop")
    if step.action == "image":
        return f"{_words(step.action).noun} {_target(step)}"
    return str(_words(step.action).noun)


def sentence(step: Any, ways: Ways) -> str:
    """What is being done while this step is."""
    verb = Verb(step.verb)
    if step.state in ("undoing", "undone"):
        verb = verb.inverse
    words = _words(step.action)
    text = {
        Verb.ENSURE: words.doing,
        Verb.REMOVE: words.undoing,
        Verb.CHANGE: words.changing or words.doing,
        Verb.RESTORE: words.restoring or words.undoing,
    }[verb]
    if step.action == "power" and verb is Verb.ENSURE and _resumed(step, ways):
        text = _RESUMING
    return str(text) % {"target": _target(step)}


def meaning(step: Any) -> str:
    """What it means that this step failed, for somebody who is no administrator."""
    return str(_words(step.action).meaning)


ENGINE_WORDS = {
    "other machines are being resumed on this host": gettext_lazy(
        "other machines are being resumed on this host"
    ),
    "the machine is taking its settings": gettext_lazy("the machine is taking its settings"),
    "the machine is shutting down": gettext_lazy("the machine is shutting down"),
    "the machine does not answer": gettext_lazy("the machine does not answer"),
    "the machine still holds its seed disk": gettext_lazy("the machine still holds its seed disk"),
    LOST_WITH_HOST: gettext_lazy("lost with its host"),
    HOST_IS_LOST: gettext_lazy("its host was declared lost"),
    "the wish changed meanwhile": gettext_lazy("the wish changed meanwhile"),
}


def given_up(step: Any) -> bool:
    """Whether a step counts as done although nothing was done: what it was about is lost with its host."""
    return step.state in ("done", "undone") and step.message == LOST_WITH_HOST


def message(text: str) -> str:
    """A message of the engine in the reader's language; as it is where it is not one of the engine's own."""
    if text == Machine.WARM:
        return _("from a template")
    if text == Machine.COLD:
        return _("boots")
    head, colon, rest = text.partition(": ")
    if head == Machine.COLD and colon:
        return _("boots: %(reason)s") % {"reason": phrases.way_reason(rest.partition(" ")[0])}
    return str(ENGINE_WORDS.get(text, text))
