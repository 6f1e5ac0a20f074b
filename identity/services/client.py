"""Client of other Keys Servers: register, unregister, resolve. HTTP, no database.

Spec: WalletConnect specs, servers/keys/keys-server-api.md. Success is exactly 200, as for the
published identity-keys package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from common import outbound
from common.outbound import OutboundError
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.did import DID_KEY
from walletconnect.json_values import parse_object, take_object

if TYPE_CHECKING:
    from common.outbound import Response

MAX_BYTES: Final = 128 * 1024
DEADLINE_S: Final = 10.0
# Statuses that do not judge the request itself.
TRANSIENT: Final = frozenset({408, 409, 425, 429})


class Unavailable(Exception):
    """No usable answer; trying again may help."""


class Refused(Exception):
    """The server refuses the request; trying again will not help."""


def register(keys_server: str, cacao: Cacao) -> None:
    answer = _call("POST", f"{keys_server}/identity", {"cacao": cacao.to_value()})
    if answer.status != 200:
        raise _fault(answer)


def unregister(keys_server: str, id_auth: str) -> None:
    answer = _call("DELETE", f"{keys_server}/identity", {"idAuth": id_auth})
    # 404: it never arrived there, or was removed already.
    if answer.status not in (200, 404):
        raise _fault(answer)


def resolve(keys_server: str, did: str) -> Cacao | None:
    """The CACAO of a key, not verified yet; None if it is unknown there."""
    query = urlencode({"publicKey": did.removeprefix(DID_KEY)})
    answer = _call("GET", f"{keys_server}/identity?{query}", None)
    if answer.status in (400, 404):
        return None
    if answer.status != 200:
        raise Unavailable(f"answer {answer.status}")
    try:
        value = take_object(parse_object(answer.body), "value")
        return Cacao.from_value(take_object(value, "cacao"))
    except RemoteProtocolError as error:
        raise Unavailable(error.message) from None


def _call(method: str, url: str, body: object) -> Response:
    try:
        return outbound.fetch(
            method, url, json=body, max_bytes=MAX_BYTES, deadline=DEADLINE_S
        )
    except OutboundError as error:
        raise Unavailable(str(error)) from None


def _fault(answer: Response) -> Exception:
    # Without the server's text: the reason is shown to users and logged.
    text = f"answer {answer.status}"
    final = 400 <= answer.status < 500 and answer.status not in TRANSIENT
    return Refused(text) if final else Unavailable(text)
