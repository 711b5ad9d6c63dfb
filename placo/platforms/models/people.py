"""Accounts, projects and who did what."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _

from placo.domain.quota import Cost


class User(AbstractUser):
    """Somebody who logged in. `username` is the uid in the directory; roles are copied from it at each login."""

    is_administrator = models.BooleanField(default=False, help_text=_("member of cn=admins in the directory"))
    is_break_glass = models.BooleanField(
        default=False, help_text=_("local account, works without the directory")
    )
    is_guest = models.BooleanField(default=False, help_text=_("an account that the portal made"))
    language = models.CharField(
        max_length=8, blank=True, help_text=_("the language in which the person used the portal last")
    )

    @property
    def display_name(self) -> str:
        """The name to show."""
        return self.get_full_name() or self.username


class Project(models.Model):
    """A research project: who owns it is in the directory, what it may use is here."""

    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    max_days = models.PositiveIntegerField(default=365)
    quota_platforms = models.PositiveIntegerField(default=1)
    quota_machines = models.PositiveIntegerField(default=4)
    quota_vcpus = models.PositiveIntegerField(default=4)
    quota_memory_mib = models.PositiveIntegerField(default=4096)
    quota_disk_gib = models.PositiveIntegerField(default=40)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    @property
    def quota(self) -> Cost:
        """The limit of each resource."""
        return Cost(
            self.quota_platforms,
            self.quota_machines,
            self.quota_vcpus,
            self.quota_memory_mib,
            self.quota_disk_gib,
        )


class ProjectOwner(models.Model):
    """uid owns the project: a copy of the directory's group, refreshed at login."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="owners")
    uid = models.CharField(max_length=128)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "uid"], name="one_row_per_owner")]


class ApiToken(models.Model):
    """A bearer token: only its SHA-256 is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()


class AuditEvent(models.Model):
    """Who did what to what, and when. Rows are only ever added."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150)
    verb = models.CharField(max_length=64)
    subject = models.CharField(max_length=128)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["subject", "-id"])]
