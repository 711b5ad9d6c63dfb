"""Looks at the portal's own programs: Redis, workers, beat, the listener; and at the server that takes its mails."""

from __future__ import annotations

import os
import smtplib
from collections.abc import Iterator

import redis
from django.core.mail import get_connection
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from placo import wiring
from placo.celery import app
from placo.services import heartbeat
from placo.services.doctor.report import DEAD, LATE, Level, Result, site_file

WORKERS_PATIENCE_S, MAIL_PATIENCE_S = 1.5, 3.0


def look_at_redis() -> Iterator[Result]:
    try:
        heartbeat.try_out()
    except redis.ConnectionError as error:
        text, remedy = (
            _("Redis does not answer: %(why)s") % {"why": error},
            _("Start it, and check [redis] in %(file)s. Nothing is lost: runs wait until it is back."),
        )
    except redis.RedisError as error:
        text, remedy = (
            _("Redis answers but cannot be used: %(why)s") % {"why": error},
            _("Look at its log, its memory limit and its disk; check [redis] in %(file)s."),
        )
    else:
        yield Result("redis", Level.OK, _("Redis answers and can be written to."))
        return
    yield Result("redis", Level.FAILURE, text, remedy % {"file": site_file()})


def look_at_workers() -> Iterator[Result]:
    try:
        names = sorted(name for reply in ping() for name in reply)
    except Exception as error:  # noqa: BLE001 - kombu, redis and the system each have their own
        yield Result(
            "workers",
            Level.FAILURE,
            _("Workers cannot be asked: %(why)s") % {"why": error},
            _("Mend Redis, then look again."),
        )
        return
    if not names:
        yield Result(
            "workers",
            Level.FAILURE,
            _("No worker answers: nothing that was asked for is being done."),
            _(
                "Start one (systemctl start placo-worker; in the lab make up) and read its log. Runs go on where they were."
            ),
        )
        return
    text = ngettext(
        "%(count)d worker answers: %(names)s.", "%(count)d workers answer: %(names)s.", len(names)
    )
    yield Result("workers", Level.OK, text % {"count": len(names), "names": ", ".join(names)})


def ping() -> list[dict[str, object]]:
    """One answer a worker."""
    answers: list[dict[str, object]] = app.control.ping(timeout=WORKERS_PATIENCE_S)
    return answers


def look_at_beat() -> Iterator[Result]:
    remedy = _(
        "See that exactly one beat runs (systemctl status placo-beat) and that workers are not all busy; doorbells that were lost wait for it."
    )
    try:
        last = heartbeat.last()
    except redis.RedisError as error:
        yield Result(
            "beat",
            Level.FAILURE,
            _("Its heartbeat cannot be read: %(why)s") % {"why": error},
            _("Mend Redis, then look again."),
        )
        return
    if last is None:
        yield Result("beat", Level.FAILURE, _("No sweep has been made since Redis began."), remedy)
        return
    ago = timezone.now() - last
    words = _("The last sweep was made %(seconds)d seconds ago; one is due every 3.") % {
        "seconds": ago.total_seconds()
    }
    level = Level.FAILURE if ago > DEAD else Level.WARNING if ago > LATE else Level.OK
    yield Result("beat", level, words, "" if level is Level.OK else remedy)


def look_at_listener() -> Iterator[Result]:
    remedy = _(
        "Start it (systemctl start placo-watch; in the lab make up) and read its log. Until then states of machines are a minute old."
    )
    try:
        last = heartbeat.last(heartbeat.LISTENER)
    except redis.RedisError as error:
        yield Result(
            "listener",
            Level.WARNING,
            _("Its heartbeat cannot be read: %(why)s") % {"why": error},
            _("Mend Redis, then look again."),
        )
        return
    if last is None:
        yield Result("listener", Level.WARNING, _("Nobody listens to the hosts."), remedy)
        return
    ago = timezone.now() - last
    if ago > LATE:
        text = _("Nobody has listened to the hosts for %(seconds)d seconds.")
        yield Result("listener", Level.WARNING, text % {"seconds": ago.total_seconds()}, remedy)
    else:
        yield Result("listener", Level.OK, _("Somebody listens to the hosts."))


def look_at_mail() -> Iterator[Result]:
    """The server is spoken to as for a mail, with account and TLS, and none is sent."""
    mail = wiring.site().mail
    if mail is None:
        yield Result("mail", Level.OK, _("No mail server is named: notices are read in the portal only."))
        return
    where = _("Check [mail] in %(file)s. Mails wait meanwhile, and notices can be read in the portal.") % {
        "file": site_file()
    }
    if mail.folder is not None:
        if mail.folder.is_dir() and os.access(mail.folder, os.W_OK):
            yield Result("mail", Level.OK, _("Mails are written into %(folder)s.") % {"folder": mail.folder})
        else:
            text = _("Mails cannot be written into %(folder)s.") % {"folder": mail.folder}
            yield Result("mail", Level.FAILURE, text, where)
        return
    server = f"{mail.host}:{mail.port}"
    try:
        connection = get_connection(timeout=MAIL_PATIENCE_S)
        connection.open()
        connection.close()
    except (OSError, smtplib.SMTPException) as error:
        text = _("The mail server %(server)s takes no mail: %(why)s") % {"server": server, "why": error}
        yield Result("mail", Level.FAILURE, text, where)
    else:
        yield Result("mail", Level.OK, _("The mail server %(server)s answers.") % {"server": server})
