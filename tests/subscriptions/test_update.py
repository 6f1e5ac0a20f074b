"""Changing types, renewal, expiry."""

from __future__ import annotations

import pytest

from common import clock
from keychain.services import Holder, sym_keys
from subscriptions import services
from subscriptions.models import DappDocument, Subscription
from subscriptions.services import updates
from syncstore.models import Store, StoreUpdate
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import deliver, send_as_peer, sent
from walletconnect.crypto.envelope import open_envelope
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.values import NotifySubscription
from walletconnect.relay.rpc import parse
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

DAY = 24 * 60 * 60


def enabled(row: Subscription) -> set[str]:
    row.refresh_from_db()
    return {name for name, each in row.scope.items() if each["enabled"]}


def claims_of_last_update(dapp, account):
    request = dapp.last_on(dapp.key_of(account), 4008)
    return DidJwt.parse(request.params["updateAuth"]).claims


def test_the_new_types_apply_once_the_dapp_has_answered(alice, dapp, subscription):
    services.update(subscription, {"news"}, alice.devices[1])
    assert claims_of_last_update(dapp, alice.account)["scp"] == "news"
    assert enabled(subscription) == {"alerts", "news", "gm_hourly"}, "not yet"
    deliver(dapp.answer_update(alice.account))
    assert enabled(subscription) == {"news"}
    assert subscription.pending_update is None


def test_no_type_at_all_is_allowed(alice, dapp, subscription):
    services.update(subscription, set(), alice.device)
    deliver(dapp.answer_update(alice.account))
    assert enabled(subscription) == set()


def test_an_update_extends_the_expiry(alice, dapp, subscription):
    Subscription.objects.update(expiry=clock.now_s() + DAY)
    services.update(subscription, {"news"}, alice.device)
    deliver(dapp.answer_update(alice.account))
    subscription.refresh_from_db()
    assert subscription.expiry > clock.now_s() + 29 * DAY


def test_a_type_that_the_dapp_has_added_can_be_chosen(alice, dapp, subscription):
    dapp.config["types"] = [
        *dapp.config["types"],
        {"name": "votes", "description": "Ballots"},
    ]
    DappDocument.objects.update(expires_at=clock.now())
    services.recheck_documents()
    services.update(subscription, {"alerts", "votes"}, alice.device)
    deliver(dapp.answer_update(alice.account))
    assert enabled(subscription) == {"alerts", "votes"}
    assert subscription.scope["votes"]["description"] == "Ballots"


def test_an_unknown_type_is_refused(alice, dapp, subscription):
    with pytest.raises(services.UnknownTypes):
        services.update(subscription, {"lottery"}, alice.device)
    assert not sent(4008)


def test_charlie_cannot_change_it(alice, charlie, dapp, subscription):
    with pytest.raises(services.NotYours):
        services.update(subscription, {"news"}, charlie.device)
    assert not sent(4008)


def test_the_second_of_two_updates_applies(alice, dapp, subscription):
    services.update(subscription, {"news"}, alice.device)
    first = dapp.answer_update(alice.account)
    services.update(subscription, {"alerts"}, alice.devices[1])
    second = dapp.answer_update(alice.account)
    row, _ = deliver(first, second)
    assert row.state == "refused"
    assert enabled(subscription) == {"alerts"}


