"""How the screens show icons, states, times, sizes and texts in two languages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from placo.domain.catalogue import Text
from placo.domain.quota import Cost
from placo.platforms.models import Proof
from placo.services import expiry, notice_words, proof_words, waiting
from placo.services.proofs import Shown
from placo.services.selectors import Address
from placo.web import drift_words, icons, phrases, step_words
from placo.web.tables import Table

register = template.Library()

WORDS: dict[str, Callable[..., Any]] = {
    "drift_explanation": drift_words.explanation,
    "drift_button": drift_words.button,
    "step_word": step_words.step_word,
    "sentence": step_words.sentence,
    "needless": step_words.needless,
    "meaning": step_words.meaning,
    "engine_words": step_words.message,
    "deed": phrases.deed,
    "run_subject": phrases.run_subject,
    "over": expiry.is_over,
    "headline": notice_words.headline,
    "drift_details": drift_words.details,
    "proof_door": proof_words.door,
    "proof_found": proof_words.found,
}
"""Filters that are functions of their own."""
for _name, _function in WORDS.items():
    register.filter(_name, _function)
register.simple_tag(phrases.run_title)


@register.simple_tag
def proof_verdict(last: Proof, shown: Shown) -> str:
    """What came of a proof, in one sentence."""
    return proof_words.verdict(last, len(shown.failed), shown.tried)


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon that says nothing by itself: the word stands beside it."""
    shapes = mark_safe(icons.shapes(name))  # noqa: S308 - comes from our own sprite file
    return format_html(
        '<svg class="icon {}" viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" '
        'stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>',
        css,
        shapes,
    )


@register.simple_tag
def state(value: str, label: object = "") -> SafeString:
    """A state as icon and word in the colour of its family; `label` where the model has a word of its own."""
    look = phrases.look(value)
    return format_html(
        '<span class="status status-{} placo-state">{} {}</span>',
        look.colour,
        icon(look.icon, look.css),
        label or look.word,
    )


@register.simple_tag
def platform_state(platform: Any) -> SafeString:
    """A platform's state; that nobody knows it while its host does not answer, that it is lost with its host."""
    if platform.lost:
        return state("lost", _("host lost"))
    return (
        state("unknown", _("unknown"))
        if platform.unknown
        else state(platform.state, platform.get_state_display())
    )


@register.filter
def tr(text: Text | str) -> str:
    """A catalogue's text in the language of the page."""
    return text.get(get_language() or "en") if isinstance(text, Text) else text


@register.filter
def ago(when: datetime | None) -> SafeString | str:
    """How long ago, the exact time in the title."""
    if when is None:
        return _("never")
    local = timezone.localtime(when)
    if timezone.now() - when < timedelta(seconds=60):
        words = _("just now")
    else:
        words = _("%(time)s ago") % {"time": timesince(when, depth=1)}
    exact = formats.date_format(local, "DATETIME_FORMAT")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', local.isoformat(timespec="seconds"), exact, words
    )


@register.filter
def day(when: date | None) -> SafeString | str:
    """A date, how far away it is in the title."""
    if when is None:
        return "–"
    today = timezone.localdate()
    if when > today:
        title = _("in %(time)s") % {"time": timeuntil(when, today, depth=1)}
    else:
        title = _("today") if when == today else _("%(time)s ago") % {"time": timesince(when, today, depth=1)}
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', when.isoformat(), title, formats.date_format(when)
    )


@register.filter
def mib(amount: int | None) -> str:
    """An amount of memory given in MiB, with its unit."""
    amount = amount or 0
    if amount < 1024:
        return _("%(n)s MiB") % {"n": amount}
    rounded = formats.number_format(round(amount / 1024, 1))
    return _("%(n)s GiB") % {"n": rounded.removesuffix(".0").removesuffix(",0")}


@register.filter
def gib(amount: int | None) -> str:
    """An amount of disk given in GiB, with its unit."""
    return _("%(n)s GiB") % {"n": amount or 0}


