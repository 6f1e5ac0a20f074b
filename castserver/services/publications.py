"""The outbox of the Cast Server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from messaging import outbox
from messaging.models import Party

if TYPE_CHECKING:
    from collections.abc import Iterable

    from walletconnect.relay.messages import Publication


def publish_all(publications: Iterable[Publication]) -> None:
    """Store messages to publish, in the caller's transaction."""
    outbox.publish_all(Party.CAST, publications)