def test_an_answer_delivered_twice_applies_once(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    services.update(row, {"news"}, synced_alice.device)
    answer = dapp.answer_update(synced_alice.account)
    deliver(answer, answer)
    deliver(answer)
    assert StoreUpdate.objects.count() == 2, "one set for each change"


def test_a_device_that_did_not_ask_ignores_the_answer(alice, dapp, subscription):
    services.update(subscription, {"news"}, alice.device)
    answer = dapp.answer_update(alice.account)
    Subscription.objects.update(pending_update=None)
    (row,) = deliver(answer)
    assert row.state == "refused"
    assert enabled(subscription) == {"alerts", "news", "gm_hourly"}


def test_a_refusal_is_stored_with_its_message(alice, dapp, subscription):
    services.update(subscription, {"news"}, alice.device)
    subscription.refresh_from_db()
    error = {"code": -1, "message": "too often"}
    send_as_peer(
        dapp.key_of(alice.account),
        {
            "id": subscription.pending_update["rpcId"],
            "jsonrpc": "2.0",
            "error": error,
        },
        4009,
    )
    assert enabled(subscription) == {"alerts", "news", "gm_hourly"}
    assert subscription.pending_update is None
    assert "too often" in subscription.update_reason


def test_a_forged_answer_changes_nothing(alice, dapp, subscription):
    from walletconnect.crypto.signing import IdentityKey

    services.update(subscription, {"news"}, alice.device)
    dapp.key = IdentityKey.from_seed(b"s" * 32)
    subscription.refresh_from_db()
    from walletconnect.notify.claims import UpdateResponseAuth

    now = clock.now_s()
    token = UpdateResponseAuth(
        iat=now,
        exp=now + 60,
        iss=dapp.key.did,
        aud=subscription.pending_update["identityDid"],
        sub="0" * 64,
        app=dapp.url,
    ).sign(dapp.key)
    send_as_peer(
        dapp.key_of(alice.account),
        {
            "id": subscription.pending_update["rpcId"],
            "jsonrpc": "2.0",
            "result": {"responseAuth": token},
        },
        4009,
    )
    assert enabled(subscription) == {"alerts", "news", "gm_hourly"}
    assert subscription.pending_update is not None, "the dapp may still answer"


def test_without_an_answer_the_old_types_stay(alice, dapp, subscription):
    services.update(subscription, {"news"}, alice.device)
    subscription.refresh_from_db()
    subscription.pending_update["expiresAt"] = clock.now_s() - 1
    subscription.save()
    assert services.expire_updates() == 1
    assert services.expire_updates() == 0
    assert enabled(subscription) == {"alerts", "news", "gm_hourly"}
    assert subscription.pending_update is None
    assert subscription.update_reason


def test_one_sweep_ends_more_updates_than_a_batch_has(subscription, monkeypatch):
    monkeypatch.setattr(updates, "EXPIRE_BATCH_SIZE", 2)
    for number in range(5):
        subscription.pk = None
        subscription.topic = f"{number:064x}"
        subscription.dapp_url = f"https://{number}.example"
        subscription.pending_update = {"expiresAt": clock.now_s() - 1}
        subscription.save()
    assert services.expire_updates() == 5


def test_the_other_devices_receive_the_new_types_from_the_store(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    services.update(row, {"news"}, synced_alice.device)
    deliver(dapp.answer_update(synced_alice.account))
    store = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    key = sym_keys(Holder.WALLET, [store.topic])[store.topic]
    first, second = (
        parse(open_envelope(message.message, key)) for message in sent(5000)
    )
    assert second.id > first.id
    announced = NotifySubscription.from_json(second.params["value"])
    assert announced.scope.enabled == ("news",)


# --- renewal and expiry ------------------------------------------------------------------


def test_a_subscription_is_renewed_a_week_before_its_end(alice, dapp, subscription):
    assert services.renew_subscriptions() == 0
    Subscription.objects.update(expiry=clock.now_s() + 6 * DAY)
    assert services.renew_subscriptions() == 1
    assert services.renew_subscriptions() == 0, "already requested"
    scp = set(claims_of_last_update(dapp, alice.account)["scp"].split())
    assert scp == {"alerts", "news", "gm_hourly"}
    deliver(dapp.answer_update(alice.account))
    subscription.refresh_from_db()
    assert subscription.expiry > clock.now_s() + 29 * DAY
    assert enabled(subscription) == {"alerts", "news", "gm_hourly"}


def test_an_account_that_is_signed_out_everywhere_is_not_renewed(
    alice, dapp, subscription
):
    from accounts.services import revoke_devices

    revoke_devices([device.pk for device in alice.devices], by=None)
    Subscription.objects.update(expiry=clock.now_s() + 6 * DAY)
    assert services.renew_subscriptions() == 0
    assert not sent(4008)


def test_an_expired_subscription_ends_here_but_not_in_the_store(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    Subscription.objects.update(expiry=clock.now_s() - 1)
    assert services.expire_subscriptions() == 1
    assert services.expire_subscriptions() == 0
    row.refresh_from_db()
    assert row.delete_reason == "expired"
    assert not sent(5002), "another wallet may have renewed it"
    assert not sym_keys(Holder.WALLET, [row.topic])
