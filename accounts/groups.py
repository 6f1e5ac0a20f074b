"""Channels groups of a user and of a device, and how messages are sent to them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

logger = logging.getLogger(__name__)

# Sends that run at once. Each takes a connection of the pool for a moment.
SEND_BATCH_SIZE: Final = 100


def user_group(user_id: int) -> str:
    return f"user.{user_id}"


def device_group(device_id: UUID) -> str:
    return f"device.{device_id}"


def send_to_groups(messages: Mapping[str, Mapping[str, Any]]) -> None:
    """Send one Channels message to each group, now; call it after the commit.

    Messages are hints. Receivers also read the database every few seconds, so a failing
    Redis costs time only and is logged.
    """
    layer = get_channel_layer()
    if layer is None or not messages:
        return

    async def send_all() -> None:
        waiting = list(messages.items())
        while waiting:
            batch, waiting = waiting[:SEND_BATCH_SIZE], waiting[SEND_BATCH_SIZE:]
            await asyncio.gather(
                *(layer.group_send(group, dict(message)) for group, message in batch)
            )

    try:
        async_to_sync(send_all)()
    except (redis.RedisError, OSError) as error:
        logger.warning("group messages not sent", extra={"error": type(error).__name__})
