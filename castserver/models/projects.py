"""Projects (a dapp each), their secrets and types, and the Cast Server's own keys."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from common import clock
from common.work_queue import Leased
from walletconnect.notify.values import NotifyMessage

PROJECT_ID_LENGTH = 32
DIGEST_LENGTH = 64


class Project(models.Model):
    """A dapp that sends notifications through this Cast Server."""

    id = models.CharField(
        primary_key=True, max_length=PROJECT_ID_LENGTH, help_text="32 hex digits"
    )
    name = models.CharField(max_length=64)
    slug = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=255, blank=True)
    icon = models.CharField(max_length=255, blank=True)
    # A hosted dapp has no domain of its own: <public url>/dapps/<slug>.
    # Not unique: anyone can enter any address, so an unproven one reserves nothing.
    url = models.CharField(max_length=512, db_index=True)
    # When did.json at the address last contained the keys of this project.
    url_proven_at = models.DateTimeField(null=True, blank=True)
    url_checked_at = models.DateTimeField(null=True, blank=True)
    is_hosted = models.BooleanField(default=False)
    # The step of the console's wizard that comes next; empty when it is done.
    setup_step = models.CharField(max_length=8, blank=True)
    is_demo = models.BooleanField(default=False)
    # Links in notifications go through /cast/v1/notification/<id>, which counts them.
    counts_clicks = models.BooleanField(default=False)
    # accounts.User is below this app, but a project may outlive its owner.
    owner = models.ForeignKey(
        "accounts.User",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="projects",
    )
    subscribe_topic = models.CharField(max_length=64, unique=True)
    public_key_x = models.CharField("X, X25519, hex", max_length=64)
    authentication_did = models.CharField("did:key", max_length=64)
    last_modified = models.DateTimeField(help_text="of the documents")
    created_at = models.DateTimeField()

    PROVEN_FIRST: ClassVar = (
        models.F("is_hosted").desc(),
        models.F("url_proven_at").desc(nulls_last=True),
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["url"],
                condition=models.Q(is_hosted=True)
                | models.Q(url_proven_at__isnull=False),
                name="proven_url_is_unique",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Path of the dapp's did.json below our own public URL."""
        return reverse("castserver:did-document", args=[self.slug])


class AddressCheck(models.Model):
    """What the domain of a project served when it was last read, for its owner.

    ``Project.url_checked_at`` and ``url_proven_at`` decide who has an address; this is
    the report behind them.
    """

    project = models.OneToOneField(
        Project,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="address_check",
    )
    url = models.CharField("address that was read", max_length=512)
    read_at = models.DateTimeField(null=True, blank=True)
    lines = models.JSONField(
        default=list, blank=True, help_text="[{label, state, text, remedy}]"
    )
    differences = models.JSONField(
        default=list, blank=True, help_text="[{label, expected, found}]"
    )
    # When the owner last asked for a check or changed the address: it is read more often
    # for an hour.
    asked_at = models.DateTimeField(null=True, blank=True)
    # Both documents were last as expected.
    matched_at = models.DateTimeField(null=True, blank=True)
    # Since then they are not, although they were before.
    differs_since = models.DateTimeField(null=True, blank=True)
    # The ``differs_since`` that the owner was mailed about.
    mailed_for = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["differs_since"],
                name="address_check_differs",
                condition=models.Q(differs_since__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.url


class SecretScope(models.TextChoices):
    """What a bearer secret may do. Every secret reads the project's public keys and types."""

    SEND = "notify:send", _("Send notifications")
    SUBSCRIBERS = "subscribers:read", _("Read subscribers")
    WEBHOOKS = "webhooks:write", _("Read and change webhooks")
    PROJECT = "project:write", _("Change types and address")


def every_scope() -> list[str]:
    return list(SecretScope.values)


class ProjectSecretQuerySet(models.QuerySet["ProjectSecret"]):
    def active(self) -> ProjectSecretQuerySet:
        not_expired = models.Q(expires_at=None) | models.Q(expires_at__gt=clock.now())
        return self.filter(not_expired, revoked_at=None)


class ProjectSecret(models.Model):
    """A bearer secret of a project, stored as a keyed digest; shown once, when made."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="secrets"
    )
    digest = models.CharField(max_length=DIGEST_LENGTH, unique=True)
    prefix = models.CharField(max_length=8)
    name = models.CharField(max_length=64, blank=True)
    scopes = models.JSONField(default=every_scope)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # Set when another secret replaces this one: until then both are valid.
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = ProjectSecretQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= clock.now()

    @property
    def is_active(self) -> bool:
        return self.revoked_at is None and not self.is_expired

    @property
    def scope_labels(self) -> list[str]:
        return [str(each.label) for each in SecretScope if each.value in self.scopes]


class NotificationType(models.Model):
    """A kind of notification that a subscriber can allow or refuse.

    Scopes and notifications carry ``type_id``, often a UUID; ``name`` is for people.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="types")
    type_id = models.CharField(max_length=64)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=255, blank=True)
    icon = models.CharField(max_length=255, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "type_id"], name="notification_type_is_unique"
            )
        ]
        ordering: ClassVar = ["position", "id"]

    def __str__(self) -> str:
        return self.name


class WelcomeNotification(models.Model):
    """The notification that every new subscriber of a project gets once."""

    project = models.OneToOneField(
        Project, on_delete=models.CASCADE, primary_key=True, related_name="welcome"
    )
    enabled = models.BooleanField(default=False)
    type = models.CharField(max_length=64)
    title = models.CharField(max_length=64)
    body = models.CharField(max_length=255)
    url = models.CharField(max_length=255, blank=True)
    # Null until the first delivery of this content, and again after it changed.
    notification = models.ForeignKey(
        "castserver.Notification",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    def __str__(self) -> str:
        return self.title

    @property
    def message(self) -> NotifyMessage:
        return NotifyMessage(
            type=self.type, title=self.title, body=self.body, url=self.url
        )


class IdempotentCall(Leased):
    """A REST call with an ``Idempotency-Key``, and its response.

    Committed before the work begins; the response is written in the transaction of the
    work. A row without a response is a call that is running, or one whose process died:
    then its lease is void and a repeat takes over.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_digest = models.CharField(max_length=DIGEST_LENGTH)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    # Sealed, because the response to a registration contains the webhook's secret.
    # Empty while the call runs.
    answer = models.BinaryField(default=b"")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "key"], name="idempotent_call_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.key[:16]}: {self.status or 'running'}"


class ServerKeys(models.Model):
    """The Cast Server's own public keys, published in ``/.well-known/did.json``. One row.

    Clients send ``wc_notifyWatchSubscriptions`` to them.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    watch_topic = models.CharField(max_length=64, unique=True)
    public_key = models.CharField("key agreement, X25519, hex", max_length=64)
    authentication_did = models.CharField("did:key", max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(id=1), name="server_keys_are_one_row"
            )
        ]
        verbose_name_plural = "server keys"

    def __str__(self) -> str:
        return self.authentication_did
