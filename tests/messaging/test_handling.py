"""A message's way through the inbox: claimed, opened, grouped, handled once."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction

from common import clock, entropy
from keychain import services as keychain
from messaging import handling, inbox, services
from messaging.dispatch import Refused, TryLater
from messaging.models import InboxClaim, InboxMessage, Party
from tests.messaging.conftest import (
    OTHER_TAG,
    TAG,
    effects,
    envelope,
    first_contact,
    make_key,
    received,
    states,
    wait_for,
)
from walletconnect.crypto.envelope import seal
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.relay.rpc import JsonRpcRequest

pytestmark = pytest.mark.usefixtures("canary")


def take_in(*found: services.Received) -> list[int]:
    return services.receive(Party.WALLET, found)


def handle() -> None:
    assert services.handle_due(10.0) is False


def later(seconds: float):
    return clock.frozen(clock.now() + timedelta(seconds=seconds))


def test_a_message_is_opened_and_handled_once(handler):
    key = make_key()
    message = received(key, envelope(key, 7))
    assert len(take_in(message)) == 1
    handle()
    [inbound] = handler.seen
    assert inbound.payload.params == {"number": 7}
    assert (inbound.topic, inbound.envelope_type) == (key.topic, 0)
    assert inbound.sym_key == key
    assert states() == ["handled"]
    # The same message again is neither stored nor handled again.
    assert take_in(message, message) == []
    handle()
    assert handler.numbers() == [7]


def test_the_envelope_is_gone_once_handled_and_its_digest_stays(handler):
    key = make_key()
    take_in(received(key, envelope(key)))
    handle()
    row = InboxMessage.objects.get()
    assert row.message == ""
    assert len(row.message_id) == 64


def test_a_first_contact_is_opened_with_the_key_pair_of_the_topic(handler):
    pair = KeyPair.from_private(entropy.key_bytes())
    keychain.put_key_pair(keychain.Holder.WALLET, pair)
    text, key_s = first_contact(pair, 3)
    take_in(received(pair.topic, text))
    handle()
    [inbound] = handler.seen
    assert inbound.envelope_type == 1
    assert inbound.sym_key == key_s
    assert inbound.sender_public_key is not None


def test_messages_of_many_topics_are_one_run_of_the_handler(handler):
    keys = [make_key() for _ in range(5)]
    take_in(*(received(key, envelope(key, n)) for n, key in enumerate(keys)))
    handle()
    assert handler.runs == [[0, 1, 2, 3, 4]]


def test_runs_keep_the_order_within_a_topic_and_no_other(handler, make_handler):
    other = make_handler(OTHER_TAG)
    order = []
    handler.on_run = lambda found: order.extend(each.payload.id for each in found)
    other.on_run = lambda found: order.extend(each.payload.id for each in found)
    first, second = make_key(), make_key()
    take_in(
        received(first, envelope(first, 1), TAG),
        received(first, envelope(first, 2), OTHER_TAG),
        received(second, envelope(second, 3), TAG),
        received(second, envelope(second, 4), OTHER_TAG),
        received(first, envelope(first, 5), TAG),
    )
    handle()
    assert handler.runs == [[1, 3], [5]]
    assert other.runs == [[2, 4]]
    assert [number for number in order if number in (1, 2, 5)] == [1, 2, 5]


@pytest.mark.parametrize(
    "case",
    ["no handler", "no key", "other key", "empty", "type 2", "no envelope", "no rpc"],
)
def test_what_does_not_open_is_refused_quietly(handler, caplog, case):
    key = make_key()
    topic, text, tag = key.topic, envelope(key), TAG
    if case == "no handler":
        tag = 5999
    elif case == "no key":
        topic = SymKey(entropy.key_bytes()).topic
    elif case == "other key":
        text = envelope(SymKey(entropy.key_bytes()))
    elif case == "empty":
        text = ""
    elif case == "type 2":
        text = "AnsiaWQiOjF9"
    elif case == "no envelope":
        text = "never!"
    elif case == "no rpc":
        text = seal("[1, 2]", key, iv=entropy.iv())
    take_in(received(topic, text, tag))
    handle()
    assert states() == ["refused"]
    assert InboxMessage.objects.get().reason
    assert handler.seen == []
    assert all(record.levelno < logging.WARNING for record in caplog.records)


def test_the_key_of_another_party_opens_nothing(handler):
    key = make_key(Party.CAST)
    take_in(received(key, envelope(key)))
    handle()
    assert states() == ["refused"]


@pytest.mark.django_db(transaction=True)
def test_ten_thousand_pieces_of_garbage_cost_little_and_log_a_few_lines(
    handler, caplog
):
    caplog.set_level(logging.INFO)
    key = make_key()
    good = [received(key, envelope(key, n)) for n in range(20)]
    pair = KeyPair.from_private(entropy.key_bytes())
    keychain.put_key_pair(keychain.Holder.WALLET, pair)
    garbage = []
    for number in range(2_500):
        noise = entropy.token_hex(60)
        garbage += [
            received(key, noise),
            received(key, envelope(key)[: 40 + number % 40]),
            received(key, "Ag==" if number == 0 else f"Ag{number:06d}AA=="),
            # A first contact whose sender key is of low order.
            received(
                pair.topic, seal(f"x{number}", key, iv=entropy.iv(), sender=bytes(32))
            ),
        ]
    take_in(*garbage, *good)
    count = InboxMessage.objects.count()
    started = time.process_time()
    assert services.handle_due(100) is False
    spent = time.process_time() - started
    assert handler.numbers() == list(range(20))
    assert states().count("refused") == count - 20
    assert spent < count * 0.001
    lines = [record for record in caplog.records if record.name.startswith("relay")]
    assert len(lines) < 20


def test_only_the_poison_of_a_run_fails_and_the_queue_behind_it_moves(handler):
    key, poison = make_key(), make_key()
    handler.effect_key = make_key()

    def refuse_poison(messages):
        if any(message.topic == poison.topic for message in messages):
            raise ZeroDivisionError(f"secret {poison.hex()}")

    handler.on_run = refuse_poison
    take_in(
        received(key, envelope(key, 1)),
        received(poison, envelope(poison, 2)),
        received(key, envelope(key, 3)),
        received(poison, envelope(poison, 4)),
    )
    handle()
    assert states() == ["handled", "due", "handled", "due"]
    assert effects() == 2
    row = InboxMessage.objects.filter(topic=poison.topic)[0]
    assert (row.attempts, row.reason) == (1, "ZeroDivisionError")
    assert row.next_attempt_at > clock.now()


def test_a_crashing_message_fails_after_a_few_attempts_with_its_reason(handler, caplog):
    key = make_key()

    def fail(messages):
        raise ZeroDivisionError(f"secret {key.hex()}")

    handler.on_run = fail
    take_in(received(key, envelope(key)))
    for _ in range(inbox.MAX_ATTEMPTS):
        assert states() == ["due"]
        with later(1000):
            handle()
        InboxMessage.objects.update(next_attempt_at=clock.now())
    row = InboxMessage.objects.get()
    assert (row.state, row.reason) == ("failed", "ZeroDivisionError")
    assert len(handler.runs) == inbox.MAX_ATTEMPTS
    handle()
    assert len(handler.runs) == inbox.MAX_ATTEMPTS
    assert key.hex() not in caplog.text


def test_a_refusal_in_a_run_rolls_back_that_message_only(handler):
    keys = [make_key() for _ in range(3)]
    handler.effect_key = make_key()

    def refuse_two(messages):
        for message in messages:
            if message.payload.id == 2:
                raise Refused("not two")

    handler.on_run = refuse_two
    take_in(*(received(key, envelope(key, n)) for n, key in enumerate(keys, 1)))
    handle()
    assert handler.runs == [[1, 2, 3], [1], [2], [3]]
    assert states() == ["handled", "refused", "handled"]
    assert InboxMessage.objects.get(state="refused").reason == "not two"
    assert effects() == 2


def test_a_handler_may_name_those_it_refuses_without_a_second_run(handler):
    key = make_key()
    handler.on_run = lambda messages: {
        each.pk: Refused("even") for each in messages if each.payload.id % 2 == 0
    }
    take_in(*(received(key, envelope(key, n)) for n in range(1, 5)))
    handle()
    assert handler.runs == [[1, 2, 3, 4]]
    assert states() == ["handled", "refused", "handled", "refused"]
    assert InboxMessage.objects.filter(message="").count() == 2


def test_what_must_be_tried_later_comes_again_with_growing_pauses_for_a_day(handler):
    key = make_key()

    def not_yet(messages):
        raise TryLater("the keys server is away")

    handler.on_run = not_yet
    take_in(received(key, envelope(key)))
    pauses = []
    for wait in (0, 60, 600, 3600):
        with later(wait):
            handle()
            row = InboxMessage.objects.get()
            pauses.append((row.next_attempt_at - clock.now()).total_seconds())
        assert (row.state, row.attempts) == ("due", 0)
        assert row.reason == "the keys server is away"
    assert pauses[:3] == sorted(pauses[:3])
    assert max(pauses) <= 360
    with later(86_401):
        handle()
    assert states() == ["failed"]


def test_a_message_that_waits_blocks_no_other(handler):
    key = make_key()
    handler.on_run = lambda messages: {
        each.pk: TryLater("later") for each in messages if each.payload.id == 1
    }
    take_in(received(key, envelope(key, 1)))
    handle()
    take_in(received(key, envelope(key, 2)))
    handle()
    assert states() == ["due", "handled"]


@pytest.mark.django_db(transaction=True)
def test_prepare_runs_first_and_outside_any_transaction(handler):
    key = make_key()
    inside = []
    handler.on_prepare = lambda found: inside.append(connection.in_atomic_block)
    handler.on_run = lambda found: inside.append(connection.in_atomic_block)
    take_in(received(key, envelope(key)))
    handle()
    assert inside == [False, True]


def test_what_prepare_cannot_get_stays_out_of_the_run(handler):
    key = make_key()
    handler.on_prepare = lambda messages: {
        each.pk: TryLater("no document") for each in messages if each.payload.id == 2
    }
    take_in(*(received(key, envelope(key, n)) for n in (1, 2, 3)))
    handle()
    assert handler.runs == [[1, 3]]
    assert states() == ["handled", "due", "handled"]


def test_a_prepare_that_raises_is_repeated_one_by_one(handler):
    key = make_key()

    def prepare(messages):
        if any(each.payload.id == 2 for each in messages):
            raise ValueError("odd document")

    handler.on_prepare = prepare
    take_in(*(received(key, envelope(key, n)) for n in (1, 2, 3)))
    handle()
    assert handler.prepared == [[1, 2, 3], [1], [2], [3]]
    assert states() == ["handled", "due", "handled"]


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_have_one_topic_at_the_same_time(handler):
    keys = [make_key() for _ in range(6)]
    numbers = {key.topic: [] for key in keys}
    at_work, clashes, lock = set(), [], threading.Lock()

    def watch(messages):
        topics = {message.topic for message in messages}
        with lock:
            clashes.extend(topics & at_work)
            at_work.update(topics)
        time.sleep(0.005)
        for message in messages:
            numbers[message.topic].append(message.payload.id)
        with lock:
            at_work.difference_update(topics)

    handler.on_run = watch
    for number in range(300):
        key = keys[number % 6]
        take_in(received(key, envelope(key, number)))

    def work():
        try:
            while InboxMessage.objects.filter(state="due").exists():
                handling.handle(inbox.claim(limit=20))
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not clashes
    assert states() == ["handled"] * 300
    for found in numbers.values():
        assert found == sorted(found)
        assert len(found) == 50


def test_rows_of_a_dead_worker_are_taken_one_by_one_after_the_lease(handler):
    key = make_key()
    take_in(*(received(key, envelope(key, n)) for n in (1, 2, 3)))
    assert len(inbox.claim().rows) == 3
    # Another worker finds the topic busy, also for messages that arrive meanwhile.
    take_in(received(key, envelope(key, 4)))
    handle()
    assert handler.runs == []
    with later(61):
        handle()
    assert handler.runs == [[1], [2], [3], [4]]
    assert states() == ["handled"] * 4


def test_claiming_writes_no_message_and_leaves_nothing_behind(handler):
    """Each version of a row has its envelope, and an entry in every index."""
    key, other = make_key(), make_key()
    take_in(*(received(key, envelope(key, n)) for n in range(5)))
    versions = _versions()
    batch = inbox.claim()
    assert _versions() == versions
    [claim] = InboxClaim.objects.all()
    assert claim.messages == [row.pk for row in batch.rows]
    assert len(claim.topics) == 1
    take_in(received(other, envelope(other, 5)), received(other, "!"))
    handling.handle(batch)
    handle()
    assert handler.numbers() == [0, 1, 2, 3, 4, 5]
    assert not InboxClaim.objects.exists()


def _versions() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid::text FROM messaging_inboxmessage ORDER BY id")
        return [version for (version,) in cursor.fetchall()]


def test_a_topic_is_free_when_its_run_is_committed(handler, make_handler):
    """A later run of the batch may wait for another server."""
    other = make_handler(OTHER_TAG)
    first, second = make_key(), make_key()
    take_in(
        received(first, envelope(first, 1), TAG),
        received(second, envelope(second, 2), OTHER_TAG),
    )
    seen = []

    def meanwhile(_) -> None:
        take_in(
            received(first, envelope(first, 3), TAG),
            received(second, envelope(second, 4), OTHER_TAG),
        )
        seen.extend(row.topic for row in inbox.claim().rows)

    other.on_run = meanwhile
    handling.handle(inbox.claim())
    assert seen == [first.topic]


def test_a_worker_of_the_release_before_keeps_its_rows_and_topics(handler):
    """It leases the rows themselves, and may run during an upgrade."""
    key, other = make_key(), make_key()
    old, *_ = take_in(
        received(key, envelope(key, 1)),
        received(key, envelope(key, 2)),
        received(other, envelope(other, 3)),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE messaging_inboxmessage SET leased_by = pg_backend_pid(),"
            " leased_until = %s WHERE id = %s",
            [clock.now() + inbox.LEASE, old],
        )
    handle()
    assert handler.runs == [[3]]
    with later(61):
        handle()
    assert handler.runs == [[3], [1], [2]]
    assert InboxMessage.objects.filter(leased_until=None).count() == 3


def test_a_row_that_an_old_worker_leased_meanwhile_is_its_own(handler):
    key = make_key()
    [pk] = take_in(received(key, envelope(key, 1)))
    batch = inbox.claim()
    InboxMessage.objects.filter(pk=pk).update(leased_until=clock.now() + inbox.LEASE)
    handling.handle(batch)
    assert handler.runs == []
    assert states() == ["due"]


@pytest.mark.django_db(transaction=True)
def test_a_claim_in_its_transaction_is_not_taken_over(handler):
    """Its worker lives, however late it is."""
    key = make_key()
    take_in(received(key, envelope(key, 1)))
    found: list[int] = []

    def take_over() -> None:
        with later(61):
            found.extend(row.pk for row in inbox.claim().rows)
        connection.close()

    def meanwhile(_) -> None:
        other = threading.Thread(target=take_over)
        other.start()
        other.join(30)
        assert not other.is_alive()

    handler.on_run = meanwhile
    handle()
    assert found == []
    assert handler.runs == [[1]]
    assert states() == ["handled"]


@pytest.mark.django_db(transaction=True)
def test_rows_of_a_worker_whose_session_ended_wait_for_no_lease(handler):
    key, other = make_key(), make_key()
    take_in(*(received(key, envelope(key, n)) for n in (1, 2)))

    def claim_and_die():
        assert len(inbox.claim().rows) == 2
        connection.close()

    worker = threading.Thread(target=claim_and_die)
    worker.start()
    worker.join()
    take_in(received(key, envelope(key, 3)), received(other, envelope(other, 4)))
    wait_for(lambda: _sessions() == 1)
    handle()
    assert handler.runs == [[1], [2], [3, 4]]


def _sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
        return cursor.fetchone()[0]


def test_a_message_that_kills_every_worker_fails_and_takes_no_other_with_it(handler):
    key, killer = make_key(), make_key()
    take_in(received(killer, envelope(killer, 1)), received(key, envelope(key, 2)))
    # The worker dies with both; then again and again with the first alone.
    with later(0):
        assert len(inbox.claim().rows) == 2
    for death in range(1, inbox.MAX_ATTEMPTS):
        with later(61 * death):
            [row] = inbox.claim().rows
            assert row.topic == killer.topic
    with later(61 * (inbox.MAX_ATTEMPTS + 1)):
        handle()
    assert states() == ["failed", "handled"]
    assert handler.runs == [[2]]


def test_a_worker_whose_lease_ran_out_does_nothing_a_second_time(handler):
    key = make_key()
    handler.effect_key = make_key()
    take_in(received(key, envelope(key)))
    slow = inbox.claim()
    with later(61):
        handle()
        # The slow one wakes up with its old lease, on an old clock.
    assert effects() == 1
    handling.handle(slow)
    assert effects() == 1
    assert states() == ["handled"]


@pytest.mark.django_db(transaction=True)
def test_the_effect_and_the_mark_are_one_transaction(handler, monkeypatch):
    key = make_key()
    handler.effect_key = make_key()

    class PowerCut(BaseException):
        pass

    def cut(name, _=()):
        if name == "inbox.before_commit":
            raise PowerCut

    take_in(received(key, envelope(key)))
    monkeypatch.setattr(handling, "failpoint", cut)
    with pytest.raises(PowerCut):
        services.handle_due(10)
    assert (effects(), states()) == (0, ["due"])
    monkeypatch.undo()
    with later(61):
        handle()
    assert (effects(), states()) == (1, ["handled"])


def test_messages_that_could_never_be_stored_are_dropped_at_the_door():
    key = make_key()
    text = envelope(key)
    assert (
        take_in(
            received(key, "a\0b"),
            received(key, "\ud800"),
            received(key, "é"),
            received("f" * 63, text),
            received("F" * 64, text),
            received(key, text, -1),
            received(key, text, 2**31),
            received(key, "A" * (512 * 1024 + 1)),
            services.Received(key.topic, text, TAG, -1),
        )
        == []
    )


def test_receiving_and_handling_is_bound_to_the_callers_transaction(handler):
    key = make_key()

    class Undo(Exception):
        pass

    def take_in_and_fail():
        with transaction.atomic():
            take_in(received(key, envelope(key)))
            raise Undo

    with pytest.raises(Undo):
        take_in_and_fail()
    assert states() == []


def test_rpc_requests_results_and_errors_all_reach_the_handler(handler):
    key = make_key()
    request = JsonRpcRequest(5, "x", {}).to_json()
    for text in (request, '{"id":6,"jsonrpc":"2.0","result":{}}'):
        take_in(received(key, seal(text, key, iv=entropy.iv())))
    error = '{"id":7,"jsonrpc":"2.0","error":{"code":-1,"message":"no"}}'
    take_in(received(key, seal(error, key, iv=entropy.iv())))
    handle()
    assert handler.numbers() == [5, 6, 7]
