"""Two wallets of one account subscribe, update and delete at one dapp; the relay loses order.

Every request is made by the published clients' steps, and has its own second. Whatever order
and however often requests arrive: each topic ends as its newest request asked, no request
makes more than one topic, and none fails.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from castserver.models import Subscriber
from common import clock, entropy
from messaging.models import InboxMessage, OutboxMessage
from tests.castserver.conftest import (  # noqa: F401  # fixtures
    alice,
    alice_laptop,
    made,
    open_keychain,
    own_urls,
    project,
)
from tests.castserver.world import deliver, scope_of
from walletconnect.crypto.envelope import open_envelope
from walletconnect.errors import RemoteProtocolError
from walletconnect.notify.delete import request_delete
from walletconnect.notify.subscribe import settle_subscription
from walletconnect.notify.update import request_update
from walletconnect.relay.rpc import parse

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
TYPES = st.sets(st.sampled_from(["alerts", "news", "gm_hourly"]))


@dataclass
class Sent:
    kind: str
    publish: Any
    scope: frozenset[str] = frozenset()
    # Of a subscribe it is in the answer.
    topic: str | None = None
    arrived: bool = False


def machine(dapp, phone, laptop):
    wallets = [phone, laptop]

    class SubscriptionMachine(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            self.savepoint = transaction.atomic()
            self.savepoint.__enter__()
            self.start, self.seconds = clock.now(), 0
            self.requests: list[Sent] = []
            self.asked: list[Any] = []
            self.known: Any = None

        @property
        def now(self):
            # Each request is signed in a second of its own.
            self.seconds += 1
            return clock.frozen(self.start + timedelta(seconds=self.seconds))

        @rule(wallet=st.sampled_from([0, 1]), types=TYPES)
        def subscribe(self, wallet, types):
            with self.now:
                scope = scope_of(dapp).with_enabled(types)
                made_, key_pair_y = wallets[wallet].request(dapp, scope=scope)
            note(f"subscribe {types}")
            self.requests.append(
                Sent("subscribe", made_.publish, scope=frozenset(types))
            )
            self.asked.append((made_, key_pair_y))

        @rule(wallet=st.sampled_from([0, 1]), types=TYPES)
        def update(self, wallet, types):
            if self.known is None:
                return
            with self.now:
                made_ = request_update(
                    self.known,
                    wallets[wallet].identity,
                    enabled=types,
                    dapp_did=dapp.authentication_did,
                    request_id=clock.payload_id(),
                    iv=entropy.iv(),
                    now=clock.now_s(),
                )
            topic = made_.publish.topic
            self.requests.append(Sent("update", made_.publish, frozenset(types), topic))

        @rule(wallet=st.sampled_from([0, 1]))
        def delete(self, wallet):
            if self.known is None:
                return
            with self.now:
                made_ = request_delete(
                    self.known,
                    wallets[wallet].identity,
                    dapp_did=dapp.authentication_did,
                    request_id=clock.payload_id(),
                    update_id=clock.payload_id(),
                    iv=entropy.iv(),
                    now=clock.now_s(),
                )
            topic = made_.publish.topic
            self.requests.append(Sent("delete", made_.publish, topic=topic))

        @rule(data=st.data())
        def some_arrive(self, data):
            if not self.requests:
                return
            chosen = data.draw(st.lists(st.sampled_from(self.requests), max_size=3))
            self._arrive(chosen)

        def _arrive(self, chosen):
            with self.now:
                for each in chosen:
                    note(f"arrives: {self.requests.index(each)} {each.kind}")
                    each.arrived = True
                    deliver(each.publish)

        def _settled(self, made_, key_pair_y):
            """The subscription that the wallet gets from the answer, if there is one."""
            topic = made_.sym_key_s.topic
            for row in OutboxMessage.objects.filter(topic=topic):
                with contextlib.suppress(RemoteProtocolError):
                    answer = parse(open_envelope(row.message, made_.sym_key_s))
                    return settle_subscription(
                        made_.pending,
                        answer,
                        key_pair_y=key_pair_y,
                        now=clock.now_s(),
                    ).subscription
            return None

        @rule(data=st.data())
        def wallets_read_an_answer(self, data):
            """Both wallets then use that subscription, as they do with Sync."""
            if self.asked:
                asked = data.draw(st.sampled_from(self.asked))
                self.known = self._settled(*asked) or self.known

        @invariant()
        def nothing_failed(self):
            if hasattr(self, "savepoint"):
                assert not InboxMessage.objects.filter(state="failed").exists()
                made_ = Subscriber.objects.filter(project=dapp).count()
                assert made_ <= len(self.asked)

        def teardown(self):
            if not hasattr(self, "savepoint"):
                return
            try:
                self._arrive([each for each in self.requests if not each.arrived])
                self._arrive(self.requests)
                self._each_topic_is_as_its_newest_request()
            finally:
                transaction.set_rollback(True)
                self.savepoint.__exit__(None, None, None)

        def _each_topic_is_as_its_newest_request(self):
            subscribes = [each for each in self.requests if each.kind == "subscribe"]
            for each, asked in zip(subscribes, self.asked, strict=True):
                settled = self._settled(*asked)
                each.topic = None if settled is None else settled.topic
            newest = {each.topic: each for each in self.requests if each.topic}
            for row in Subscriber.objects.filter(project=dapp):
                last = newest[row.topic]
                if row.is_live(clock.now()):
                    assert last.kind != "delete"
                    assert set(row.scope) == last.scope, last

    return SubscriptionMachine


def test_each_topic_ends_as_its_newest_request_asked(project, alice, alice_laptop):  # noqa: F811
    run_state_machine_as_test(
        machine(project, alice, alice_laptop),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=15,
            deadline=None,
            # Shrinking a failure would take minutes; its steps are printed as they are.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
