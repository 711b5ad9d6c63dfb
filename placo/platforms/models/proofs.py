"""What was tried at the doors of platforms, and what came of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from placo.domain.doors import Access
from placo.domain.proofs import Case
from placo.drivers.doors import Answer
from placo.platforms.models.people import User
from placo.platforms.models.platforms import Platform


class Proof(models.Model):
    """That a platform lets in who may come in, and nobody else: asked for (`asked_by` None: by the schedule), made, ended.

    BROKEN: it could not be made to its end, and says nothing about the platform; `reason` is why.
    """

    ASKED, GOING, PASSED, FAILED, BROKEN = "asked", "going", "passed", "failed", "broken"
    DIRECTORY, CHANGED, DIED, ERROR = "directory", "changed", "died", "error"

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="proofs")
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    state = models.CharField(
        max_length=8,
        default=ASKED,
        choices=[
            (ASKED, _("asked for")),
            (GOING, _("under way")),
            (PASSED, _("passed")),
            (FAILED, _("failed")),
            (BROKEN, _("broken off")),
        ],
    )
    reason = models.CharField(
        max_length=12,
        blank=True,
        choices=[
            (DIRECTORY, _("the directory did not answer")),
            (CHANGED, _("the platform was not ready all the time")),
            (DIED, _("the worker that made it has died")),
            (ERROR, _("a fault of PLACO; its log says more")),
        ],
    )
    asked_at = models.DateTimeField(default=timezone.now)
    began_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["platform"], condition=Q(ended_at=None), name="one_proof_at_a_time_per_platform"
            )
        ]

    @property
    def over(self) -> bool:
        """Nothing more comes of it."""
        return self.ended_at is not None


class ProofCase(models.Model):
    """One try at one door. `answer` is what came of it, `passed` whether that is right, `said` what was seen, in English.

    `seconds`: how long it took; of a removed member, from the removal until the door refused.
    """

    proof = models.ForeignKey(Proof, on_delete=models.CASCADE, related_name="cases")
    service = models.CharField(max_length=32)
    endpoint = models.CharField(max_length=32)
    access = models.CharField(max_length=8, choices=[(a.value, a.value) for a in Access])
    case = models.CharField(max_length=12, choices=[(c.value, c.value) for c in Case])
    answer = models.CharField(max_length=10, choices=[(a.value, a.value) for a in Answer])
    passed = models.BooleanField()
    seconds = models.FloatField(null=True)
    said = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["id"]
