"""The twenty steps of a subscription: number, name, actor and description.

`walletconnect.notify.subscribe` marks where each is taken. Attempts store the last step,
pages and logs show it, and `docs/protocol.md` prints the table.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class Actor(StrEnum):
    W1 = "W1"
    CAST = "Cast Server"
    WX = "Wx"


class Step(IntEnum):
    FETCH_DID_DOCUMENT = 1
    DERIVE_SUBSCRIBE_TOPIC = 2
    GENERATE_KEY_PAIR_Y = 3
    DERIVE_SYM_KEY_S = 4
    SEND_SUBSCRIBE_REQUEST = 5
    DERIVE_RESPONSE_TOPIC = 6
    SUBSCRIBE_RESPONSE_TOPIC = 7
    RECEIVE_SUBSCRIBE_REQUEST = 8
    DECRYPT_SUBSCRIPTION_AUTH = 9
    TRIGGER_WEBHOOK = 10
    GENERATE_KEY_PAIR_Z = 11
    DERIVE_SYM_KEY_P = 12
    RESPOND = 13
    RECEIVE_RESPONSE = 14
    W1_DERIVE_SYM_KEY_P = 15
    DERIVE_NOTIFY_TOPIC = 16
    SUBSCRIBE_NOTIFY_TOPIC = 17
    SYNC_SUBSCRIPTION = 18
    STORE_SUBSCRIPTION = 19
    PEER_SUBSCRIBE_NOTIFY_TOPIC = 20

    @property
    def actor(self) -> Actor:
        if self >= Step.STORE_SUBSCRIPTION:
            return Actor.WX
        if Step.RECEIVE_SUBSCRIBE_REQUEST <= self <= Step.RESPOND:
            return Actor.CAST
        return Actor.W1

    @property
    def description(self) -> str:
        return _DESCRIPTIONS[self]


_DESCRIPTIONS: Final[dict[int, str]] = {
    1: "W1 fetches public key X from the did:web document",
    2: "Subscribe topic is derived from the sha256 hash of public key X",
    3: "W1 generates key pair Y",
    4: "W1 derives symmetric key S with keys X and Y",
    5: "W1 sends notify subscribe request (type 1 envelope) on subscribe topic with subscriptionAuth",
    6: "Response topic is derived from the sha256 hash of symmetric key S",
    7: "W1 subscribes to response topic",
    8: "Cast Server receives notify subscribe request on subscribe topic",
    9: "Cast Server derives symmetric key S and decrypts subscriptionAuth",
    10: "Cast Server triggers webhook to notify Dapp of new registered address",
    11: "Cast Server generates key pair Z",
    12: "Cast Server derives symmetric key P with keys Y and Z",
    13: "Cast Server responds to notify subscribe request on response topic",
    14: "W1 receives notify subscribe response on the response topic",
    15: "W1 derives symmetric key P",
    16: "Notify topic is derived from the sha256 hash of the symmetric key P",
    17: "W1 subscribes to notify topic for future notify messages",
    18: "W1 syncs the notify subscription with Wx",
    19: "Wx stores the notify subscription",
    20: "Wx subscribe to notify topic coming from the sync request",
}
