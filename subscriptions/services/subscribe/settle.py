"""W1 hears the dapp's answer: steps 14 to 18, and 19 to 20 on our other devices.

Spec: the seed; ``walletconnect.notify.subscribe``. One transaction for a batch of
answers: the attempt's state, the subscription, key P, the wanted notify topic and the
message to the shared store. All or nothing of it is there after a crash, and the relay
delivers the answer again if it was nothing.

Our own devices share this server, so for them "Wx stores the subscription" is the moving
of their cursor in the store, in the same transaction; wallets elsewhere take the message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from accounts.models import Device
from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock
from common.failpoints import failpoint
from keychain.services import Holder, key_pairs
from messaging import outbox
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from messaging.models import Party
from runlog import services as runlog
from runlog.services import StepDraft
from subscriptions.models import SubscribeAttempt, Subscription
from subscriptions.services.subscribe.attempts import (
    NO_ANSWER,
    State,
    close_run,
    end_attempt,
    move,
)
from subscriptions.services.wallet import (
    attempt_event,
    in_words,
    keep_notify_keys,
    store_entries,
    subscription_event,
)
from syncstore.services import lock_stores, store_set
from walletconnect.crypto.keys import Topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.steps import Actor, Step
from walletconnect.notify.subscribe import Settlement, settle_subscription
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE
from walletconnect.sync.methods import SET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncstore.models import Store
    from walletconnect.crypto.keys import KeyPair

KEY_LOST: Final = "The key of this request is no longer in the keychain."
NOT_WAITING: Final = "no subscribe attempt waits for this answer"


@dataclass(slots=True)
class _Batch:
    """What a batch of answers comes to."""

    stores: dict[int, Store]
    devices: dict[int, list[Device]]
    events: list[EventDraft] = field(default_factory=list)
    drafts: list[StepDraft] = field(default_factory=list)


def settle_attempts(messages: list[Inbound]) -> Declined:
    """Answers to subscribe requests; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    stores, attempts = _locked({message.topic for message in messages})
    pairs = key_pairs(
        Holder.WALLET, [each.topic_of_key_pair_y for each in attempts.values()]
    )
    batch = _Batch(stores, _devices_of(attempts.values()))
    for message in messages:
        attempt = attempts.get(message.topic)
        if attempt is None or attempt.state != State.REQUESTED:
            declined[message.pk] = Refused(NOT_WAITING)
            continue
        key_pair_y = pairs.get(Topic(attempt.topic_of_key_pair_y))
        refusal = _take_answer(batch, attempt, message, key_pair_y)
        if refusal is not None:
            declined[message.pk] = refusal
    runlog.record_all(batch.drafts)
    record_events(batch.events)
    failpoint("subscribe.14.before_commit")
    return declined


def _locked(
    topics: set[Topic],
) -> tuple[dict[int, Store], dict[str, SubscribeAttempt]]:
    """The stores first (syncstore's rule), then the attempts."""
    waiting = SubscribeAttempt.objects.filter(
        response_topic__in=topics, state=State.REQUESTED
    )
    accounts = set(waiting.values_list("account_id", flat=True))
    stores = lock_stores(account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE)
    attempts = (
        waiting.select_for_update(of=("self",))
        .select_related("account", "device")
        .order_by("pk")
    )
    return (
        {store.account_id: store for store in stores},
        {attempt.response_topic: attempt for attempt in attempts},
    )


def _devices_of(attempts: Iterable[SubscribeAttempt]) -> dict[int, list[Device]]:
    """Active devices by user."""
    users = {attempt.account.user_id for attempt in attempts}
    found: dict[int, list[Device]] = {user: [] for user in users}
    for device in Device.objects.active().filter(user_id__in=users).order_by("pk"):
        found[device.user_id].append(device)
    return found


def _take_answer(
    batch: _Batch,
    attempt: SubscribeAttempt,
    message: Inbound,
    key_pair_y: KeyPair | None,
) -> Refused | None:
    answer = message.payload
    if isinstance(answer, JsonRpcRequest) or answer.id != attempt.rpc_id:
        return Refused(NOT_WAITING)
    if key_pair_y is None:
        _reject(batch, attempt, State.REJECTED, KEY_LOST)
        return Refused(KEY_LOST)
    try:
        settlement = settle_subscription(
            attempt.pending, answer, key_pair_y=key_pair_y, now=clock.now_s()
        )
    except RemoteProtocolError as error:
        return _refuse(batch, attempt, error)
    _settle(batch, attempt, settlement, message)
    return None


