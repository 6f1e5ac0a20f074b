"""Subscribers, watchers, and the answers to their requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from django.db import models

from castserver.models.projects import Project
from common import clock
from walletconnect.notify.dialect import V1, dialect_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from walletconnect.notify.subscribe import SubscribeAnswer
    from walletconnect.notify.update import UpdateAnswer

ACCOUNT_LENGTH = 168


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def live(self, now: datetime) -> SubscriberQuerySet:
        return self.filter(deleted_at=None, expires_at__gt=now)

    def of(self, project_id: str) -> SubscriberQuerySet:
        return self.filter(project_id=project_id)

    def oldest_first(self) -> SubscriberQuerySet:
        """By the time at which the wallets subscribed."""
        return self.order_by("subscribe_iat", "id")

    def of_accounts(self, account_keys: Iterable[str]) -> SubscriberQuerySet:
        return self.filter(account_key__in=account_keys)


class Subscriber(models.Model):
    """An account that subscribed: one row per notify topic.

    An account may have several: every subscribe of a v0 client makes a new key P, and
    the earlier topics stay live because other devices may use them.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="subscribers", db_index=False
    )
    account = models.CharField(
        "CAIP-10", max_length=ACCOUNT_LENGTH, help_text="as the wallet spells it"
    )
    # Accounts are compared by this: of eip155 the address alone, in lower case.
    account_key = models.CharField(max_length=ACCOUNT_LENGTH)
    topic = models.CharField("notify topic", max_length=64, unique=True)
    scope = models.JSONField(help_text="enabled type names")
    # The claim `app` of the wallet: a URL (v0) or a did:web (v1). Messages repeat it,
    # because clients compare the text.
    app = models.CharField(max_length=300)
    expires_at = models.DateTimeField()
    subscription_hash = models.CharField(
        max_length=64, help_text="sha256 of the last subscriptionAuth or updateAuth"
    )
    # Which of an account's topics is newer, whatever order the requests arrived in.
    subscribe_iat = models.BigIntegerField(
        db_default=0,
        help_text="iat of the first subscribe, or its arrival if that was earlier; seconds",
    )
    # The last accepted request: its `iat` by the wallet's clock, the time by ours, and
    # the identity key that signed it.
    last_iat = models.BigIntegerField(help_text="seconds")
    last_word_at = models.DateTimeField()
    identity_did = models.CharField("did:key", max_length=64)
    is_later_generation = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    delete_reason = models.CharField(max_length=200, blank=True)
    # `iat` of the delete, seconds; a subscribe that was signed earlier is refused.
    delete_iat = models.BigIntegerField(null=True, blank=True)
    # Key P is deleted after 31 days; the row stays because of `delete_iat`.
    keys_forgotten = models.BooleanField(default=False)

    objects = SubscriberQuerySet.as_manager()

    # The columns that `renew` sets.
    RENEWED: ClassVar = (
        "scope",
        "app",
        "expires_at",
        "subscription_hash",
        "last_iat",
        "last_word_at",
        "identity_did",
        "is_later_generation",
    )

    class Meta:
        indexes: ClassVar = [
            # Includes deleted rows: a subscribe needs the last delete of its account.
            models.Index(
                fields=["project", "account_key"], name="subscriber_by_account"
            ),
            models.Index(
                fields=["account_key"],
                name="subscriber_live_by_account",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["project", "-id"],
                name="subscriber_live_newest",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["expires_at"],
                name="subscriber_by_expiry",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["deleted_at"],
                name="subscriber_ended",
                condition=models.Q(deleted_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.account

    def renew(
        self, answer: SubscribeAnswer | UpdateAnswer, *, identity_did: str
    ) -> None:
        """Set the columns that an accepted subscribe or update changes; unsaved."""
        self.scope = list(answer.scope)
        self.app = answer.app
        self.expires_at = datetime.fromtimestamp(answer.expiry, UTC)
        self.subscription_hash = answer.subscription_hash
        self.last_iat = answer.iat
        self.last_word_at = clock.now()
        self.identity_did = identity_did
        self.is_later_generation = dialect_of(answer.app) is V1

    def is_live(self, now: datetime) -> bool:
        return self.deleted_at is None and now < self.expires_at

    def last_iat_for(self, identity_did: str) -> int:
        """The oldest ``iat`` that a further request of ``identity_did`` may have.

        A device orders its own requests by its clock, right or wrong. For another device
        a clock that is ahead does not count: otherwise it would be locked out until then.
        """
        if identity_did == self.identity_did:
            return self.last_iat
        return min(self.last_iat, int(self.last_word_at.timestamp()))


class SubscriberCount(models.Model):
    """How many accounts allowed a type on a day (UTC); the empty type means all."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    day = models.DateTimeField(help_text="midnight UTC")
    type_id = models.CharField(max_length=64, blank=True)
    number = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "day", "type_id"], name="subscriber_count_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["day"], name="subscriber_count_by_day")
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.type_id or 'all'}: {self.number}"


class Answer(models.Model):
    """The answer to a request; a repeat of the request gets the same bytes."""

    # Null for answers to watchers, which are of the Cast Server itself.
    project = models.ForeignKey(
        Project, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    request_topic = models.CharField(max_length=64)
    request_message_id = models.CharField(max_length=64)
    # Key Y is fresh for every attempt, so the response topic identifies the attempt: a
    # request that was sealed twice is found by it.
    response_topic = models.CharField(max_length=64)
    rpc_id = models.CharField(max_length=64)
    message = models.TextField()
    tag = models.IntegerField()
    ttl = models.PositiveIntegerField()
    # The answer is not sent again once this has ended.
    subscriber = models.ForeignKey(
        Subscriber, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["request_topic", "request_message_id"], name="answer_is_unique"
            ),
            models.UniqueConstraint(
                fields=["response_topic", "rpc_id"],
                condition=models.Q(tag=4001),
                name="subscribe_answer_is_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"answer on {self.response_topic}"


class WatcherQuerySet(models.QuerySet["Watcher"]):
    def live(self, now: datetime) -> WatcherQuerySet:
        return self.filter(expires_at__gt=now)


class Watcher(models.Model):
    """A v1 client that receives changes of an account's subscriptions."""

    account = models.CharField("CAIP-10", max_length=ACCOUNT_LENGTH)
    account_key = models.CharField(max_length=ACCOUNT_LENGTH, db_index=True)
    identity_did = models.CharField("did:key", max_length=64, unique=True)
    # The only app it may see; empty: all apps.
    app_domain = models.CharField(max_length=512, blank=True)
    response_topic = models.CharField(max_length=64, db_index=True)
    # The client's major version; empty if the claim is absent.
    mjv = models.CharField(max_length=16, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField()

    objects = WatcherQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.account}: {self.app_domain or 'all apps'}"


class ChangedSubscriptions(models.Model):
    """A change of an account's subscriptions that its watchers have not received yet.

    Rows wait 100 ms, so that changes close together make one announcement.
    """

    account_key = models.CharField(max_length=ACCOUNT_LENGTH)
    app_domain = models.CharField(max_length=512)
    # The identity key that made the change and receives it in the answer.
    source_did = models.CharField(max_length=64, blank=True)
    due_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account_key", "app_domain", "source_did"],
                name="changed_subscriptions_are_unique",
            )
        ]
        verbose_name_plural = "changed subscriptions"

    def __str__(self) -> str:
        return f"{self.account_key} at {self.app_domain}"
