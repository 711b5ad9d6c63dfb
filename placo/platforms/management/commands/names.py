"""`manage.py names [SLUG ...]`: what the DNS has to have of the platforms, as lines of a zone file (RFC 1035)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from placo.platforms.models import Platform
from placo.services import names


class Command(BaseCommand):
    help = "Print the DNS records of all living platforms, or of these: for a zone that the portal does not write."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slugs", nargs="*", metavar="SLUG")

    def handle(self, *args: Any, **options: Any) -> None:
        plans = {p.slug: p.plan for p in Platform.objects.order_by("slug", "pk") if p.alive and p.plan_data}
        slugs = options["slugs"] or list(plans)
        if unknown := [slug for slug in slugs if slug not in plans]:
            raise CommandError(f"no such platform: {', '.join(unknown)}")
        wanted = names.wanted_of_all(plans[slug] for slug in slugs)
        for slug in slugs:
            self.stdout.write(f"; {slug}")
            for record in sorted(wanted[slug], key=lambda r: (r.name, r.type, r.value)):
                self.stdout.write(f"{record.name}. IN {record.type} {record.value}")
