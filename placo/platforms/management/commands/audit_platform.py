"""`manage.py audit_platform SLUG`: everything in the world that belongs to a platform; exit status 1 when there is any."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from placo.platforms.models import Platform
from placo.services.audit import audit_platform


class Command(BaseCommand):
    help = (
        "List domains, volumes, networks, directory entries, edge routes, certificates, addresses and quota."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("slug")

    def handle(self, *args: Any, **options: Any) -> None:
        platform = Platform.objects.filter(slug=options["slug"]).order_by("-id").first()
        if platform is None:
            raise CommandError(f"There has never been a platform named {options['slug']}.", returncode=2)
        findings = audit_platform(platform)
        for finding in findings:
            self.stdout.write(f"{finding.kind:16} {finding.where:10} {finding.name}")
        if findings:
            sys.exit(1)
