"""The words of notices, in the language that is in force: a headline, what happens when, and what to do."""

from __future__ import annotations

from django.utils import formats, translation
from django.utils.translation import gettext as _

from placo import wiring
from placo.platforms.models import Notice, User
from placo.services import renewal


def headline(notice: Notice) -> str:
    """What it is about, in one line."""
    values = {"slug": notice.platform.slug, "date": formats.date_format(notice.ends_on)}
    if notice.kind == Notice.EXPIRING:
        return _("%(slug)s ends on %(date)s") % values
    if notice.kind == Notice.STOPPED:
        return _("%(slug)s has been stopped: its time was over on %(date)s") % values
    if notice.kind == Notice.OWNERLESS:
        return _("Nobody looks after %(slug)s any more") % values
    if notice.kind == Notice.UNPROVEN:
        return _("%(slug)s lets in whom it should not, or the other way round") % values
    return _("%(slug)s has been retired: its time was over on %(date)s") % values


def explanation(notice: Notice) -> list[str]:
    """What happens when, as short paragraphs."""
    values = {
        "title": notice.platform.title,
        "slug": notice.platform.slug,
        "end": formats.date_format(notice.ends_on),
        "removal": formats.date_format(notice.removed_on),
    }
    if notice.kind == Notice.EXPIRING:
        return [
            _("The platform “%(title)s” (%(slug)s) was granted until %(end)s. On that day it is stopped.")
            % values,
            _("Its data are kept until %(removal)s; then it is removed with everything in it, for good.")
            % values,
        ]
    if notice.kind == Notice.STOPPED:
        return [
            _(
                "The time of the platform “%(title)s” (%(slug)s) was over on %(end)s: its machines stand still."
            )
            % values,
            _("Its data are kept until %(removal)s; then it is removed with everything in it, for good.")
            % values,
        ]
    if notice.kind == Notice.OWNERLESS:
        return [
            _("The platform “%(title)s” (%(slug)s) goes on, but its last owner has left.") % values,
            _("Nobody can add or remove people, or renew it, but administrators."),
        ]
    if notice.kind == Notice.UNPROVEN:
        return [
            _(
                "It was tried who is let in to the platform “%(title)s” (%(slug)s), and not all went as it should."
            )
            % values,
            _("Somebody gets in who should not, or somebody is refused or not answered who should get in."),
        ]
    return [
        _("The time of the platform “%(title)s” (%(slug)s) was over on %(end)s, and nobody renewed it.")
        % values,
        _(
            "Its machines, data and addresses have been removed for good. The quota that it took is free again."
        )
        % values,
    ]


def what_to_do(notice: Notice, reader: User | None) -> str:
    """One sentence about what the reader can do, nothing where that is past; an owner is meant where nobody is named."""
    if notice.kind == Notice.RETIRED:
        return _("If you need a platform again, ask for a new one.")
    if notice.kind == Notice.OWNERLESS:
        alone = notice.platform.alive and notice.platform.ownerless_since is not None
        return _("Make one of its members an owner, on its page of people, or retire it.") if alone else ""
    if notice.kind == Notice.UNPROVEN:
        return _("The page of the platform says where; put that right, then have it tried again.")
    if not notice.platform.alive or notice.platform.expires_on != notice.ends_on:
        return ""
    return _renewal(notice, reader)


def _renewal(notice: Notice, reader: User | None) -> str:
    if not renewal.by_oneself(reader):
        return _("If you still need it, ask an administrator of the site for more time.")
    if notice.kind == Notice.STOPPED:
        return _("If you still need it, renew it: that is one click on its page, and starts it again.")
    return _("If you still need it, renew it: that is one click on its page.")


def link(notice: Notice) -> str:
    """The one address to go to."""
    portal = wiring.site().site.portal_url.rstrip("/")
    path = f"/platforms/{notice.platform.slug}/"
    if notice.kind == Notice.RETIRED:
        path = "/platforms/new/"
    elif notice.kind == Notice.OWNERLESS:
        path += "people/"
    return portal + path


def letter(notice: Notice, language: str, reader: User | None, name: str) -> tuple[str, str]:
    """Subject and text of a mail in one language."""
    with translation.override(language):
        greeting = _("Hello %(name)s,") % {"name": name}
        body = [greeting, *explanation(notice), f"{what_to_do(notice, reader)}\n{link(notice)}"]
        if notice.kind in (Notice.OWNERLESS, Notice.UNPROVEN):
            body.append(
                _("This is a message of %(site)s. You get it because you are an administrator.")
                % {"site": wiring.site().site.name}
            )
            return headline(notice), "\n\n".join(body)
        body.append(
            _("This is a message of %(site)s. You get it because you look after the project “%(project)s”.")
            % {"site": wiring.site().site.name, "project": notice.platform.project.title}
        )
        return headline(notice), "\n\n".join(body)
