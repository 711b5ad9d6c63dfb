"""`manage.py books`: whether ledger, journal, plans and world say the same, all looked up now; exit status 1 when they do not."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from placo.services import agreement


class Command(BaseCommand):
    help = "Compare ledger, journal and plans with each other and with the world: every host, the directory, the edge."

    def handle(self, *args: Any, **options: Any) -> None:
        found = agreement.look()
        for wrong in found:
            part = agreement.part_of(wrong.code)
            self.stdout.write(f"{part.value:8} {wrong.subject}: {wrong.wrong}")
            self.stdout.write(f"{'':8} -> {wrong.remedy}")
        busy = agreement.in_flux()
        if busy:
            self.stdout.write(f"{busy} platforms that a run is at were not compared with the world.")
        if found:
            sys.exit(1)
        self.stdout.write("ledger, journal, plans and world agree")
