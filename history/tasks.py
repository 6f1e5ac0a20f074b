"""Deletes expired messages of the relay that are not archived."""

from __future__ import annotations

from celery import shared_task

from common import retention
from history import services
from relayserver.storage.pruning import prune_mailboxes


@shared_task(name="history.prune_messages")
def prune_messages() -> int:
    pruned = services.prune_messages() + retention.prune_tables(
        "history.prune_messages"
    )
    prune_mailboxes()
    return pruned
