"""Store keys on their way to another server: sealed to one device, once, for ten minutes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection

from accounts.models import AuditEntry
from common import clock, entropy
from keychain.services import Holder, forget, sym_keys
from syncstore import services
from syncstore.models import DeviceLink, Store
from syncstore.schemas import ANSWER_PREFIX, KeyAnswer, KeyRequest
from tests.people import sign_in
from walletconnect.crypto.keys import KeyPair
from walletconnect.identity.did import AccountId

pytestmark = pytest.mark.usefixtures("redis_client")


@pytest.fixture
def new(alice, store):
    return sign_in(alice.wallet)


@pytest.fixture
def request_text(alice, new):
    services.begin_key_request(alice.account, new)
    return services.request_text(alice.account, new)


def become_the_other_server() -> dict[str, str]:
    """Forget the stores, as if they had never been here; their topics by name."""
    topics = dict(Store.objects.values_list("name", "topic"))
    forget(Holder.WALLET, topics.values())
    Store.objects.all().delete()
    return topics


def test_the_keys_arrive_and_lead_to_the_same_stores(alice, new, request_text):
    request, account = services.read_key_request(request_text, alice.device)
    assert (request.device, account) == (new.name, alice.account)
    answer = services.give_keys(request_text, alice.device)
    topics = become_the_other_server()
    # As mail programs and chats break it.
    services.take_key_answer(f"  {answer[:70]}\n{answer[70:]} ", alice.account, new)
    assert dict(Store.objects.values_list("name", "topic")) == topics
    assert set(sym_keys(Holder.WALLET, topics.values())) == set(topics.values())
    assert new.cursors.count() == len(topics)
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    wanted = ["sync.key-requested", "sync.key-given", "sync.key-taken"]
    assert [action for action in actions if action in wanted] == wanted


def test_neither_text_shows_a_key_and_the_private_key_is_sealed_here(
    alice, store, new, request_text
):
    answer = services.give_keys(request_text, alice.device)
    key = sym_keys(Holder.WALLET, [store.topic])[store.topic]
    assert key.hex() not in answer
    # Another key pair does not open it.
    services.begin_key_request(alice.account, new)
    with pytest.raises(services.NotAKeyText):
        services.take_key_answer(answer, alice.account, new)
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM syncstore_devicelink AS t")
        rows = "\n".join(row for (row,) in cursor.fetchall())
    assert key.hex() not in rows


def test_an_answer_is_taken_once(alice, new, request_text):
    answer = services.give_keys(request_text, alice.device)
    become_the_other_server()
    services.take_key_answer(answer, alice.account, new)
    with pytest.raises(services.LinkUsed):
        services.take_key_answer(answer, alice.account, new)


def test_a_request_expires_on_both_sides(alice, new, request_text):
    answer = services.give_keys(request_text, alice.device)
    DeviceLink.objects.update(expires_at=clock.now())
    with pytest.raises(services.LinkExpired):
        services.take_key_answer(answer, alice.account, new)
    assert services.request_text(alice.account, new) == ""
    request = KeyRequest.parse(request_text)
    assert request.until - clock.now_s() <= timedelta(minutes=10).total_seconds()
    late = replace(request, until=clock.now_s() - 1).encode()
    with pytest.raises(services.LinkExpired):
        services.give_keys(late, alice.device)


def test_nobody_gives_keys_of_an_account_of_somebody_else(alice, bob, request_text):
    with pytest.raises(services.OtherAccount):
        services.give_keys(request_text, bob.device)
    refused = AuditEntry.objects.get(action="sync.link-refused")
    assert (refused.device, refused.detail) == (bob.device, "other-account")


def test_the_answer_for_another_account_is_refused(alice, bob, new, request_text):
    request = KeyRequest.parse(request_text)
    (bobs, *_) = services.enable_sync(bob.account, bob.sync_signature, bob.device)
    keys = sym_keys(Holder.WALLET, [bobs.topic])
    answer = KeyAnswer(
        AccountId.parse(bob.account.address), {bobs.name: keys[bobs.topic]}
    ).sealed_to(
        request.public_key, ephemeral=KeyPair(entropy.key_bytes()), iv=entropy.iv()
    )
    with pytest.raises(services.OtherAccount):
        services.take_key_answer(answer, alice.account, new)


def test_other_stores_stay_as_they_are(alice, bob, store, new, request_text):
    request = KeyRequest.parse(request_text)
    (bobs, *_) = services.enable_sync(bob.account, bob.sync_signature, bob.device)
    keys = sym_keys(Holder.WALLET, [bobs.topic])
    answer = KeyAnswer(
        AccountId.parse(alice.account.address), {bobs.name: keys[bobs.topic]}
    ).sealed_to(
        request.public_key, ephemeral=KeyPair(entropy.key_bytes()), iv=entropy.iv()
    )
    with pytest.raises(services.SignatureDiffers):
        services.take_key_answer(answer, alice.account, new)
    assert store in Store.objects.all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "hello",
        lambda text: text[:-1],
        lambda text: text[:-8] + "AAAAAAAA",
        lambda text: text.partition(".")[2],
        lambda text: text + "x" * 5_000,
        lambda text: ANSWER_PREFIX + "AAAA",
        lambda text: ANSWER_PREFIX + "🙂",
        lambda text: "notifyweb-key-request.bnVsbA",
    ],
)
def test_a_spoiled_text_changes_nothing(alice, new, request_text, spoil):
    answer = services.give_keys(request_text, alice.device)
    before = set(Store.objects.values_list("topic", flat=True))
    with pytest.raises(services.NotAKeyText):
        services.take_key_answer(spoil(answer), alice.account, new)
    assert set(Store.objects.values_list("topic", flat=True)) == before
    # The right answer is still taken.
    become_the_other_server()
    services.take_key_answer(answer, alice.account, new)


@pytest.mark.parametrize("text", ["", "hello", ANSWER_PREFIX + "AAAA", "x" * 9_000])
def test_what_is_no_request_is_refused(alice, store, text):
    with pytest.raises(services.NotAKeyText):
        services.give_keys(text, alice.device)


def test_a_key_of_low_order_is_no_request(alice, request_text):
    request = replace(KeyRequest.parse(request_text), public_key=bytes(32))
    with pytest.raises(services.NotAKeyText):
        services.give_keys(request.encode(), alice.device)
