"""The wallet side in the admin: read-only, and without keys, which are in the keychain."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from subscriptions.models import (
    DappDocument,
    DomainCheck,
    Icon,
    NotifyMessageRecord,
    SubscribeAttempt,
    Subscription,
)
from subscriptions.models.blocks import BlockedDapp
from subscriptions.models.jobs import SubscriptionJob
from subscriptions.models.watches import AccountWatch, WatchedServer


@admin.register(DappDocument)
class DappDocumentAdmin(ReadOnlyAdmin):
    list_display = ("url", "name", "fetched_at", "expires_at", "changed_keys", "reason")
    search_fields = ("url", "name")


@admin.register(DomainCheck)
class DomainCheckAdmin(ReadOnlyAdmin):
    list_display = ("url", "user", "created_at", "finished_at", "waits_for")
    search_fields = ("url",)


@admin.register(Icon)
class IconAdmin(ReadOnlyAdmin):
    """What notifications name stays with their readers: only the state is shown."""

    list_display = ("pk", "account", "wanted_at", "expires_at", "problem")
    search_fields = ("account__address",)
    hidden = ("url", "picture")


@admin.register(SubscribeAttempt)
class SubscribeAttemptAdmin(ReadOnlyAdmin):
    list_display = ("dapp_url", "account", "state", "last_step", "created_at", "reason")
    list_filter = ("state",)
    search_fields = ("dapp_url", "account__address", "response_topic")


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("dapp_url", "account", "topic", "added_by", "deleted_at")
    list_filter = ("added_by",)
    search_fields = ("dapp_url", "account__address", "topic")


@admin.register(NotifyMessageRecord)
class NotifyMessageRecordAdmin(ReadOnlyAdmin):
    """Metadata only: operators do not see what notifications contain."""

    list_display = ("rpc_id", "subscription", "type", "published_at", "read_at")
    search_fields = ("=rpc_id", "subscription__account__address")
    hidden = ("title", "body", "icon", "url", "message_auth")


@admin.register(BlockedDapp)
class BlockedDappAdmin(ReadOnlyAdmin):
    list_display = ("dapp_url", "account", "created_at")
    search_fields = ("dapp_url", "account__address")


@admin.register(WatchedServer)
class WatchedServerAdmin(ReadOnlyAdmin):
    list_display = ("url", "authentication_did", "fetched_at", "expires_at", "reason")


@admin.register(AccountWatch)
class AccountWatchAdmin(ReadOnlyAdmin):
    list_display = ("account", "server", "answered_at", "next_attempt_at", "reason")
    search_fields = ("account__address",)


@admin.register(SubscriptionJob)
class SubscriptionJobAdmin(ReadOnlyAdmin):
    list_display = ("subscription", "kind", "attempts", "next_attempt_at")
    list_filter = ("kind",)
