"""Runs: as few as the order within each topic allows, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common import clock
from messaging.dispatch import Inbound
from messaging.handling import group
from messaging.models import Party
from walletconnect.crypto.keys import SymKey, Topic
from walletconnect.relay.rpc import JsonRpcRequest

KEY = SymKey(b"k" * 32)


def inbound(pk: int, party: Party, topic: str, tag: int) -> Inbound:
    return Inbound(
        pk=pk,
        party=party,
        topic=Topic(topic),
        tag=tag,
        message_id="",
        published_at=0,
        received_at=clock.now(),
        envelope_type=0,
        sym_key=KEY,
        sender_public_key=None,
        payload=JsonRpcRequest(pk, "x"),
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Party)), st.sampled_from("abcd"), st.integers(1, 3)
        ),
        max_size=60,
    )
)
def test_every_message_is_in_one_run_and_topics_keep_their_order(drawn):
    messages = [
        inbound(pk, party, topic, tag) for pk, (party, topic, tag) in enumerate(drawn)
    ]
    runs = group(messages)
    flat = [message for run in runs for message in run.messages]
    assert sorted(message.pk for message in flat) == list(range(len(messages)))
    for run in runs:
        assert {(each.party, each.tag) for each in run.messages} == {
            (run.party, run.tag)
        }
    for party in Party:
        for topic in "abcd":
            order = [m.pk for m in flat if (m.party, m.topic) == (party, topic)]
            assert order == sorted(order)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60))
def test_messages_of_one_tag_are_one_run_however_many_topics(topics):
    messages = [inbound(pk, Party.CAST, topic, 4003) for pk, topic in enumerate(topics)]
    assert len(group(messages)) == 1
