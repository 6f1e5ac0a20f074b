"""Collects deliveries, stores them with one statement, then acknowledges them.

Never acknowledged before the commit: after a crash in between, the relay delivers the
message again, and the unique constraint of the inbox drops it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from django.db import Error as DatabaseError

from common import clock
from common.failpoints import failpoint
from messaging import services
from messaging.drop_counter import DropCounter
from messaging.inbox import INSERT, Received, insert_parameters
from walletconnect.errors import ProtocolError
from walletconnect.relay.frames import Delivery, RelayMethod, split_method

if TYPE_CHECKING:
    from messaging.gateway.connection import RelayConnection
    from messaging.gateway.database import Database, DjangoThread
    from messaging.models import Party
    from walletconnect.relay.rpc import JsonRpcRequest, RpcId

logger = logging.getLogger(__name__)
dropped = DropCounter(logger, "deliveries dropped")

# Collected for one statement; beyond it, reading stops until the database is done.
MAX_MESSAGES: Final = 2_000
MAX_CHARACTERS: Final = 8 * 1024 * 1024


class TaskStarter:
    """Starts workers on the inbox; requests during a start are combined."""

    def __init__(self, django: DjangoThread) -> None:
        self._django = django
        self._wanted = asyncio.Event()

    def start(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._django.run(services.start_handling)
            except DatabaseError as error:
                logger.warning("no worker started: %s", type(error).__name__)


class InboxWriter:
    """Stores the deliveries of one connection."""

    def __init__(
        self,
        party: Party,
        database: Database,
        *,
        connection: RelayConnection,
        starter: TaskStarter,
    ) -> None:
        self._party = party
        self._database = database
        self._connection = connection
        self._starter = starter
        # Request ids, with None for deliveries that are acknowledged and dropped.
        self._collected: list[tuple[RpcId, Received | None]] = []
        self._characters = 0
        self._storing = asyncio.Lock()
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def on_request(self, request: JsonRpcRequest) -> None:
        """Collect a delivery; waits while ``MAX_MESSAGES`` are collected already."""
        try:
            _, method = split_method(request.method)
        except ProtocolError:
            method = None
        if method is not RelayMethod.SUBSCRIPTION:
            await self._connection.refuse(request)
            return
        received = _read(request)
        self._collected.append((request.id, received))
        self._characters += len(received.message) if received else 0
        self._some.set()
        if len(self._collected) >= MAX_MESSAGES or self._characters >= MAX_CHARACTERS:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Store batch after batch; the next one is collected while a statement runs."""
        while True:
            await self._some.wait()
            await self.store_collected()

    async def store_collected(self) -> None:
        async with self._storing:
            delivered, self._collected, self._characters = self._collected, [], 0
            self._some.clear()
            self._room.set()
            if not delivered:
                return
            storable = [received for _, received in delivered if received is not None]
            fresh = []
            if storable:
                failpoint(
                    "gateway.inbox.before_commit", (each.tag for each in storable)
                )
                parameters = insert_parameters(self._party, storable, now=clock.now())
                fresh = await self._database.fetch(INSERT, parameters)
            failpoint("gateway.inbox.after_commit", (each.tag for each in storable))
            await self._connection.acknowledge([id_ for id_, _ in delivered])
            if fresh:
                self._starter.start()


def _read(request: JsonRpcRequest) -> Received | None:
    """The message of a delivery, or None if it is malformed."""
    try:
        published = Delivery.from_params(request.params).published
    except ProtocolError:
        dropped.count("malformed")
        return None
    received = Received(
        published.topic, published.message, published.tag, published.published_at
    )
    if not received.is_storable():
        dropped.count("not an envelope, or too large")
        return None
    return received
