"""The words for states, ways of coming up, runs and deeds: one place, so that screens agree. Steps: step_words.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from placo.domain.lifecycle import RunKind, RunState
from placo.platforms.models import Machine, Template
from placo.services.expiry import SUBJECT as EXPIRY


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
    "rebuilding": Look("azure", "loader-2", gettext_lazy("being rebuilt"), _BUSY),
    "changing": Look("azure", "loader-2", gettext_lazy("being changed"), _BUSY),
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
    # templates of hosts
    "making": Look("azure", "loader-2", gettext_lazy("being made"), _BUSY),
    "broken": Look("red", "alert-triangle", gettext_lazy("damaged")),
    "impossible": Look("secondary", "circle-off", gettext_lazy("not possible here")),
    "warm-on": Look("green", "circle-check", gettext_lazy("turned on")),
    "warm-off": Look("secondary", "circle-off", gettext_lazy("turned off")),
    # proofs
    "proving": Look("azure", "loader-2", gettext_lazy("under way"), _BUSY),
    "passed": Look("green", "shield-check", gettext_lazy("passed")),
    # people and hosts
    "member": Look("green", "circle-check", gettext_lazy("member")),
    "adding": Look("azure", "loader-2", gettext_lazy("being added…"), _BUSY),
    "removing": Look("orange", "loader-2", gettext_lazy("being removed…"), _BUSY),
    # invitations
    "open": Look("azure", "mail", gettext_lazy("invited")),
    "late": Look("yellow", "clock-x", gettext_lazy("too late")),
    # drift
    "missing": Look("red", "circle-dashed", gettext_lazy("missing")),
    "extra": Look("yellow", "circle-plus", gettext_lazy("too much")),
    "changed": Look("yellow", "git-compare", gettext_lazy("changed")),
    "paused": Look("yellow", "player-pause", gettext_lazy("paused")),
    "lost": Look("red", "server-off", gettext_lazy("lost")),
    "returned": Look("yellow", "alert-circle", gettext_lazy("lost, answers again")),
    "reachable": Look("green", "circle-check", gettext_lazy("answers")),
    "unreachable": Look("red", "alert-triangle", gettext_lazy("does not answer")),
    # what the doctor says
    "ok": Look("green", "circle-check", gettext_lazy("well")),
    "warning": Look("yellow", "alert-circle", gettext_lazy("warning")),
    "failure": Look("red", "alert-triangle", gettext_lazy("failure")),
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


WAY_REASONS = {
    Template.MAKING: gettext_lazy("the template of its image was being made"),
    Template.BROKEN: gettext_lazy("the template of its image was damaged and is made again"),
    Template.FAILED: gettext_lazy("the template of its image could not be made"),
    Template.IMPOSSIBLE: gettext_lazy("its host cannot resume such a machine"),
    Template.OFF: gettext_lazy("templates are turned off on its host"),
    Template.MEMORY: gettext_lazy("its host was short of memory at that moment"),
    Template.FELL_BACK: gettext_lazy("resuming it from a template did not work"),
}
"""Why a machine was booted: the codes that `Machine.way_reason` holds."""


def way_reason(code: str) -> str:
    """Why a machine was booted, in plain words; a code that nobody thought of as it is."""
    return str(WAY_REASONS.get(code, code))


def way(machine: Any, took: str) -> str:
    """How a machine came up, and how long that took; how it is going to, before it has answered; nothing before that."""
    if not machine or not machine.way:
        return ""
    known, reason = machine.took_s is not None, way_reason(machine.way_reason)
    if machine.way == Machine.WARM:
        return _("resumed from a template in %(time)s") % {"time": took} if known else _("from a template")
    if known:
        text = _("booted in %(time)s: %(reason)s") if reason else _("booted in %(time)s")
    else:
        text = _("boots: %(reason)s") if reason else _("boots")
    return text % {"time": took, "reason": reason}


_GOING = {
    RunKind.CREATE: gettext_lazy("Creating %(slug)s"),
    RunKind.RETIRE: gettext_lazy("Retiring %(slug)s"),
    RunKind.CHANGE: gettext_lazy("Changing %(slug)s"),
    RunKind.START: gettext_lazy("Starting %(slug)s"),
    RunKind.STOP: gettext_lazy("Stopping %(slug)s"),
    RunKind.RESTART: gettext_lazy("Restarting %(slug)s"),
    RunKind.SUSPEND: gettext_lazy("Suspending %(slug)s"),
    RunKind.RESUME: gettext_lazy("Resuming %(slug)s"),
    RunKind.MEMBER: gettext_lazy("Changing the members of %(slug)s"),
    RunKind.REPAIR: gettext_lazy("Repairing %(slug)s"),
    RunKind.REBUILD: gettext_lazy("Rebuilding machines of %(slug)s"),
}
_DONE = {
    RunKind.CREATE: gettext_lazy("%(slug)s is ready"),
    RunKind.RETIRE: gettext_lazy("%(slug)s has been retired"),
    RunKind.CHANGE: gettext_lazy("%(slug)s has been changed"),
    RunKind.START: gettext_lazy("%(slug)s has been started"),
    RunKind.STOP: gettext_lazy("%(slug)s has been stopped"),
    RunKind.RESTART: gettext_lazy("%(slug)s has been restarted"),
    RunKind.SUSPEND: gettext_lazy("%(slug)s has been suspended"),
    RunKind.RESUME: gettext_lazy("%(slug)s goes on"),
    RunKind.MEMBER: gettext_lazy("The members of %(slug)s have been changed"),
    RunKind.REPAIR: gettext_lazy("%(slug)s has been repaired"),
    RunKind.REBUILD: gettext_lazy("Machines of %(slug)s have been rebuilt"),
}
_UNDONE = {
    RunKind.CREATE: gettext_lazy("%(slug)s: everything has been undone"),
    RunKind.CHANGE: gettext_lazy("%(slug)s is as it was: the change has been undone"),
    RunKind.REBUILD: gettext_lazy("%(slug)s has its former systems again: the rebuild was undone"),
    RunKind.MEMBER: gettext_lazy("The change of the members of %(slug)s has been undone"),
}


def run_title(run: Any) -> str:
    """A run as a headline."""
    kind, values = RunKind(run.kind), {"slug": run.platform.slug}
    if run.state == RunState.DONE.value:
        return str(_DONE[kind]) % values
    if run.state == RunState.UNDONE.value and kind is RunKind.REPAIR:
        return _("%(slug)s: the repair was given up") % values
    if run.state == RunState.UNDONE.value:
        text = _UNDONE.get(kind, gettext_lazy("%(slug)s is back to how it was"))
        return str(text) % values
    if run.state == RunState.UNWINDING.value:
        return _("%(slug)s: undoing what was done") % values
    return str(_GOING[kind]) % values


_DEEDS = {
    "request.submit": gettext_lazy("asked for the platform"),
    "request.change": gettext_lazy("asked for a change of the platform"),
    "request.approved": gettext_lazy("approved the request"),
    "request.rejected": gettext_lazy("rejected the request"),
    "request.withdrawn": gettext_lazy("withdrew the request"),
    "request.replan": gettext_lazy("made a new plan for the request"),
    "host.warm-on": gettext_lazy("turned its templates on"),
    "host.warm-off": gettext_lazy("turned its templates off"),
    "host.lost": gettext_lazy("declared it lost"),
    "host.taken-back": gettext_lazy("took it back into use"),
    "template.broken": gettext_lazy("found that this template is damaged"),
    "run.create": gettext_lazy("started the creation"),
    "run.retire": gettext_lazy("began to retire it"),
    "run.change": gettext_lazy("started the change"),
    "run.start": gettext_lazy("started the machines"),
    "run.stop": gettext_lazy("stopped the machines"),
    "run.restart": gettext_lazy("restarted the machines"),
    "run.suspend": gettext_lazy("suspended the machines"),
    "run.resume": gettext_lazy("had the machines go on"),
    "run.repair": gettext_lazy("started a repair"),
    "run.rebuild": gettext_lazy("had machines rebuilt"),
    "drift.accept": gettext_lazy("accepted that something is otherwise than planned"),
    "drift.repair": gettext_lazy("had something repaired that was otherwise than planned"),
    "run.member": gettext_lazy("had the directory follow for %(person)s"),
    "run.retry": gettext_lazy("had the failed steps tried again"),
    "run.skip": gettext_lazy("skipped the failed steps"),
    "run.undo": gettext_lazy("had everything undone"),
    "platform.renew": gettext_lazy("gave it more time"),
    "platform.end": gettext_lazy("set another end date"),
    "proof.ask": gettext_lazy("had it tried who is let in"),
    "proof.passed": gettext_lazy("tried who is let in: as it should be"),
    "proof.failed": gettext_lazy("tried who is let in: not as it should be"),
    "proof.broken": gettext_lazy("could not try to the end who is let in"),
    "member.add": gettext_lazy("added %(person)s"),
    "member.remove": gettext_lazy("removed %(person)s"),
    "member.until": gettext_lazy("set the end of the membership of %(person)s"),
    "owner.add": gettext_lazy("made %(person)s an owner"),
    "owner.remove": gettext_lazy("took the ownership from %(person)s"),
    "invitation.send": gettext_lazy("invited %(person)s"),
    "invitation.revoke": gettext_lazy("took the invitation of %(person)s back"),
    "invitation.accepted": gettext_lazy("had invited %(person)s, who has accepted"),
}


def run_subject(run: Any) -> str:
    """Whom or what a run is about, where its kind alone does not say it."""
    return _("its end date has come") if run.subject == EXPIRY else str(run.subject)


def deed(event: Any) -> str:
    """A row of the audit trail in words; its verb where nobody found words."""
    detail = event.detail if isinstance(event.detail, dict) else {}
    person = detail.get("uid") or detail.get("mail") or detail.get("person") or detail.get("subject") or ""
    return str(_DEEDS.get(event.verb, event.verb)).replace("%(person)s", str(person))
