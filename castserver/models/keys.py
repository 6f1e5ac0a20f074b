"""Keys of projects besides the ones in use, while keys are being replaced."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from castserver.models.projects import Project


class ProjectKeys(models.Model):
    """Keys that a project will have, or had; their private parts are in the keychain.

    The keys in use are columns of ``Project``. Wallets may address any of these, because
    they read did.json at different times.
    """

    class State(models.TextChoices):
        # Made, and used as soon as the domain publishes them.
        NEXT = "next"
        # Replaced, and accepted until ``valid_until``.
        PREVIOUS = "previous"

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="other_keys"
    )
    state = models.CharField(max_length=8, choices=State.choices)
    subscribe_topic = models.CharField(max_length=64, unique=True)
    public_key_x = models.CharField("X, X25519, hex", max_length=64)
    authentication_did = models.CharField("did:key", max_length=64)
    # Signed by this authentication key: which keys came after it. Of previous keys.
    handover = models.TextField(blank=True)
    created_at = models.DateTimeField()
    valid_until = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project"],
                condition=models.Q(state="next"),
                name="project_has_one_next_keys",
            )
        ]
        verbose_name_plural = "project keys"

    def __str__(self) -> str:
        return self.authentication_did
