"""The wallet side: dapps, subscriptions, jobs on them, watches of the Cast Server."""

from __future__ import annotations

from subscriptions.models.attempts import SubscribeAttempt
from subscriptions.models.blocks import BlockedDapp
from subscriptions.models.dapps import REASON_LENGTH, URL_LENGTH, DappDocument
from subscriptions.models.domain_checks import DomainCheck
from subscriptions.models.icons import Icon
from subscriptions.models.jobs import SubscriptionJob
from subscriptions.models.subscriptions import (
    MIRRORED_FIELDS,
    NotifyMessageRecord,
    Subscription,
    SubscriptionQuerySet,
    normalize_url,
)
from subscriptions.models.watches import AccountWatch, WatchedServer

__all__ = [
    "MIRRORED_FIELDS",
    "REASON_LENGTH",
    "URL_LENGTH",
    "AccountWatch",
    "BlockedDapp",
    "DappDocument",
    "DomainCheck",
    "Icon",
    "NotifyMessageRecord",
    "SubscribeAttempt",
    "Subscription",
    "SubscriptionJob",
    "SubscriptionQuerySet",
    "WatchedServer",
    "normalize_url",
]
