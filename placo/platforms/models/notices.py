"""What people are told of their platforms, in the portal and by mail."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from placo.platforms.models.platforms import Platform


class Reminder(models.Model):
    """That the owners of a platform have been reminded of this end date, so many days before: once, whatever dies when."""

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="reminders")
    ends_on = models.DateField()
    days = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["platform", "ends_on", "days"], name="one_reminder_of_each_kind"),
        ]


class Notice(models.Model):
    """Something that one person is told about a platform; its words are made when it is read (services/notice_words.py).

    The row is the outbox, too: `mail_due_at` is when its mail is to be sent, or tried again; None when it has gone
    (`mailed_at`) or never will (`mail_error` says why).
    """

    EXPIRING, STOPPED, RETIRED, OWNERLESS = "expiring", "stopped", "retired", "ownerless"
    UNPROVEN = "unproven"

    uid = models.CharField(max_length=128)
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(
        max_length=16,
        choices=[
            (EXPIRING, _("ends soon")),
            (STOPPED, _("stopped")),
            (RETIRED, _("retired")),
            (OWNERLESS, _("has no owner")),
            (UNPROVEN, _("a proof has failed")),
        ],
    )
    ends_on = models.DateField()
    removed_on = models.DateField()
    at = models.DateTimeField(default=timezone.now)
    read_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)
    mail_due_at = models.DateTimeField(null=True)
    mail_attempts = models.PositiveIntegerField(default=0)
    mail_error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["uid", "-id"]),
            models.Index(fields=["uid"], condition=Q(read_at=None), name="unread_notices"),
            models.Index(fields=["mail_due_at"], condition=Q(mail_due_at__isnull=False), name="mail_to_send"),
        ]
