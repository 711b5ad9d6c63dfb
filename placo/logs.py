"""Logs of every program of the portal: one line an event, JSON for machines, or readable where a person looks on.

Fields that say what a line is about (request, user, task, run, step ...) are bound once, with `about`, and stand in every
line written meanwhile, by drivers and libraries too. Nothing secret gets out: see `Redaction`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, get_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

get_logger = structlog.stdlib.get_logger
about = bound_contextvars
"""`with about(run=7): ...` puts these fields into every line that is written in the block."""
note = bind_contextvars
"""The same until `forget`."""
forget = clear_contextvars
known = get_contextvars
"""The fields that are bound now."""

HIDDEN = "[redacted]"
_NAMES = r"passw(?:or)?d|passphrase|secret|token|authori[sz]ation|cookie|credential|private_?key|api_?key|secret_?key|csrf|session_?id"
_SECRET_NAME = re.compile(rf"{_NAMES}|^pw$|^key$", re.IGNORECASE)
_PATTERNS = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        HIDDEN,
    ),
    (re.compile(r"\bplaco_[A-Za-z0-9_-]{20,}"), HIDDEN),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(://)[^/\s:@]+:[^/\s@]+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            rf"""((?:{_NAMES})\w*["']?\s*[=:]\s*)b?(?:"[^"]*"|'[^']*'|[^\s,;&)}}\]"']+)""", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
)
_SHORTEST = 8
"""A shorter secret of the site is not looked for in texts: it would be found where it is none."""


class Redaction:
    """Takes secrets out of a line: fields named like one, what looks like one, and the site's own wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The processor: the same line without secrets."""
        return {name: self._of(name, value) for name, value in event.items()}

    def _of(self, name: str, value: object) -> object:
        if isinstance(value, bool | int | float | None):
            return value
        if _SECRET_NAME.search(name):
            return HIDDEN
        if isinstance(value, dict):
            return {str(key): self._of(str(key), item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._of("", item) for item in value]
        return self.text(value if isinstance(value, str) else str(value))

    def text(self, text: str) -> str:
        """A text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def _readable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Without what Django (requests, sockets), uvicorn and other handlers (the text once more) leave beside a line."""
    for name in ("message", "color_message"):
        event.pop(name, None)
    for name in ("request", "server_time"):
        if not isinstance(event.get(name), str | int | None):
            del event[name]
    return event


def processors(secrets: Iterable[str], *, json: bool) -> list[Processor]:
    """What a line goes through before it is written."""
    last: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, sort_keys=False)
        if json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.StackInfoRenderer(),
        Redaction(secrets),
        last,
    ]


BEFORE: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    _readable,
    structlog.contextvars.merge_contextvars,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
]
"""What every line is given, whoever writes it."""


def wants_json() -> bool:
    """PLACO_LOG (json or plain) says so, else whether nobody is looking on."""
    asked = os.environ.get("PLACO_LOG", "").lower()
    return asked == "json" if asked in ("json", "plain") else not sys.stderr.isatty()


def configuration(secrets: Iterable[str] = ()) -> dict[str, Any]:
    """Django's LOGGING; `secrets` are texts that must not stand in any line. Sets structlog up as well."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.render_to_log_kwargs,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    through: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": processors(secrets, json=wants_json()),
                "foreign_pre_chain": BEFORE,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            "httpx": {"level": "WARNING"},
            "axes": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "django.server": through,
            # uvicorn brings handlers of its own; its lines are ours.
            "uvicorn": through,
            "uvicorn.error": through,
            "uvicorn.access": through,
        },
    }
