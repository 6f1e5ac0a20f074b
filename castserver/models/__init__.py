"""Models of the Cast Server: projects, subscribers, notifications, webhooks.

Spec: servers/notify. Private keys (X, P, authentication) are in the keychain; API secrets
are stored as keyed digests.
"""

from __future__ import annotations

from castserver.models.counts import ProjectCount
from castserver.models.keys import ProjectKeys
from castserver.models.members import ProjectInvitation, ProjectMember, Role
from castserver.models.notifications import (
    Broadcast,
    Delivery,
    DueDeliveries,
    Notification,
    Undelivered,
)
from castserver.models.projects import (
    AddressCheck,
    IdempotentCall,
    NotificationType,
    Project,
    ProjectSecret,
    SecretScope,
    ServerKeys,
    WelcomeNotification,
)
from castserver.models.sending import MessageTemplate, Recipient, RecipientList
from castserver.models.subscribers import (
    Answer,
    ChangedSubscriptions,
    Subscriber,
    SubscriberCount,
    Watcher,
)
from castserver.models.webhooks import Webhook, WebhookAttempt, WebhookDelivery

__all__ = [
    "AddressCheck",
    "Answer",
    "Broadcast",
    "ChangedSubscriptions",
    "Delivery",
    "DueDeliveries",
    "IdempotentCall",
    "MessageTemplate",
    "Notification",
    "NotificationType",
    "Project",
    "ProjectCount",
    "ProjectInvitation",
    "ProjectKeys",
    "ProjectMember",
    "ProjectSecret",
    "Recipient",
    "RecipientList",
    "Role",
    "SecretScope",
    "ServerKeys",
    "Subscriber",
    "SubscriberCount",
    "Undelivered",
    "Watcher",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
    "WelcomeNotification",
]
