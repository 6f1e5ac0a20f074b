"""W1 subscribes: steps 1 to 7 of the twenty.

Spec: ``walletconnect.notify.subscribe`` shows the steps. ``subscribe`` stores a row and starts a
task. The task reads the dapp's documents outside any transaction; then, in one transaction,
it makes Y, stores the request's exact bytes in the outbox and subscribes to the response
topic. The same bytes are published until the relay has acknowledged them; the dapp may
answer until their token expires.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.services import record_events
from common import clock, entropy, limits
from common.backoff import Backoff
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from identity.services import NoIdentityKey
from keychain.services import Holder, put_key_pair, put_sym_keys
from messaging import outbox
from messaging.models import Party
from runlog import services as runlog
from runlog.services import StepDraft
from subscriptions.models import (
    BlockedDapp,
    DappDocument,
    SubscribeAttempt,
    Subscription,
)
from subscriptions.services.dapps import documents
from subscriptions.services.dapps.queue import drain_by_dapp
from subscriptions.services.errors import (
    AlreadySubscribed,
    DappBlocked,
    DappUnusable,
    SubscriptionRefused,
    TooMany,
    UnknownTypes,
)
from subscriptions.services.subscribe.attempts import State, end_attempt, move
from subscriptions.services.subscribe.topic_steps import RECORD_TOPIC_STEP, topic_step
from subscriptions.services.wallet import (
    attempt_event,
    publish,
    require_few_types,
    require_own,
    wallet_identity,
)
from walletconnect.crypto.keys import KeyPair
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import DidWebDocument, public_key_of
from walletconnect.notify.methods import SUBSCRIBE
from walletconnect.notify.scope import ScopeMap
from walletconnect.notify.steps import Step
from walletconnect.notify.subscribe import (
    SubscribeRequest,
    locate_dapp,
    request_subscription,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from accounts.models import Account, Device

RESOLVE_TASK: Final = "subscriptions.resolve_dapp"
# Until the Keys Server has confirmed the identity key of a new device.
KEY_BACKOFF: Final = Backoff(first_s=2.0, max_s=60.0)
# How long a dapp's documents may stay unreadable.
RESOLVE_FOR: Final = timedelta(minutes=15)
W1: Final = Step.SEND_SUBSCRIBE_REQUEST.actor.value
KEYS_CHANGED: Final = (
    "The dapp's keys are not those it had before. Look at the change first, then "
    "subscribe again."
)


def subscribe(
    account: Account,
    dapp_url: str,
    *,
    types: Collection[str] | None = None,
    device: Device,
) -> SubscribeAttempt:
    """Start to subscribe ``account`` to a dapp, for these types or for all.

    Returns the open attempt if there is one already. Raises ``SubscriptionRefused``.
    """
    require_own(account, device)
    url = documents.normalize_dapp_url(dapp_url)
    if BlockedDapp.objects.covers(account.pk, url):
        raise DappBlocked
    running = SubscribeAttempt.objects.filter(
        account=account, dapp_url=url, state__in=SubscribeAttempt.OPEN
    )
    if (found := running.first()) is not None:
        return found
    active = Subscription.objects.active().of(account)
    present = active.filter(dapp_url=url).first()
    if present is not None:
        raise AlreadySubscribed(present)
    most = settings.LIMITS.subscriptions_per_account
    if active.count() >= most:
        raise TooMany(f"An account has at most {most} subscriptions.")
    if types is not None:
        require_few_types(types)
    known = DappDocument.objects.filter(url=url, fetched_at__isnull=False).first()
    if known is not None and known.is_current(clock.now()):
        # Refuses unknown types at once; for an unknown dapp the task does it later.
        _scope(known, types)
    verdict = limits.consume("subscribe_client", str(account.pk))
    if not verdict.allowed:
        raise TooMany("Too many subscribe requests today.", verdict.retry_after)
    now = clock.now()
    try:
        with transaction.atomic():
            attempt = SubscribeAttempt.objects.create(
                account=account,
                device=device,
                dapp_url=url,
                wanted_types=None if types is None else sorted(types),
                next_attempt_at=now,
                created_at=now,
                expires_at=now + RESOLVE_FOR,
            )
            enqueue_on_commit(RESOLVE_TASK)
            record_events([attempt_event(attempt)])
            failpoint("subscribe.start.before_commit")
    except IntegrityError:
        # Pressed twice at the same moment: the other request has created the row.
        if (found := running.first()) is None:
            raise
        return found
    failpoint("subscribe.start.after_commit")
    return attempt


def _scope(document: DappDocument, types: Collection[str] | None) -> ScopeMap:
    scope = ScopeMap.of_types(document.notification_types)
    most = settings.LIMITS.scopes_per_subscription
    wanted = scope.names[:most] if types is None else tuple(types)
    unknown = set(wanted) - set(scope.names)
    if unknown:
        raise UnknownTypes(unknown)
    return scope.with_enabled(wanted)


# --- step 1, outside any transaction ----------------------------------------------------


def resolve_due() -> int:
    """Read the documents that due attempts need, and send the requests.

    One task serves all attempts that are due, however many. Uses the network.
    """
    return drain_by_dapp(
        _claim,
        lambda attempt: attempt.dapp_url,
        _continue_attempts,
        is_to_read=lambda _, kept: kept is None or not kept.is_current(clock.now()),
        slots=settings.LIMITS.subscribes,
    )


def _claim(limit: int) -> list[SubscribeAttempt]:
    claimed = (
        SubscribeAttempt.objects.filter(
            state=State.RESOLVING, expires_at__gt=clock.now()
        )
        .select_related("account", "device")
        .claim(
            limit,
            owner="account__user_id",
            max_in_flight=settings.LIMITS.subscribes,
            caps={
                "account__user_id": settings.LIMITS.subscribes_per_user,
                "dapp_url": settings.LIMITS.subscribes_per_dapp,
            },
        )
    )
    if claimed:
        failpoint("subscribe.01.after_claim")
    return claimed


def _continue_attempts(
    attempts: list[SubscribeAttempt], document: DappDocument | None
) -> None:
    """Send the requests of attempts at one dapp, or reject or defer the attempts."""
    failpoint("subscribe.01.after_fetch")
    if document is None:
        return
    for attempt in attempts:
        if not document.public_key_x:
            # Never read successfully. A network failure is retried, a 404 is final.
            due_at = document.expires_at
            if not document.may_pass or due_at is None:
                reject(attempt, document.reason)
                continue
            attempt.put_off(due_at, document.reason)
            wait = (due_at - clock.now()).total_seconds()
            enqueue_on_commit(RESOLVE_TASK, delay_s=max(wait, 0.0))
            continue
        try:
            if document.changed_keys is not None:
                raise DappUnusable(KEYS_CHANGED)
            _request(attempt, document, _scope(document, attempt.wanted_types))
        except (SubscriptionRefused, RemoteProtocolError) as error:
            reject(attempt, str(error))
        except NoIdentityKey as error:
            if error.pending:
                attempt.retry_later(
                    KEY_BACKOFF, "The identity key is not registered yet."
                )
            else:
                reject(
                    attempt, "No device of the account has a registered identity key."
                )


@transaction.atomic
def reject(attempt: SubscribeAttempt, reason: str) -> None:
    if end_attempt(attempt, State.REJECTED, reason=reason):
        record_events([attempt_event(attempt)])


# --- steps 2 to 7, in one transaction ----------------------------------------------------


@transaction.atomic
def _request(
    attempt: SubscribeAttempt, document: DappDocument, scope: ScopeMap
) -> None:
    # Blocked since the attempt began. A block that comes later is found at the answer.
    if BlockedDapp.objects.covers(attempt.account_id, attempt.dapp_url):
        raise DappBlocked
    now = clock.now()
    key_pair_y = KeyPair.from_private(entropy.key_bytes())
    pinned = DidWebDocument(
        did=f"did:web:{document.domain}",
        key_agreement=bytes.fromhex(document.public_key_x),
        authentication=public_key_of(document.authentication_key),
    )
    request = request_subscription(
        pinned,
        wallet_identity(attempt.account, attempt.device),
        key_pair_y=key_pair_y,
        metadata=document.metadata,
        scope=scope,
        request_id=clock.payload_id(),
        iv=entropy.iv(),
        now=int(now.timestamp()),
    )
    pending = request.pending
    if not move(
        [attempt.pk],
        State.RESOLVING,
        State.REQUESTED,
        last_step=Step.SUBSCRIBE_RESPONSE_TOPIC,
        response_topic=request.response_topic,
        topic_of_key_pair_y=key_pair_y.topic,
        rpc_id=pending.request_id,
        identity_did=pending.identity_did,
        dapp_authentication_did=pending.dapp_did,
        scope=pending.scope.to_value(),
        metadata=pending.metadata.to_value(),
        requested_at=now,
        expires_at=datetime.fromtimestamp(pending.expires_at, UTC),
        reason="",
    ):
        return
    put_key_pair(Holder.WALLET, key_pair_y, account_id=attempt.account_id)
    put_sym_keys(Holder.WALLET, [request.sym_key_s], account_id=attempt.account_id)
    publish([request.publish])
    failpoint("subscribe.05.before_commit")
    # Before the wake-ups.
    transaction.on_commit(partial(failpoint, "subscribe.05.after_commit"))
    outbox.subscribe(
        Party.WALLET,
        [request.response_topic],
        callback=RECORD_TOPIC_STEP,
        context=topic_step(
            request.response_topic,
            Step.SUBSCRIBE_RESPONSE_TOPIC,
            account_id=attempt.account_id,
        ),
    )
    runlog.record_all(_drafts(attempt, document, request, key_pair_y))
    record_events([attempt_event(attempt)])


def _drafts(
    attempt: SubscribeAttempt,
    document: DappDocument,
    request: SubscribeRequest,
    key_pair_y: KeyPair,
) -> list[StepDraft]:
    """Steps 1 to 6 without secrets; the gateway records step 7."""
    published = request.publish
    seen: dict[Step, dict[str, object]] = {
        Step.FETCH_DID_DOCUMENT: {
            "get": locate_dapp(attempt.dapp_url),
            "publicKeyX": document.public_key_x,
        },
        Step.DERIVE_SUBSCRIBE_TOPIC: {"subscribeTopic": published.topic},
        Step.GENERATE_KEY_PAIR_Y: {"publicKeyY": key_pair_y.public_key.hex()},
        Step.DERIVE_SYM_KEY_S: {},
        Step.SEND_SUBSCRIBE_REQUEST: {
            "topic": published.topic,
            "method": SUBSCRIBE.name,
            "tag": int(published.tag),
            "ttl": published.ttl,
            "envelope": "type 1",
            "bytes": len(published.message),
            "messageId": published.message_id,
        },
        Step.DERIVE_RESPONSE_TOPIC: {"responseTopic": request.response_topic},
    }
    # For this run, a cached document was available from its start.
    read_at = max(document.fetched_at or attempt.created_at, attempt.created_at)
    return [
        StepDraft(
            request.response_topic,
            step,
            W1,
            wire,
            at=read_at if step is Step.FETCH_DID_DOCUMENT else clock.now(),
            account_id=attempt.account_id,
        )
        for step, wire in seen.items()
    ]
