"""A blocked dapp delivers nothing, and is not subscribed to, until it is unblocked."""

from __future__ import annotations

import pytest

from common import clock
from keychain.services import Holder, sym_keys
from messaging.models import TopicSubscription
from subscriptions import services
from subscriptions.models import BlockedDapp, NotifyMessageRecord, Subscription
from subscriptions.services.errors import DappBlocked
from tests.dashboard.conftest import text_of
from tests.subscriptions.conftest import requested
from tests.subscriptions.world import deliver, sent
from walletconnect.crypto.envelope import open_envelope
from walletconnect.relay.methods import Tag
from walletconnect.relay.rpc import parse


def types_on(dapp, alice) -> set[str]:
    deliver(dapp.answer_update(alice.account))
    row = Subscription.objects.get()
    return {name for name, each in row.scope.items() if each["enabled"]}


def test_the_dapp_receives_an_empty_scope_and_delivers_nothing(
    alice, dapp, subscription
):
    first, second = alice.browsers
    first.get("/subscriptions")
    first.post(f"/subscriptions/{subscription.topic}/block")
    assert len(sent(Tag.NOTIFY_UPDATE)) == 1
    assert types_on(dapp, alice) == set()
    deliver(dapp.notification(alice.account))
    assert not NotifyMessageRecord.objects.exists()
    assert not sent(Tag.NOTIFY_MESSAGE_RESPONSE)
    assert "You blocked this dapp" in text_of(
        second.get(f"/subscriptions/{subscription.topic}")
    )


def test_it_cannot_be_subscribed_to_or_switched_on(alice, dapp, subscription):
    services.block(subscription, alice.device)
    with pytest.raises(DappBlocked):
        services.update(subscription, {"news"}, alice.device)
    services.delete_subscription(subscription, alice.device)
    with pytest.raises(DappBlocked):
        services.subscribe(alice.account, dapp.url, device=alice.device)
    assert "Blocked dapps" in text_of(alice.get("/subscriptions"))


def test_a_subscription_that_comes_through_sync_stays_blocked(
    alice, dapp, subscription
):
    """Another wallet ends the subscription here and makes it again."""
    services.block(subscription, alice.device)
    Subscription.objects.update(added_by=Subscription.AddedBy.SYNC)
    deliver(dapp.notification(alice.account))
    assert not NotifyMessageRecord.objects.exists()


def test_unblocking_requests_the_types_from_before(alice, dapp, subscription):
    before = subscription.effective_types
    services.block(subscription, alice.device)
    assert types_on(dapp, alice) == set()
    alice.get("/subscriptions")
    blocked = BlockedDapp.objects.get()
    alice.post(f"/subscriptions/blocked/{blocked.pk}")
    assert types_on(dapp, alice) == before
    deliver(dapp.notification(alice.account))
    assert NotifyMessageRecord.objects.count() == 1


def test_another_user_blocks_and_unblocks_nothing(alice, charlie, subscription):
    charlie.get("/subscriptions")
    path = f"/subscriptions/{subscription.topic}/block"
    assert charlie.post(path).status_code == 404
    services.block(subscription, alice.device)
    blocked = BlockedDapp.objects.get()
    assert charlie.post(f"/subscriptions/blocked/{blocked.pk}").status_code == 404
    assert BlockedDapp.objects.exists()
    assert "Blocked dapps" not in text_of(charlie.get("/subscriptions"))


# --- attempts that are running when the block arrives ---------------------------------


def block_elsewhere(attempt):
    """As the preferences of another server of the account put it into force."""
    BlockedDapp.objects.create(
        account=attempt.account,
        dapp_url=attempt.dapp_url,
        name="Dapp",
        created_at=clock.now(),
    )


def test_an_attempt_that_has_not_asked_yet_does_not_ask(alice, dapp):
    attempt = services.subscribe(alice.account, dapp.url, device=alice.device)
    block_elsewhere(attempt)
    services.resolve_due()
    attempt.refresh_from_db()
    assert (attempt.state, "blocked this dapp" in attempt.reason) == ("rejected", True)
    assert sent(Tag.NOTIFY_SUBSCRIBE) == []


def test_an_answer_after_the_block_is_answered_with_a_delete(alice, dapp):
    attempt = requested(alice, dapp)
    block_elsewhere(attempt)
    deliver(dapp.answer())
    attempt.refresh_from_db()
    assert (attempt.state, "blocked this dapp" in attempt.reason) == ("rejected", True)
    assert not Subscription.objects.exists()
    key = dapp.key_of(alice.account)
    [delete] = sent(Tag.NOTIFY_DELETE)
    assert delete.topic == key.topic
    assert parse(open_envelope(delete.message, key)).method == "wc_notifyDelete"
    # Neither key P nor those of the run are kept.
    assert not sym_keys(Holder.WALLET, [key.topic, attempt.response_topic])
    topics = TopicSubscription.objects.filter(
        topic__in=[key.topic, attempt.response_topic]
    )
    assert not topics.filter(state="wanted").exists()


def test_an_answer_after_the_block_leaves_another_wallet_s_topic(
    alice, dapp, subscription
):
    """A delete of the newer topic would end the older one at the dapp."""
    rows = Subscription.objects.all()
    rows.update(deleted_at=clock.now())
    attempt = requested(alice, dapp)
    rows.update(deleted_at=None, added_by=Subscription.AddedBy.SYNC)
    block_elsewhere(attempt)
    deliver(dapp.answer())
    attempt.refresh_from_db()
    assert attempt.state == "rejected"
    assert sent(Tag.NOTIFY_DELETE) == []
    assert [row.topic for row in rows] == [subscription.topic]
