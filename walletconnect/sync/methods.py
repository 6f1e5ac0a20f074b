"""The two methods of the Sync API. They are never answered.

Spec: clients/core/sync/rpc-methods.md.
"""

from __future__ import annotations

from typing import Final

from walletconnect.relay.methods import THIRTY_DAYS, Method, Tag

SET: Final = Method(
    name="wc_syncSet",
    tag=Tag.SYNC_SET,
    response_tag=Tag.SYNC_SET_RESPONSE,
    ttl=THIRTY_DAYS,
    response_ttl=THIRTY_DAYS,
)
DELETE: Final = Method(
    name="wc_syncDel",
    tag=Tag.SYNC_DELETE,
    response_tag=Tag.SYNC_DELETE_RESPONSE,
    ttl=THIRTY_DAYS,
    response_ttl=THIRTY_DAYS,
)
