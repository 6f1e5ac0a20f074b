"""Read-only admin pages, except that a webhook event can be sent again.

Sealed columns, digests and the bytes of answers are hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages

from accounts.admin import ReadOnlyAdmin, SizedAdmin
from castserver import models
from castserver.services.webhooks.webhooks import replay

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(models.Project)
class ProjectAdmin(ReadOnlyAdmin):
    list_display = ("name", "url", "is_hosted", "is_demo", "owner", "created_at")
    search_fields = ("name", "url", "slug", "id")


@admin.register(models.ProjectSecret)
class ProjectSecretAdmin(ReadOnlyAdmin):
    hidden = ("digest",)
    list_display = (
        "prefix",
        "name",
        "project",
        "scopes",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )


@admin.register(models.ProjectMember)
class ProjectMemberAdmin(ReadOnlyAdmin):
    list_display = ("project", "user", "role", "added_at")
    list_filter = ("role",)
    search_fields = ("project__name", "user__username")


@admin.register(models.ProjectInvitation)
class ProjectInvitationAdmin(ReadOnlyAdmin):
    hidden = ("digest",)
    list_display = (
        "project",
        "role",
        "invited_by",
        "created_at",
        "expires_at",
        "accepted_at",
        "withdrawn_at",
    )
    list_filter = ("role",)
    search_fields = ("project__name",)


@admin.register(models.ProjectKeys)
class ProjectKeysAdmin(ReadOnlyAdmin):
    list_display = (
        "authentication_did",
        "project",
        "state",
        "created_at",
        "valid_until",
    )
    list_filter = ("state",)
    search_fields = ("project__name", "authentication_did")


@admin.register(models.NotificationType)
class NotificationTypeAdmin(ReadOnlyAdmin):
    list_display = ("type_id", "name", "project", "description")


@admin.register(models.Subscriber)
class SubscriberAdmin(ReadOnlyAdmin):
    list_display = ("account", "project", "scope", "expires_at", "deleted_at")
    list_filter = ("is_later_generation",)
    search_fields = ("account_key", "topic")


@admin.register(models.Watcher)
class WatcherAdmin(ReadOnlyAdmin):
    list_display = ("account", "app_domain", "mjv", "expires_at")
    search_fields = ("account_key",)


@admin.register(models.Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ("title", "project", "type", "created_at")
    search_fields = ("title",)


@admin.register(models.ProjectCount)
class ProjectCountAdmin(ReadOnlyAdmin):
    list_display = ("project", "day", "notifications", "sent", "received", "read")
    search_fields = ("project__name",)


@admin.register(models.SubscriberCount)
class SubscriberCountAdmin(ReadOnlyAdmin):
    list_display = ("project", "day", "type_id", "number")
    search_fields = ("project__name",)


@admin.register(models.Broadcast)
class BroadcastAdmin(ReadOnlyAdmin):
    list_display = ("notification", "sent", "expected", "finished_at", "is_cancelled")


@admin.register(models.RecipientList)
class RecipientListAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "size", "left_out", "created_at")


@admin.register(models.Recipient)
class RecipientAdmin(ReadOnlyAdmin):
    list_display = ("account", "recipients")


@admin.register(models.MessageTemplate)
class MessageTemplateAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "type", "title", "changed_at")


@admin.register(models.AddressCheck)
class AddressCheckAdmin(ReadOnlyAdmin):
    list_display = ("url", "project", "read_at", "matched_at", "differs_since")


@admin.register(models.Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("rpc_id", "notification", "subscriber", "sent_at", "receipt_at")


@admin.register(models.DueDeliveries)
class DueDeliveriesAdmin(ReadOnlyAdmin):
    list_display = ("notification", "created_at")


@admin.register(models.Undelivered)
class UndeliveredAdmin(ReadOnlyAdmin):
    list_display = ("account", "notification", "reason")


@admin.register(models.Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    list_display = ("url", "project", "events", "failing_since", "disabled_at")


@admin.register(models.WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("event", "webhook", "state", "attempts", "last_status", "reason")
    list_filter = ("state", "event")
    actions = ("send_again",)

    @admin.action(description="Send again, under the same id", permissions=["view"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        deliveries = list(queryset)
        for delivery in deliveries:
            replay(delivery)
        self.message_user(
            request, f"{len(deliveries)} events are sent again.", messages.SUCCESS
        )


@admin.register(models.WebhookAttempt)
class WebhookAttemptAdmin(ReadOnlyAdmin):
    list_display = ("delivery", "number", "at", "status", "milliseconds", "reason")


@admin.register(models.ServerKeys)
class ServerKeysAdmin(ReadOnlyAdmin):
    list_display = ("authentication_did", "watch_topic", "created_at")


@admin.register(models.WelcomeNotification)
class WelcomeNotificationAdmin(ReadOnlyAdmin):
    list_display = ("project", "enabled", "type", "title")


@admin.register(models.IdempotentCall)
class IdempotentCallAdmin(ReadOnlyAdmin):
    hidden = ("key", "request_digest", "answer")
    list_display = ("project", "status", "created_at", "leased_until")


@admin.register(models.Answer)
class AnswerAdmin(SizedAdmin):
    list_display = ("tag", "project", "response_topic", "size", "created_at")
    search_fields = ("=request_topic", "=response_topic")


@admin.register(models.ChangedSubscriptions)
class ChangedSubscriptionsAdmin(ReadOnlyAdmin):
    list_display = ("account_key", "app_domain", "due_at")
