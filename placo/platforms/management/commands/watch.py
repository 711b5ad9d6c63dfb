"""`manage.py watch`: listens to all hosts until it gets SIGTERM or SIGINT; one process a site is enough."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from placo.services.watching import Watcher


class Command(BaseCommand):
    help = "Listen to the hosts: states of machines within a second, comparisons where something happened."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Watcher().run(stop)
