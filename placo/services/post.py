"""The mails of notices. The notice's own row is the outbox: what could not leave is tried again later, and nothing else waits.

A mail is claimed first, by setting the time of its next try, and sent outside of any transaction. Who dies between sending and
writing that down has it sent a second time; both bear the same Message-ID (docs/adr/0014).
"""

from __future__ import annotations

import logging
import smtplib
from datetime import timedelta
from urllib.parse import urlsplit

from django.core.mail import EmailMessage
from django.db import transaction

from placo import wiring
from placo.config import Mail
from placo.domain.lifecycle import PlatformState
from placo.drivers.ports import DriverError, Person
from placo.platforms.models import Notice, User
from placo.services import access, clock, notice_words, notices

log = logging.getLogger("placo.mail")

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)
PATIENCE = timedelta(days=30)
"""For how long a mail is tried; its notice stays in the portal."""
AT_ONCE = 200
"""How many mails one look sends at most: the rest is due at the next."""
NOBODY_GETS_THROUGH = (
    smtplib.SMTPServerDisconnected,
    smtplib.SMTPConnectError,
    smtplib.SMTPHeloError,
    smtplib.SMTPAuthenticationError,
    smtplib.SMTPNotSupportedError,
    DriverError,
)


class NoAddressError(Exception):
    """The directory has no address for this person."""


def wait(attempts: int) -> timedelta:
    """How long to wait after so many tries: a minute, two, four ... at most six hours."""
    doubled: int = 2 ** min(attempts - 1, 20)
    return min(FIRST_WAIT * doubled, LONGEST_WAIT)


def send_due() -> int:
    """Send what is due; how many mails left. Stops early where nobody's mail gets through: each mail's own wait goes on."""
    settings, sent = wiring.site().mail, 0
    if settings is None:
        return 0
    for _number in range(AT_ONCE):
        notice = _claim()
        if notice is None:
            break
        try:
            sent += _deliver(notice, settings)
        except Exception as error:  # noqa: BLE001 - one mail never holds up another
            _failed(notice, error)
            outage = isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException)
            if outage or isinstance(error, NOBODY_GETS_THROUGH):
                break
    return sent


@transaction.atomic
def _claim() -> Notice | None:
    now = clock.now()
    due = Notice.objects.filter(mail_due_at__lte=now).select_related("platform__project")
    notice = due.select_for_update(of=("self",), skip_locked=True).order_by("mail_due_at", "id").first()
    if notice is not None:
        notice.mail_attempts += 1
        notice.mail_due_at = now + wait(notice.mail_attempts)
        notice.save(update_fields=["mail_attempts", "mail_due_at"])
    return notice


def _deliver(notice: Notice, settings: Mail) -> bool:
    if not still_true(notice):
        Notice.objects.filter(pk=notice.pk).update(mail_due_at=None, mail_error="no longer true")
        return False
    person = wiring.directory().person(notice.uid)
    if person is None or not person.mail:
        raise NoAddressError("no mail address in the directory")
    message(notice, person, settings).send()
    Notice.objects.filter(pk=notice.pk).update(mailed_at=clock.now(), mail_due_at=None, mail_error="")
    log.info("notice=%s mailed to %s", notice.pk, notice.uid)
    return True


def _failed(notice: Notice, error: Exception) -> None:
    over = clock.now() - notice.at > PATIENCE
    log.warning("notice=%s try=%s not mailed: %s", notice.pk, notice.mail_attempts, error)
    Notice.objects.filter(pk=notice.pk).update(
        mail_error=f"{type(error).__name__}: {error}".replace("\x00", "")[:300],
        **({"mail_due_at": None} if over else {}),
    )


def still_true(notice: Notice) -> bool:
    """Whether it is still worth saying: to this person, about this end date, and nothing has been said since."""
    platform = notice.platform
    if notice.kind == Notice.UNPROVEN:
        return platform.alive and notice.read_at is None and notice.uid in notices.administrators()
    if notice.uid not in notices.recipients(platform):
        return False
    if notice.kind == Notice.RETIRED:
        return True
    if notice.kind == Notice.OWNERLESS:
        return platform.alive and not access.owners_of(platform)
    later = Notice.objects.filter(platform=platform, uid=notice.uid, pk__gt=notice.pk)
    later = later.exclude(kind=Notice.UNPROVEN)
    ending = platform.alive and platform.state != PlatformState.RETIRING.value
    if platform.expires_on != notice.ends_on or not ending or later.exists():
        return False
    return notice.kind != Notice.EXPIRING or clock.today() < notice.ends_on


def message(notice: Notice, person: Person, settings: Mail) -> EmailMessage:
    """The mail: in the language in which the person uses the portal, else in the site's, which may be both."""
    reader = User.objects.filter(username=notice.uid).first()
    chosen = (reader.language if reader else "") or settings.language
    letters = [
        notice_words.letter(notice, language, reader, person.name)
        for language in (("en", "fr") if chosen == "both" else (chosen,))
    ]
    site = wiring.site().site
    return EmailMessage(
        subject=" / ".join(subject for subject, _text in letters),
        body=f"\n\n{'-' * 60}\n\n".join(text for _subject, text in letters) + "\n",
        from_email=settings.sender,
        to=[person.mail],
        headers={
            "Message-ID": f"<placo-notice-{notice.pk}@{urlsplit(site.portal_url).hostname or 'localhost'}>",
            "Auto-Submitted": "auto-generated",
        },
    )
