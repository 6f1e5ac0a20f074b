"""The Channels group of all web processes, and how hints are sent to it.

One group for all users: a hint is a few bytes, and a web process looks up in memory which of
its sockets are concerned. A group for each user would cost a subscription in Redis for each,
and a message for each user of a transaction.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

LIVE_GROUP: Final = "live"


def send_hint(message: Mapping[str, Any]) -> None:
    """Send a Channels message to all web processes, now; call it after the commit.

    Receivers also read the database every few seconds, so a failing Redis costs time only
    and is logged.
    """
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.group_send)(LIVE_GROUP, dict(message))
    except (redis.RedisError, OSError) as error:
        logger.warning("hint not sent", extra={"error": type(error).__name__})
