"""People from outside: invitations, the accounts that come of them, their passwords; ssh keys; who owns a platform no more."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from placo.platforms.models.people import User
from placo.platforms.models.platforms import Platform


class Mailed(models.Model):
    """A row that is the outbox of its own mail: `mail_due_at` is when it is to be sent, or tried again; None when it has gone
    (`mailed_at`) or never will (`mail_error` says why).

    The mail holds a link whose token is derived from the site's key and `nonce` (services/links.py). It is not kept, only its
    digest is, and another nonce makes the old link void.
    """

    nonce = models.CharField(max_length=32)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    mailed_at = models.DateTimeField(null=True)
    mail_due_at = models.DateTimeField(null=True)
    mail_attempts = models.PositiveIntegerField(default=0)
    mail_error = models.CharField(max_length=300, blank=True)

    class Meta:
        abstract = True


class Guest(models.Model):
    """An account of somebody from outside, which the portal made and removes. A uid is never given to anybody else again.

    `making`: the account may be half there, its invitation is open again if that is not completed. `skeleton` is what the uid
    looks like: no two guests look the same. `ends_on` is the end that the directory was told, `alone_on` since when the guest
    has been invited by nobody any more and belongs to no platform.
    """

    MAKING, ACTIVE, REMOVED = "making", "active", "removed"

    uid = models.CharField(max_length=64, unique=True)
    skeleton = models.CharField(max_length=64, unique=True)
    mail = models.CharField(max_length=254)
    name = models.CharField(max_length=100)
    state = models.CharField(
        max_length=8,
        default=MAKING,
        choices=[(MAKING, _("being made")), (ACTIVE, _("active")), (REMOVED, _("removed"))],
    )
    made_at = models.DateTimeField(default=timezone.now)
    ends_on = models.DateField(null=True)
    alone_on = models.DateField(null=True)

    class Meta:
        ordering = ["uid"]
        constraints = [
            models.UniqueConstraint(
                Lower("mail"), condition=~Q(state="removed"), name="one_living_guest_per_address"
            ),
        ]


class Invitation(Mailed):
    """Somebody outside is asked to use a platform, until a day or, without one, for as long as the platform is there.

    It is open until it is accepted, revoked or late. `guest` is the account that is made, or was made, by accepting it.
    """

    ENGLISH, FRENCH, BOTH = "en", "fr", "both"

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="invitations")
    mail = models.CharField(max_length=254)
    language = models.CharField(
        max_length=4,
        default=BOTH,
        choices=[(ENGLISH, _("English")), (FRENCH, _("French")), (BOTH, _("English and French"))],
    )
    until = models.DateField(null=True)
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="invitations")
    guest = models.ForeignKey(Guest, on_delete=models.SET_NULL, null=True, related_name="invitations")
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.CharField(max_length=128, blank=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                "platform",
                Lower("mail"),
                condition=Q(accepted_at=None, revoked_at=None),
                name="one_open_invitation_per_address",
            ),
        ]
        indexes = [
            models.Index(
                fields=["mail_due_at"], condition=Q(mail_due_at__isnull=False), name="invitations_to_send"
            ),
        ]


class PasswordReset(Mailed):
    """A guest has forgotten the password and may choose another one, once, within the hour."""

    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="resets")
    language = models.CharField(max_length=4, blank=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["mail_due_at"], condition=Q(mail_due_at__isnull=False), name="resets_to_send"
            ),
        ]


class SshKey(models.Model):
    """A public key with which somebody may log in by ssh; the directory holds a copy that the machines read."""

    uid = models.CharField(max_length=128)
    title = models.CharField(max_length=100, blank=True)
    kind = models.CharField(max_length=40)
    bits = models.PositiveIntegerField()
    key = models.TextField()
    fingerprint = models.CharField(max_length=64)
    added_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["uid", "fingerprint"], name="one_row_per_key_of_a_person"),
        ]


class SteppedDown(models.Model):
    """Somebody who owns a project has handed over this platform of it, and manages it no more."""

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="stepped_down")
    uid = models.CharField(max_length=128)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["platform", "uid"], name="stepped_down_once"),
        ]


class Attempt(models.Model):
    """Something of which only so many are allowed in a while. `who` is a digest: nobody is to be read from here."""

    what = models.CharField(max_length=24)
    who = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["what", "who", "at"]), models.Index(fields=["at"])]
