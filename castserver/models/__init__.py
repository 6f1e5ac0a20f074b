"""The dapp side's rows: projects, who subscribed, what was sent, who has to be told.

Spec: servers/notify ("Cast Server" in the seed). Keys X, Z, P and the authentication
keys are in the keychain; API secrets are kept as keyed digests only.
"""

from __future__ import annotations

from castserver.models.notifications import Delivery, Notification, Undelivered
from castserver.models.projects import (
    IdempotentCall,
    NotificationType,
    Project,
    ProjectSecret,
    ServerKeys,
    WelcomeNotification,
)
from castserver.models.subscribers import (
    Answer,
    ChangedSubscriptions,
    Subscriber,
    Watcher,
)
from castserver.models.webhooks import Webhook, WebhookAttempt, WebhookDelivery

__all__ = [
    "Answer",
    "ChangedSubscriptions",
    "Delivery",
    "IdempotentCall",
    "Notification",
    "NotificationType",
    "Project",
    "ProjectSecret",
    "ServerKeys",
    "Subscriber",
    "Undelivered",
    "Watcher",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
    "WelcomeNotification",
]
