"""Every method of the Notify API with its tag, lifetimes and names on the wire.

Spec: clients/notify/rpc-methods.md.

Departures: where the spec and the released servers differ we publish with the longer
lifetime. The released client gives a subscribe or an update 30 seconds; we give a day,
because a relay or a server may be restarting. Responses live 30 days as the servers did.
"""

from __future__ import annotations

from typing import Final

from walletconnect.relay.methods import DAY, MINUTE, THIRTY_DAYS, Method, Tag

# Seconds from when a subscription was made or updated to its expiry.
SUBSCRIPTION_LIFE: Final = THIRTY_DAYS

SUBSCRIBE: Final = Method(
    name="wc_notifySubscribe",
    tag=Tag.NOTIFY_SUBSCRIBE,
    response_tag=Tag.NOTIFY_SUBSCRIBE_RESPONSE,
    ttl=DAY,
    response_ttl=THIRTY_DAYS,
    param="subscriptionAuth",
    result="responseAuth",
)
MESSAGE: Final = Method(
    name="wc_notifyMessage",
    tag=Tag.NOTIFY_MESSAGE,
    response_tag=Tag.NOTIFY_MESSAGE_RESPONSE,
    ttl=THIRTY_DAYS,
    response_ttl=THIRTY_DAYS,
    param="messageAuth",
    result="receiptAuth",
    prompt=True,
)
DELETE: Final = Method(
    name="wc_notifyDelete",
    tag=Tag.NOTIFY_DELETE,
    response_tag=Tag.NOTIFY_DELETE_RESPONSE,
    ttl=THIRTY_DAYS,
    response_ttl=THIRTY_DAYS,
    param="deleteAuth",
    result="responseAuth",
)
UPDATE: Final = Method(
    name="wc_notifyUpdate",
    tag=Tag.NOTIFY_UPDATE,
    response_tag=Tag.NOTIFY_UPDATE_RESPONSE,
    ttl=DAY,
    response_ttl=THIRTY_DAYS,
    param="updateAuth",
    result="responseAuth",
)
WATCH: Final = Method(
    # Without the plural s, as both released clients send it.
    name="wc_notifyWatchSubscription",
    tag=Tag.NOTIFY_WATCH_SUBSCRIPTIONS,
    response_tag=Tag.NOTIFY_WATCH_SUBSCRIPTIONS_RESPONSE,
    ttl=5 * MINUTE,
    response_ttl=5 * MINUTE,
    param="watchSubscriptionsAuth",
    result="responseAuth",
)
CHANGED: Final = Method(
    name="wc_notifySubscriptionsChanged",
    tag=Tag.NOTIFY_SUBSCRIPTIONS_CHANGED,
    response_tag=Tag.NOTIFY_SUBSCRIPTIONS_CHANGED_RESPONSE,
    ttl=5 * MINUTE,
    response_ttl=5 * MINUTE,
    param="subscriptionsChangedAuth",
    result="responseAuth",
)
GET_NOTIFICATIONS: Final = Method(
    name="wc_notifyGetNotifications",
    tag=Tag.NOTIFY_GET_NOTIFICATIONS,
    response_tag=Tag.NOTIFY_GET_NOTIFICATIONS_RESPONSE,
    ttl=5 * MINUTE,
    response_ttl=5 * MINUTE,
    param="auth",
    result="auth",
)
MARK_READ: Final = Method(
    name="wc_notifyMarkNotificationsAsRead",
    tag=Tag.NOTIFY_MARK_NOTIFICATIONS_AS_READ,
    response_tag=Tag.NOTIFY_MARK_NOTIFICATIONS_AS_READ_RESPONSE,
    ttl=5 * MINUTE,
    response_ttl=5 * MINUTE,
    param="auth",
    result="auth",
)
