"""Mutated frames on an open relay connection.

Each request differs from a valid one in one place. Each with a readable id gets a result or one
of the relay's errors. The connection stays open, a publish that did not return ``true`` was not
stored, and no other client is affected.
"""

from __future__ import annotations

import json
import os
import random

import psycopg
from django.conf import settings

from common import entropy
from common.limits import Bucket
from tests.hostile.mutations import change_once
from tests.relayserver.conftest import running_node
from tests.relayserver.wire import connected, key, topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_json

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "12")) * 12
# Invalid payload, unknown method, handler (a TTL out of bounds, a full mailbox).
ERRORS = {-32600, -32601, -32000}


def publication() -> dict[str, object]:
    return {
        "topic": topic(),
        "message": entropy.token_hex(8),
        "ttl": 300,
        "tag": 4002,
        "prompt": False,
        "attestation": "a",
    }


CALLS = {
    "irn_publish": publication,
    "irn_batchPublish": lambda: {"messages": [publication(), publication()]},
    "irn_subscribe": lambda: {"topic": topic()},
    "irn_batchSubscribe": lambda: {"topics": [topic(), topic()]},
    "irn_subscribeBlocking": lambda: {"topic": topic()},
    "irn_batchSubscribeBlocking": lambda: {"topics": [topic()]},
    "irn_unsubscribe": lambda: {"topic": topic(), "id": "x"},
    "irn_batchUnsubscribe": lambda: {"subscriptions": [{"topic": topic(), "id": "x"}]},
    "irn_fetchMessages": lambda: {"topic": topic()},
    "irn_batchFetchMessages": lambda: {"topics": [topic()]},
    "irn_batchReceive": lambda: {
        "receipts": [{"topic": topic(), "messageId": topic()}]
    },
}


def requests(order: random.Random) -> list[dict[str, object]]:
    found = []
    for number in range(ROUNDS):
        method = order.choice(list(CALLS))
        request = {
            "id": 1_000_000 + number,
            "jsonrpc": "2.0",
            "method": method,
            "params": CALLS[method](),
        }
        change_once(request if order.random() < 0.2 else request["params"], order)
        if request.get("id") != 1_000_000 + number:
            # Responses to equal ids are indistinguishable, so ids stay unique.
            request |= {"method": "irn_subscribe", "params": {"topic": topic()}}
        found.append(request)
    return found


def is_json(request: dict[str, object]) -> bool:
    """Whether it is JSON without lone surrogates, huge numbers or deep nesting."""
    try:
        parse_json(json.dumps(request))
    except RemoteProtocolError:
        return False
    return True


def stored_by(request: dict[str, object]) -> int:
    """How many messages it stores if its result is ``true``."""
    if str(request["method"]).endswith("batchPublish"):
        return len(request["params"]["messages"])
    return int(str(request["method"]).endswith("_publish"))


async def count_of(publisher: str) -> int:
    database = settings.DATABASES["default"]
    async with await psycopg.AsyncConnection.connect(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        dbname=database["NAME"],
    ) as connection:
        found = await connection.execute(
            "SELECT count(*) FROM relay_publishedmessage WHERE publisher = %s",
            [publisher],
        )
        (count,) = await found.fetchone()
        return count


async def test_every_request_gets_a_response_and_the_connection_stays(db):
    asked = requests(random.Random("frames"))  # noqa: S311
    on = topic()
    async with (
        running_node(relay_frames=Bucket(100_000, 1000)) as node,
        connected(node.url, key()) as charlie,
        connected(node.url, key()) as alice,
        connected(node.url, key()) as bob,
    ):
        await bob.subscribe(on)
        for number, request in enumerate(asked):
            await charlie.send(json.dumps(request))
            if number % 50 == 0:
                await alice.publish(on, f"{number}")
        await charlie.publish(on, "still here")
        answers = {frame["id"]: frame for frame in charlie.frames if "id" in frame}
        stored = 1
        for number, request in enumerate(asked):
            if request.get("id") != 1_000_000 + number or not is_json(request):
                continue
            answer = answers[request["id"]]
            if "error" in answer:
                assert answer["error"]["code"] in ERRORS, request
                assert answer["error"]["message"]
            elif answer["result"] is True:
                stored += stored_by(request)
        assert await count_of(charlie.did) == stored
        assert (await bob.heard(ROUNDS // 50 + 1))[-1] == "still here"
        assert bob.texts[:-1] == [f"{n}" for n in range(0, ROUNDS, 50)]
