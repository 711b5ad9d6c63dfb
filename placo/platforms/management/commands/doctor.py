"""`manage.py doctor`: how every component is and what to do; exit status 0, 1 or 2 as the worst is ok, a warning or a failure.

It needs no portal, and nothing that it looks at.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from placo.services import doctor


class Command(BaseCommand):
    help = "Look at every component of the site, say how it is and what to do. Exit status: 0 ok, 1 warnings, 2 failures."
    requires_system_checks = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--patience", type=float, default=doctor.PATIENCE_S, help="seconds a look may take"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        report = doctor.examine(patience_s=options["patience"])
        if options["json"]:
            results = [asdict(result) for result in report.results]
            found = {"level": report.level, "seconds": round(report.seconds, 3), "results": results}
            self.stdout.write(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            for result in report.results:
                colour = {"ok": self.style.SUCCESS, "warning": self.style.WARNING}.get(
                    result.level, self.style.ERROR
                )
                self.stdout.write(f"{colour(f'{result.level:8}')} {result.component:14} {result.text}")
                if result.remedy:
                    self.stdout.write(f"{'':23} -> {result.remedy}")
        if report.status:
            sys.exit(report.status)
