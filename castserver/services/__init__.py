"""The services that pages and commands use. Handlers import the modules directly."""

from __future__ import annotations

from castserver.services.errors import CastError, Invalid, Missing, Taken, TooMany
from castserver.services.notifications.broadcast import notify_everyone
from castserver.services.notifications.notify import (
    Audience,
    Failure,
    NotifyOutcome,
    audience,
    notify,
)
from castserver.services.notifications.welcome import (
    set_welcome,
    welcome_of,
)
from castserver.services.projects.closing import close_project
from castserver.services.projects.demo import seed_demo
from castserver.services.projects.projects import (
    TypeDraft,
    add_secret,
    create_project,
    describe,
    find_secret,
    hosted_url,
    replace_secret,
    revoke_secret,
    set_types,
    set_url,
)
from castserver.services.subscribers.queries import accounts_of, scopes_of
from castserver.services.webhooks.webhooks import (
    delete_webhook,
    enable_webhook,
    queue_test_event,
    register_webhook,
    replay,
    rotate_secret,
    update_webhook,
)

__all__ = [
    "Audience",
    "CastError",
    "Failure",
    "Invalid",
    "Missing",
    "NotifyOutcome",
    "Taken",
    "TooMany",
    "TypeDraft",
    "accounts_of",
    "add_secret",
    "audience",
    "close_project",
    "create_project",
    "delete_webhook",
    "describe",
    "enable_webhook",
    "find_secret",
    "hosted_url",
    "notify",
    "notify_everyone",
    "queue_test_event",
    "register_webhook",
    "replace_secret",
    "replay",
    "revoke_secret",
    "rotate_secret",
    "scopes_of",
    "seed_demo",
    "set_types",
    "set_url",
    "set_welcome",
    "update_webhook",
    "welcome_of",
]
