"""W1 receives the dapp's answer: steps 14 to 18, and 19 to 20 on the user's other devices.

Spec: ``walletconnect.notify.subscribe``. One transaction for a batch of answers: the
attempt's state, the subscription, key P, the wanted notify topic and the message to the
shared store. After a crash either all of it is there or none, and then the relay delivers
the answer again.

All devices of a user share this server's database, so for them "Wx stores the subscription"
is moving their cursor in the store, in the same transaction. Wallets elsewhere receive the
store message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from accounts.models import Account, Device
from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock, entropy
from common.failpoints import failpoint
from identity.services import NoIdentityKey
from keychain.services import Holder, key_pairs
from messaging import outbox
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from messaging.models import Party
from runlog import services as runlog
from runlog.services import StepDraft
from subscriptions.models import BlockedDapp, SubscribeAttempt, Subscription
from subscriptions.services.errors import DappBlocked
from subscriptions.services.subscribe.attempts import (
    NO_ANSWER,
    State,
    close_run,
    end_attempt,
    move,
)
from subscriptions.services.subscribe.topic_steps import RECORD_TOPIC_STEP, topic_step
from subscriptions.services.wallet import (
    attempt_event,
    describe,
    keep_notify_keys,
    publish,
    store_entries,
    subscription_event,
    wallet_identity,
)
from syncstore.services import lock_stores, store_set
from walletconnect.crypto.keys import Topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.delete import request_delete
from walletconnect.notify.steps import Actor, Step
from walletconnect.notify.subscribe import Settlement, settle_subscription
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE
from walletconnect.sync.methods import SET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncstore.models import Store
    from walletconnect.relay.messages import Publication

KEY_LOST: Final = "The key of this request is no longer in the keychain."
NOT_WAITING: Final = "no subscribe attempt waits for this answer"


def settle_attempts(messages: list[Inbound]) -> Declined:
    """Answers to subscribe requests; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    events: list[EventDraft] = []
    drafts: list[StepDraft] = []
    waiting = SubscribeAttempt.objects.filter(
        response_topic__in={message.topic for message in messages},
        state=State.REQUESTED,
    )
    accounts = set(waiting.values_list("account_id", flat=True))
    # A list of the Cast Server with the same subscription may be at another worker.
    list(Account.objects.locked().filter(pk__in=accounts))
    stores = {
        store.account_id: store
        for store in lock_stores(
            account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE
        )
    }
    attempts = {
        attempt.response_topic: attempt
        for attempt in waiting.select_for_update(of=("self",))
        .select_related("account", "device")
        .order_by("pk")
    }
    pairs = key_pairs(
        Holder.WALLET, [each.topic_of_key_pair_y for each in attempts.values()]
    )
    devices = _active_devices(attempts.values())
    blocked = BlockedDapp.objects.pairs(accounts)
    for message in messages:
        attempt = attempts.get(message.topic)
        answer = message.payload
        if (
            attempt is None
            or attempt.state != State.REQUESTED
            or isinstance(answer, JsonRpcRequest)
            or answer.id != attempt.rpc_id
        ):
            declined[message.pk] = Refused(NOT_WAITING)
            continue
        key_pair_y = pairs.get(Topic(attempt.topic_of_key_pair_y))
        if key_pair_y is None:
            declined[message.pk] = Refused(KEY_LOST)
            events += _end(attempt, State.REJECTED, KEY_LOST)
            continue
        try:
            settlement = settle_subscription(
                attempt.pending, answer, key_pair_y=key_pair_y, now=clock.now_s()
            )
        except RemoteProtocolError as error:
            # Only the dapp's server has the key of this topic, so no better answer can
            # follow a bad one: the attempt ends.
            if error.code is ErrorCode.REFUSED:
                events += _end(
                    attempt, State.REJECTED, f"The dapp refused: {error.message}"
                )
                continue
            declined[message.pk] = Refused(str(error))
            if error.code is ErrorCode.EXPIRED:
                events += _end(attempt, State.EXPIRED, NO_ANSWER)
            else:
                reason = f"The dapp's answer is unusable: {error}"
                events += _end(attempt, State.REJECTED, reason)
            continue
        if (attempt.account_id, attempt.dapp_url) in blocked:
            publish(_refusals(attempt, settlement))
            events += _end(attempt, State.REJECTED, str(DappBlocked()))
            continue
        store = stores.get(attempt.account_id)
        new = State.SETTLED if store is None else State.SYNCED
        last = Step.SUBSCRIBE_NOTIFY_TOPIC if store is None else Step.SYNC_SUBSCRIPTION
        now = clock.now()
        if not move(
            [attempt.pk],
            State.REQUESTED,
            new,
            settled_at=now,
            last_step=last,
            reason="",
        ):
            continue
        attempt.state = new
        row = _keep_subscription(attempt, settlement)
        drafts += _w1_drafts(attempt, settlement, message)
        if store is not None:
            others = devices[attempt.account.user_id]
            events += _sync(attempt, settlement, store, others, drafts=drafts)
        close_run(attempt)
        events += [
            attempt_event(attempt),
            subscription_event(EventKind.SUBSCRIPTION, row),
        ]
    runlog.record_all(drafts)
    record_events(events)
    failpoint("subscribe.14.before_commit")
    return declined


