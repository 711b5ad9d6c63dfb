"""`manage.py sync_site`: hosts and projects of the site configuration into the database, and the break-glass account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from placo import wiring
from placo.config import read_secret
from placo.platforms.models import Host, Project, User
from placo.services.hosts import refresh_hosts


class Command(BaseCommand):
    help = "Copy hosts and projects from the site configuration; create the break-glass administrator if asked to."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--break-glass-password-file", help="file with the password of the local administrator"
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        site = wiring.site()
        for host in site.hosts:
            settings = {
                "uri": host.uri,
                "hypervisor": host.hypervisor,
                "storage_pool": host.storage_pool,
                "domain_type": host.domain_type,
                "resumes_at_once": host.resumes_at_once,
            }
            # Whether it has templates is an administrator's choice once the host is known.
            Host.objects.update_or_create(
                name=host.name, defaults=settings, create_defaults={**settings, "warm": host.warm}
            )
        for project in site.projects:
            quota = {
                f"quota_{name}": value
                for name, value in vars(project.quota).items()
                if not name.startswith("_")
            }
            Project.objects.get_or_create(
                slug=project.slug, defaults={"title": project.title, "max_days": project.max_days, **quota}
            )
        if options["break_glass_password_file"]:
            user, _created = User.objects.update_or_create(
                username="break-glass", defaults={"is_administrator": True, "is_break_glass": True}
            )
            user.set_password(read_secret(Path(options["break_glass_password_file"])))
            user.save()
        self.stdout.write(f"{Host.objects.count()} hosts, {Project.objects.count()} projects")
        transaction.on_commit(refresh_hosts)
