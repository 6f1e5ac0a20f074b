"""The seed's twenty steps by number and name: who takes each, and in which function.

The functions are in `walletconnect.notify.subscribe`. Attempts store the last step, pages
and logs show it, `docs/protocol.md` prints this table.
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
        return _ROWS[self][0]

    @property
    def function(self) -> str:
        """The function of `walletconnect.notify.subscribe` that takes this step."""
        return _ROWS[self][1]

    @property
    def told(self) -> str:
        """The seed's own words."""
        return _ROWS[self][2]


_LOCATE = (Actor.W1, "locate_dapp")
_REQUEST = (Actor.W1, "request_subscription")
_ANSWER = (Actor.CAST, "answer_subscription")
_SETTLE = (Actor.W1, "settle_subscription")
_ANNOUNCE = (Actor.W1, "announce_subscription")
_ADOPT = (Actor.WX, "adopt_subscription")

_ROWS: Final[dict[int, tuple[Actor, str, str]]] = {
    1: (*_LOCATE, "W1 fetches public key X from the did:web document"),
    2: (*_REQUEST, "Subscribe topic is derived from the sha256 hash of public key X"),
    3: (*_REQUEST, "W1 generates key pair Y"),
    4: (*_REQUEST, "W1 derives symmetric key S with keys X and Y"),
    5: (
        *_REQUEST,
        "W1 sends notify subscribe request (type 1 envelope) on subscribe topic with "
        "subscriptionAuth",
    ),
    6: (
        *_REQUEST,
        "Response topic is derived from the sha256 hash of symmetric key S",
    ),
    7: (*_REQUEST, "W1 subscribes to response topic"),
    8: (*_ANSWER, "Cast Server receives notify subscribe request on subscribe topic"),
    9: (
        *_ANSWER,
        "Cast Server derives symmetric key S and decrypts subscriptionAuth",
    ),
    10: (
        *_ANSWER,
        "Cast Server triggers webhook to notify Dapp of new registered address",
    ),
    11: (*_ANSWER, "Cast Server generates key pair Z"),
    12: (*_ANSWER, "Cast Server derives symmetric key P with keys Y and Z"),
    13: (
        *_ANSWER,
        "Cast Server responds to notify subscribe request on response topic",
    ),
    14: (
        *_SETTLE,
        "W1 receives notify subscribe response on the response topic",
    ),
    15: (*_SETTLE, "W1 derives symmetric key P"),
    16: (
        *_SETTLE,
        "Notify topic is derived from the sha256 hash of the symmetric key P",
    ),
    17: (*_SETTLE, "W1 subscribes to notify topic for future notify messages"),
    18: (*_ANNOUNCE, "W1 syncs the notify subscription with Wx"),
    19: (*_ADOPT, "Wx stores the notify subscription"),
    20: (*_ADOPT, "Wx subscribe to notify topic coming from the sync request"),
}
