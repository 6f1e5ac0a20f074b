"""Callbacks for confirmed topics: an app learns that the relay has subscribed a topic.

``outbox.subscribe`` stores the name of a callback and a JSON context with the topic's row;
the gateway calls it with that context once the relay has confirmed the topic. Names are
registered in an app's ``handlers.py``, like message handlers::

    @on_confirmed("subscriptions.record_topic_step")
    def record_topic_steps(confirmed: list[Confirmed]) -> None: ...

A callback may be called twice for one subscription, because the gateway may be killed
before it has marked the row; it runs outside any transaction.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from django.db import Error as DatabaseError

from common.named import Named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from walletconnect.json_values import JsonObject

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A topic that the relay has confirmed, and the context of the subscriber."""

    topic: str
    context: JsonObject
    at: datetime


Callback: TypeAlias = Callable[[list[Confirmed]], None]

_callbacks: Named[Callback] = Named("callback")

# Rows keep the name: do not change it.
on_confirmed = _callbacks.register


def is_registered(name: str) -> bool:
    return name in _callbacks


def call_all(confirmed: Iterable[tuple[str, Confirmed]]) -> None:
    """Call each named callback once with all its topics.

    Database errors are raised, so that the gateway tries again. Any other exception is
    logged: a defective callback must not keep topics from being subscribed.
    """
    by_name: dict[str, list[Confirmed]] = defaultdict(list)
    for name, each in confirmed:
        by_name[name].append(each)
    for name, group in by_name.items():
        try:
            _callbacks[name](group)
        except DatabaseError:
            raise
        except Exception as error:
            logger.error("callback %s failed with %s", name, type(error).__name__)
