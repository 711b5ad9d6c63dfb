"""The mails with a link in them: invitations, and resets of passwords. Each row is its own outbox, as with notices (post.py).

A mail is claimed first, by setting the time of its next try, and sent outside of any transaction. Its link is made anew from the
row each time, and is the same until the row is sent again on purpose.
"""

from __future__ import annotations

import logging
import smtplib
from datetime import timedelta
from urllib.parse import urlsplit

from django.core.mail import EmailMessage
from django.db import transaction

from placo import wiring
from placo.celery import app
from placo.config import Mail
from placo.platforms.models import Invitation, PasswordReset
from placo.services import clock, letter_words, post
from placo.services.commits import after_commit

log = logging.getLogger("placo.mail")

Letter = Invitation | PasswordReset
KINDS: tuple[type[Invitation] | type[PasswordReset], ...] = (PasswordReset, Invitation)


def ring() -> None:
    """Have letters leave soon, after the commit. A lost ring is repeated by beat."""
    after_commit(_send, "tasks.send_mail")


def _send(task: str) -> None:
    app.send_task(task, retry=False, ignore_result=True, expires=60)


def send_due() -> int:
    """Send what is due; how many left. Stops early where nobody's mail gets through: each letter's own wait goes on."""
    settings, sent = wiring.site().mail, 0
    if settings is None:
        return 0
    for kind in KINDS:
        for _number in range(post.AT_ONCE):
            row = _claim(kind)
            if row is None:
                break
            try:
                sent += _deliver(row, settings)
            except Exception as error:  # noqa: BLE001 - one mail never holds up another
                _failed(row, error)
                outage = isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException)
                if outage or isinstance(error, post.NOBODY_GETS_THROUGH):
                    return sent
    return sent


@transaction.atomic
def _claim(kind: type[Invitation] | type[PasswordReset]) -> Letter | None:
    now = clock.now()
    due = kind.objects.filter(mail_due_at__lte=now).order_by("mail_due_at", "id")
    row: Letter | None = due.select_for_update(of=("self",), skip_locked=True).first()
    if row is not None:
        row.mail_attempts += 1
        row.mail_due_at = now + post.wait(row.mail_attempts)
        row.save(update_fields=["mail_attempts", "mail_due_at"])
    return row


def _deliver(row: Letter, settings: Mail) -> bool:
    if not _still_wanted(row):
        type(row).objects.filter(pk=row.pk).update(mail_due_at=None, mail_error="no longer wanted")
        return False
    message(row, settings).send()
    # Whoever sent it again meanwhile has a mail of their own due.
    sent = type(row).objects.filter(pk=row.pk, nonce=row.nonce)
    sent.update(mailed_at=clock.now(), mail_due_at=None, mail_error="")
    log.info("%s=%s mailed", row._meta.model_name, row.pk)
    return True


def _still_wanted(row: Letter) -> bool:
    if row.expires_at <= clock.now():
        return False
    if isinstance(row, PasswordReset):
        return row.used_at is None
    return row.accepted_at is None and row.revoked_at is None and row.platform.alive


def _failed(row: Letter, error: Exception) -> None:
    over = row.expires_at - clock.now() < timedelta(minutes=1)
    log.warning(
        "%s=%s try=%s not mailed: %s", row._meta.model_name, row.pk, row.mail_attempts, type(error).__name__
    )
    type(row).objects.filter(pk=row.pk, nonce=row.nonce).update(
        mail_error=f"{type(error).__name__}: {error}".replace("\x00", "")[:300],
        **({"mail_due_at": None} if over else {}),
    )


def message(row: Letter, settings: Mail) -> EmailMessage:
    """The mail, in the language that was chosen, which may be both."""
    chosen = row.language or settings.language
    languages = ("en", "fr") if chosen == "both" else (chosen,)
    letters = [letter_words.letter(row, language) for language in languages]
    site = wiring.site().site
    host = urlsplit(site.portal_url).hostname or "localhost"
    mail = row.mail if isinstance(row, Invitation) else row.guest.mail
    return EmailMessage(
        subject=" / ".join(subject for subject, _text in letters),
        body=f"\n\n{'-' * 60}\n\n".join(text for _subject, text in letters) + "\n",
        from_email=settings.sender,
        to=[mail],
        headers={
            "Message-ID": f"<placo-{row._meta.model_name}-{row.pk}-{row.nonce[:12]}@{host}>",
            "Auto-Submitted": "auto-generated",
        },
    )
