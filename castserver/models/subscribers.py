"""Who subscribed, who watches, and the answers that they were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from castserver.models.projects import Project

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

ACCOUNT_LENGTH = 168


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def live(self, now: datetime) -> SubscriberQuerySet:
        return self.filter(deleted_at=None, expires_at__gt=now)

    def of(self, project_id: str) -> SubscriberQuerySet:
        return self.filter(project_id=project_id)

    def of_accounts(self, account_keys: Iterable[str]) -> SubscriberQuerySet:
        return self.filter(account_key__in=account_keys)


class Subscriber(models.Model):
    """An account that subscribed: one row per notify topic.

    An account may have several, because every subscribe of an August client makes a
    new key P, and the topics it got before stay alive.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="subscribers"
    )
    account = models.CharField(
        "CAIP-10", max_length=ACCOUNT_LENGTH, help_text="as the wallet spells it"
    )
    # What accounts are compared by: of eip155 the address alone, in lower case.
    account_key = models.CharField(max_length=ACCOUNT_LENGTH)
    topic = models.CharField("notify topic", max_length=64, unique=True)
    scope = models.JSONField(help_text="enabled type names")
    # The app claim of the wallet, repeated to it: a URL, or a did:web.
    app = models.CharField(max_length=300)
    expires_at = models.DateTimeField()
    subscription_hash = models.CharField(
        max_length=64, help_text="sha256 of the last subscriptionAuth or updateAuth"
    )
    # The account's last accepted word: as the wallet's clock dates it, as ours does,
    # and whose it was.
    last_iat = models.BigIntegerField(help_text="seconds")
    last_word_at = models.DateTimeField()
    identity_did = models.CharField("did:key", max_length=64)
    is_later_generation = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    delete_reason = models.CharField(max_length=200, blank=True)
    # When the account said it leaves, seconds; a subscribe signed before is refused.
    delete_iat = models.BigIntegerField(null=True, blank=True)
    # The row outlives its key P: it remembers the account's last word.
    keys_forgotten = models.BooleanField(default=False)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            # Deleted rows too: the last delete of an account outlives it.
            models.Index(
                fields=["project", "account_key"], name="subscriber_by_account"
            ),
            models.Index(
                fields=["account_key"],
                name="subscriber_live_by_account",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["expires_at"],
                name="subscriber_by_expiry",
                condition=models.Q(deleted_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.account

    def is_live(self, now: datetime) -> bool:
        return self.deleted_at is None and now < self.expires_at

    def last_iat_for(self, identity_did: str) -> int:
        """What a further word of ``identity_did`` must not be older than.

        One device has one clock, right or wrong. Another one must not be locked out by
        it, so for that the last word is no later than when we heard it.
        """
        if identity_did == self.identity_did:
            return self.last_iat
        return min(self.last_iat, int(self.last_word_at.timestamp()))


class Answer(models.Model):
    """The stored answer to a request: the same request always gets the same bytes."""

    # Empty for an answer of the Cast Server itself (to a watcher).
    project = models.ForeignKey(
        Project, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    request_topic = models.CharField(max_length=64)
    request_message_id = models.CharField(max_length=64)
    # With a fresh key Y the response topic names the wallet's attempt, so that a
    # request that was sealed twice is still one request.
    response_topic = models.CharField(max_length=64)
    rpc_id = models.CharField(max_length=64)
    message = models.TextField()
    tag = models.IntegerField()
    ttl = models.PositiveIntegerField()
    # What the request made; an answer for something deleted is not sent again.
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
    """A client of the later generation that wants to hear of an account's changes."""

    account = models.CharField("CAIP-10", max_length=ACCOUNT_LENGTH)
    account_key = models.CharField(max_length=ACCOUNT_LENGTH, db_index=True)
    identity_did = models.CharField("did:key", max_length=64, unique=True)
    # The only app it may see; empty: all apps.
    app_domain = models.CharField(max_length=512, blank=True)
    response_topic = models.CharField(max_length=64, db_index=True)
    # The client's major version; empty in those that do not say.
    mjv = models.CharField(max_length=16, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField()

    objects = WatcherQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.account}: {self.app_domain or 'all apps'}"


class ChangedSubscriptions(models.Model):
    """The subscriptions of an account changed: its watchers have to be told.

    Rows wait a moment, so that changes close together make one announcement.
    """

    account_key = models.CharField(max_length=ACCOUNT_LENGTH)
    app_domain = models.CharField(max_length=512)
    # Who made the change and learns of it from the answer.
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
