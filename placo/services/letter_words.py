"""The words of letters with a link, in one language: an invitation, a forgotten password."""

from __future__ import annotations

from django.utils import formats, timezone, translation
from django.utils.translation import gettext as _

from placo import wiring
from placo.platforms.models import Invitation, PasswordReset
from placo.services import links


def letter(row: Invitation | PasswordReset, language: str) -> tuple[str, str]:
    """Subject and text."""
    with translation.override(language):
        subject, paragraphs = _invitation(row) if isinstance(row, Invitation) else _reset(row)
        return _one_line(subject), "\n\n".join(paragraphs)


def _one_line(text: str) -> str:
    """What people wrote (a platform's title) never begins another header."""
    return " ".join(text.split())


def _invitation(row: Invitation) -> tuple[str, list[str]]:
    platform, site = row.platform, wiring.site().site.name
    who = row.invited_by
    values = {
        "who": _one_line(who.display_name),
        "title": _one_line(platform.title),
        "site": site,
        "mail": who.email or "",
        "date": formats.date_format(timezone.localtime(row.expires_at), "DATETIME_FORMAT"),
        "until": formats.date_format(row.until) if row.until else "",
    }
    services = ", ".join(_titles(platform.plan.services))
    paragraphs = [
        _("Hello,"),
        _("%(who)s invites you to use the platform “%(title)s”.") % values,
        _("What is there: %(services)s.") % {"services": services},
        _("To accept, open this link and choose an account and a password:") + f"\n{links.address_of(row)}",
        _("The link works once, until %(date)s. Do not pass it on: it is meant for this address alone.")
        % values,
    ]
    if row.until:
        paragraphs.append(_("You are invited until %(until)s.") % values)
    paragraphs.append(
        _("If you do not know what this is about, ignore this message: without you nothing happens.")
    )
    if who.email:
        paragraphs.append(_("Questions? Ask %(who)s: %(mail)s") % values)
    paragraphs.append(_("This is a message of %(site)s.") % values)
    return _("%(who)s invites you to “%(title)s”") % values, paragraphs


def _titles(services: tuple[str, ...]) -> list[str]:
    known = wiring.catalogue().services
    language = translation.get_language() or "en"
    return [known[name].title.get(language) if name in known else name for name in services]


def _reset(row: PasswordReset) -> tuple[str, list[str]]:
    site = wiring.site().site.name
    values = {
        "name": row.guest.name,
        "uid": row.guest.uid,
        "site": site,
        "time": formats.date_format(timezone.localtime(row.expires_at), "DATETIME_FORMAT"),
    }
    return _("Choose a new password"), [
        _("Hello %(name)s,") % values,
        _("Somebody, you we hope, says that the password of your account %(uid)s is forgotten.") % values,
        _("To choose a new one, open this link:") + f"\n{links.address_of(row)}",
        _("The link works once, until %(time)s.") % values,
        _("If it was not you, ignore this message: your password stays as it is."),
        _("This is a message of %(site)s.") % values,
    ]