def _active_devices(attempts: Iterable[SubscribeAttempt]) -> dict[int, list[Device]]:
    """Active devices by user."""
    users = {attempt.account.user_id for attempt in attempts}
    found: dict[int, list[Device]] = {user: [] for user in users}
    for device in Device.objects.active().filter(user_id__in=users).order_by("pk"):
        found[device.user_id].append(device)
    return found


def _end(attempt: SubscribeAttempt, new: State, reason: str) -> list[EventDraft]:
    ended = end_attempt(attempt, new, reason=reason)
    return [attempt_event(attempt)] if ended else []


def _refusals(attempt: SubscribeAttempt, settlement: Settlement) -> list[Publication]:
    """The dapp was blocked while it was asked: the delete that ends what it has made.

    None if a wallet of the account is subscribed: it would lose its topic with this one.
    """
    present = Subscription.objects.active().of(attempt.account)
    if present.filter(dapp_url=attempt.dapp_url).exists():
        return []
    try:
        wallet = wallet_identity(attempt.account, attempt.device)
    except NoIdentityKey:
        return []
    request = request_delete(
        settlement.subscription,
        wallet,
        dapp_did=attempt.dapp_authentication_did,
        request_id=clock.payload_id(),
        # There is no store entry.
        update_id=1,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return [request.publish]


def _keep_subscription(
    attempt: SubscribeAttempt, settlement: Settlement
) -> Subscription:
    """Steps 15 to 17: the row, key P, and the wanted notify topic."""
    # P is fresh, so a row for its topic exists only if the dapp repeats a key, or if the
    # Cast Server's list came before its answer. The list has added the subscription then.
    found = Subscription.objects.filter(
        account=attempt.account, topic=settlement.notify_topic
    ).first()
    is_added = found is None or found.deleted_at is not None
    row = found or Subscription(account=attempt.account, created_at=clock.now())
    row.mirror(settlement.subscription)
    row.dapp_authentication_did = attempt.dapp_authentication_did
    row.added_by = Subscription.AddedBy.SUBSCRIBE
    row.device = attempt.device
    row.deleted_at, row.delete_reason = None, ""
    row.save()
    SubscribeAttempt.objects.filter(pk=attempt.pk).update(subscription=row)
    keep_notify_keys([settlement.subscription], account_id=attempt.account_id)
    outbox.subscribe(
        Party.WALLET,
        [settlement.notify_topic],
        callback=RECORD_TOPIC_STEP,
        context=topic_step(
            attempt.response_topic,
            Step.SUBSCRIBE_NOTIFY_TOPIC,
            account_id=attempt.account_id,
        ),
    )
    if is_added:
        audit(
            "subscription.added",
            device=attempt.device,
            account=attempt.account,
            subject=row.dapp_url,
        )
    return row


def _sync(
    attempt: SubscribeAttempt,
    settlement: Settlement,
    store: Store,
    devices: Iterable[Device],
    *,
    drafts: list[StepDraft],
) -> list[EventDraft]:
    """Step 18, and 19 for each other device; 20 once the relay has confirmed."""
    value = settlement.subscription
    events = store_set(
        attempt.account_id,
        NOTIFY_SUBSCRIPTION_STORE,
        store_entries([value]),
        device=attempt.device,
        notes={value.topic: describe(value)},
    )
    failpoint("subscribe.18.before_commit")
    run = attempt.response_topic
    synced = {"storeTopic": store.topic, "method": SET.name, "tag": int(SET.tag)}
    drafts.append(
        _w1_draft(attempt, Step.SYNC_SUBSCRIPTION, {**synced, "key": value.topic})
    )
    for device in devices:
        if device.pk == attempt.device_id:
            continue
        stored = {"device": device.name, "key": value.topic}
        drafts.append(
            StepDraft(
                run,
                Step.STORE_SUBSCRIPTION,
                Actor.WX.value,
                stored,
                at=clock.now(),
                account_id=attempt.account_id,
                actor_key=str(device.pk),
            )
        )
        outbox.subscribe(
            Party.WALLET,
            [settlement.notify_topic],
            callback=RECORD_TOPIC_STEP,
            context=topic_step(
                run,
                Step.PEER_SUBSCRIBE_NOTIFY_TOPIC,
                account_id=attempt.account_id,
                actor_key=str(device.pk),
            ),
        )
    return events


def _w1_drafts(
    attempt: SubscribeAttempt, settlement: Settlement, message: Inbound
) -> list[StepDraft]:
    received = {
        "topic": message.topic,
        "tag": message.tag,
        "messageId": message.message_id,
        "publishedAt": message.published_at,
    }
    return [
        _w1_draft(attempt, Step.RECEIVE_RESPONSE, received),
        _w1_draft(attempt, Step.W1_DERIVE_SYM_KEY_P, {}),
        _w1_draft(
            attempt,
            Step.DERIVE_NOTIFY_TOPIC,
            {"notifyTopic": settlement.notify_topic},
        ),
    ]


def _w1_draft(
    attempt: SubscribeAttempt, step: Step, wire: dict[str, object]
) -> StepDraft:
    return StepDraft(
        attempt.response_topic,
        step,
        Actor.W1.value,
        wire,
        at=clock.now(),
        account_id=attempt.account_id,
    )
