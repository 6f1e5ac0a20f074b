"""``wc_notifyDelete`` from the dapp: a topic ended, for devices that still use it.

Clients of August 2023 accept it on the notify topic, delete the subscription and inform
their other devices. Later clients learn it from ``sbs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from castserver.services.notifications.ids import rpc_ids
from castserver.services.publications import publish_all
from common import clock, entropy
from keychain.services import Holder, sym_keys
from walletconnect.identity.did import AccountId
from walletconnect.notify.answers import publish_request
from walletconnect.notify.claims import DeleteAuth
from walletconnect.notify.dialect import dialect_of
from walletconnect.notify.methods import DELETE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from castserver.models import Subscriber
    from walletconnect.notify.parties import DappIdentity


def publish_deletes(
    rows: Sequence[Subscriber], dapps: Mapping[str, DappIdentity], *, reason: str
) -> None:
    """In the caller's transaction; v1 topics and topics without a key are skipped."""
    rows = [row for row in rows if dialect_of(row.app).has_server_deletes]
    if not rows:
        return
    keys = {
        str(topic): key
        for topic, key in sym_keys(Holder.CAST, [row.topic for row in rows]).items()
    }
    now = clock.now_s()
    publications = []
    for row, request_id in zip(rows, rpc_ids(len(rows)), strict=True):
        dapp = dapps.get(row.project_id)
        sym_key = keys.get(row.topic)
        if dapp is None or sym_key is None:
            continue
        token = DeleteAuth(
            iat=now,
            exp=now + DELETE.ttl,
            iss=dapp.key.did,
            aud=AccountId.parse(row.account).did,
            sub=reason,
            ksu="",
            app=row.app,
        ).sign(dapp.key)
        publications.append(
            publish_request(
                DELETE, token, request_id=request_id, sym_key=sym_key, iv=entropy.iv()
            )
        )
    publish_all(publications)