@register.filter
def seconds(amount: float | None) -> str:
    """A duration: 0.3 s, 8 s, 2 min 5 s."""
    if amount is None:
        return "–"
    if amount < 10:
        return f"{formats.number_format(round(amount, 1))} s"
    whole = round(amount)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def cost(amount: Cost) -> str:
    """What something takes: "1 machine, 1 processor, 384 MiB of memory, 8 GiB of disk"."""
    parts = [
        ngettext("%(n)d machine", "%(n)d machines", amount.machines) % {"n": amount.machines},
        ngettext("%(n)d processor", "%(n)d processors", amount.vcpus) % {"n": amount.vcpus},
        _("%(size)s of memory") % {"size": mib(amount.memory_mib)},
        _("%(size)s of disk") % {"size": gib(amount.disk_gib)},
    ]
    return ", ".join(parts if amount.machines else parts[1:])


@register.filter
def amount(value: int, resource: str) -> str:
    """An amount of a quota's resource with its unit."""
    if resource == "memory_mib":
        return mib(value)
    return gib(value) if resource == "disk_gib" else str(value)


@register.filter
def signed(value: int, resource: str) -> str:
    """What is added to a quota's resource, or given back."""
    sign = "+" if value > 0 else "−"
    return f"{sign} {amount(abs(value), resource)}" if value else amount(0, resource)


@register.filter
def left(row: dict[str, Any]) -> int:
    """What a quota row leaves free before what is wanted."""
    return max(int(row["limit"]) - int(row["before"]), 0)


@register.filter
def free_after(row: dict[str, Any]) -> int:
    """What a quota row leaves free after what is wanted."""
    return max(int(row["limit"]) - int(row["after"]), 0)


@register.filter
def resource_name(resource: str) -> str:
    """The resource without a unit, for the head of a row."""
    return str(phrases.RESOURCES.get(resource, resource))


@register.filter
def given_up(step: Any) -> bool:
    """Whether what a step was about was lost with its host."""
    return step_words.given_up(step)


@register.filter
def wait_words(wait: waiting.Wait) -> str:
    """What a run waits for, as the rest of a sentence."""
    return waiting.words(wait)


@register.filter
def way(machine: Any) -> str:
    """How a machine came up, and how long that took."""
    return phrases.way(machine, seconds(machine.took_s) if machine else "")


@register.filter
def size(amount: int | None) -> str:
    """A number of bytes with its unit."""
    return mib(round((amount or 0) / 2**20))


@register.filter
def duration(step: Any) -> str:
    """How long a step has taken."""
    if step.started_at is None or step.finished_at is None:
        return ""
    return seconds(max((step.finished_at - step.started_at).total_seconds(), 0.0))


@register.filter
def run_duration(run: Any) -> str:
    """How long a run took; how long it has been going on."""
    return seconds(((run.ended_at or timezone.now()) - run.created_at).total_seconds())


@register.filter
def told(address: Address, uid: str) -> str:
    """What somebody copies: an address, or the command that uses it."""
    return address.told(uid)


@register.inclusion_tag("web/_copy.html")
def copy(text: str, label: str = "") -> dict[str, str]:
    """An address or command in monospace with a copy button."""
    return {"text": text, "label": label or text}


@register.inclusion_tag("web/_sort.html")
def sort(table: Table, name: str, label: str) -> dict[str, str]:
    """The head of a column that sorts."""
    here = table.sort.removeprefix("-") == name
    descending = here and table.sort.startswith("-")
    target = f"-{name}" if here and not descending else name
    direction = ("descending" if descending else "ascending") if here else "none"
    return {"label": label, "href": table.link(sort=target, page=1), "direction": direction}


@register.simple_tag
def page_link(table: Table, number: int) -> str:
    """The address of another page of a list."""
    return table.link(page=number)
