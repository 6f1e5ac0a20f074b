"""People who share a project with its main owner, and the invitations to them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import pgettext_lazy

from castserver.models.projects import DIGEST_LENGTH, Project
from common import clock


class Role(models.TextChoices):
    """What a member may do; ``services.projects.members.RIGHTS`` is the table."""

    OWNER = "owner", pgettext_lazy("role", "owner")
    SENDER = "sender", pgettext_lazy("role", "sender")
    VIEWER = "viewer", pgettext_lazy("role", "viewer")


class ProjectMember(models.Model):
    """A member besides the main owner, who is ``Project.owner``.

    The main owner stays a column: queues, limits and mails need exactly one person who
    answers for a project, and a project so cannot lose its last owner.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="members"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="project_memberships",
    )
    role = models.CharField(max_length=8, choices=Role.choices)
    added_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "user"], name="project_member_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.project_id}: {self.role}"


class InvitationQuerySet(models.QuerySet["ProjectInvitation"]):
    def open(self) -> InvitationQuerySet:
        return self.filter(
            accepted_at=None, withdrawn_at=None, expires_at__gt=clock.now()
        )


class ProjectInvitation(models.Model):
    """A link that makes one person a member. Of its token only a keyed digest is stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="invitations"
    )
    digest = models.CharField(max_length=DIGEST_LENGTH, unique=True)
    role = models.CharField(max_length=8, choices=Role.choices)
    # What the inviting person wrote to distinguish invitations: a name or a mail address.
    label = models.CharField(max_length=254, blank=True)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.project_id}: {self.role}"