def _refuse(
    batch: _Batch, attempt: SubscribeAttempt, error: RemoteProtocolError
) -> Refused | None:
    """Nobody but the dapp's server can write on this topic: a bad answer is final."""
    if error.code is ErrorCode.EXPIRED:
        _reject(batch, attempt, State.EXPIRED, NO_ANSWER)
        return Refused(str(error))
    if error.code is ErrorCode.REFUSED:
        _reject(batch, attempt, State.REJECTED, f"The dapp says: {error.message}")
        return None
    _reject(batch, attempt, State.REJECTED, f"The dapp's answer is unusable: {error}")
    return Refused(str(error))


def _reject(batch: _Batch, attempt: SubscribeAttempt, new: State, reason: str) -> None:
    if end_attempt(attempt, new, reason=reason):
        batch.events.append(attempt_event(attempt))


# --- steps 14 to 18 ---------------------------------------------------------------------


def _settle(
    batch: _Batch,
    attempt: SubscribeAttempt,
    settlement: Settlement,
    message: Inbound,
) -> None:
    now = clock.now()
    value = settlement.subscription
    store = batch.stores.get(attempt.account_id)
    new = State.SETTLED if store is None else State.SYNCED
    last = Step.SUBSCRIBE_NOTIFY_TOPIC if store is None else Step.SYNC_SUBSCRIPTION
    if not move(
        [attempt.pk], State.REQUESTED, new, settled_at=now, last_step=last, reason=""
    ):
        return
    attempt.state = new
    keep_notify_keys([value], account_id=attempt.account_id)
    row = _kept(attempt, settlement)
    SubscribeAttempt.objects.filter(pk=attempt.pk).update(subscription=row)
    outbox.subscribe(
        Party.WALLET,
        [settlement.notify_topic],
        run=attempt.response_topic,
        step=Step.SUBSCRIBE_NOTIFY_TOPIC,
        account_id=attempt.account_id,
    )
    batch.drafts += _w1_drafts(attempt, settlement, message)
    if store is not None:
        _announce(batch, attempt, settlement, store)
    close_run(attempt)
    audit(
        "subscription.added",
        device=attempt.device,
        account=attempt.account,
        subject=row.dapp_url,
    )
    batch.events += [
        attempt_event(attempt),
        subscription_event(EventKind.SUBSCRIPTION, row),
    ]


def _kept(attempt: SubscribeAttempt, settlement: Settlement) -> Subscription:
    """The row of the subscription; P is fresh, so that there is hardly ever one yet."""
    row = Subscription.objects.filter(
        account=attempt.account, topic=settlement.notify_topic
    ).first() or Subscription(account=attempt.account, created_at=clock.now())
    row.take(settlement.subscription)
    row.dapp_authentication_did = attempt.dapp_authentication_did
    row.added_by = Subscription.AddedBy.SUBSCRIBE
    row.device = attempt.device
    row.deleted_at = None
    row.delete_reason = ""
    row.save()
    return row


def _announce(
    batch: _Batch,
    attempt: SubscribeAttempt,
    settlement: Settlement,
    store: Store,
) -> None:
    """Step 18, and for each of our other devices 19; 20 once the relay has confirmed."""
    value = settlement.subscription
    batch.events += store_set(
        attempt.account_id,
        NOTIFY_SUBSCRIPTION_STORE,
        store_entries([value]),
        device=attempt.device,
        notes={value.topic: in_words(value)},
    )
    failpoint("subscribe.18.before_commit")
    run = attempt.response_topic
    synced = {"storeTopic": store.topic, "method": SET.name, "tag": int(SET.tag)}
    batch.drafts.append(
        _draft(attempt, Step.SYNC_SUBSCRIPTION, {**synced, "key": value.topic})
    )
    for device in batch.devices[attempt.account.user_id]:
        if device.pk == attempt.device_id:
            continue
        stored = {"device": device.name, "key": value.topic}
        batch.drafts.append(
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
            run=run,
            step=Step.PEER_SUBSCRIBE_NOTIFY_TOPIC,
            account_id=attempt.account_id,
            actor_key=str(device.pk),
        )


def _w1_drafts(
    attempt: SubscribeAttempt, settlement: Settlement, message: Inbound
) -> list[StepDraft]:
    received = {
        "topic": message.topic,
        "tag": message.tag,
        "messageId": message.message_id,
        "publishedAt": message.published_at,
    }
    seen: dict[Step, dict[str, object]] = {
        Step.RECEIVE_RESPONSE: received,
        Step.W1_DERIVE_SYM_KEY_P: {},
        Step.DERIVE_NOTIFY_TOPIC: {"notifyTopic": settlement.notify_topic},
    }
    return [_draft(attempt, step, wire) for step, wire in seen.items()]


def _draft(attempt: SubscribeAttempt, step: Step, wire: dict[str, object]) -> StepDraft:
    return StepDraft(
        attempt.response_topic,
        step,
        Actor.W1.value,
        wire,
        at=clock.now(),
        account_id=attempt.account_id,
    )
