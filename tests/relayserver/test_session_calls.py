"""`wc_proposeSession` and `wc_approveSession`: published and subscribed in one step."""

from __future__ import annotations

import asyncio

import pytest

from relayserver.storage.store import StoreUnavailable
from tests.relayserver.conftest import running_node
from tests.relayserver.processes import relay_process
from tests.relayserver.wire import Refused, connected, key, topic


def proposal(pairing, text="proposal", **more):
    return {"pairingTopic": pairing, "sessionProposal": text, "ttl": 300, **more}


def approval(pairing, session, **more):
    return {
        "pairingTopic": pairing,
        "sessionTopic": session,
        "sessionProposalResponse": "response",
        "sessionSettlementRequest": "settlement",
        "ttl": 300,
        **more,
    }


def received(client, on):
    return [(each.message, each.tag) for each in client.deliveries if each.topic == on]


async def test_a_proposal_reaches_the_wallet_and_the_approval_reaches_the_dapp(join):
    dapp, wallet = await join(), await join()
    pairing, session = topic(), topic()

    assert await dapp.call("wc_proposeSession", **proposal(pairing)) is True
    await wallet.subscribe(pairing)
    await wallet.heard(1)
    assert received(wallet, pairing) == [("proposal", 1100)]

    assert await wallet.call("wc_approveSession", **approval(pairing, session)) is True
    await dapp.heard(1)
    assert received(dapp, pairing) == [("response", 1101)]

    await dapp.subscribe(session)
    await dapp.heard(2)
    assert received(dapp, session) == [("settlement", 1102)]
    await dapp.publish(session, "settled", tag=1103)
    await wallet.heard(2)
    assert received(wallet, session) == [("settled", 1103)]


async def test_a_wallet_that_already_listens_gets_the_proposal_live(join):
    dapp, wallet = await join(), await join()
    pairing = topic()
    await wallet.subscribe(pairing)

    await dapp.call("wc_proposeSession", **proposal(pairing))

    assert await wallet.heard(1) == ["proposal"]
    assert wallet.deliveries[0].method == "irn_subscription"


async def test_the_sender_does_not_get_its_own_messages(join):
    dapp, wallet = await join(), await join()
    pairing, session = topic(), topic()
    await wallet.subscribe(pairing)
    await dapp.call("wc_proposeSession", **proposal(pairing))
    await wallet.call("wc_approveSession", **approval(pairing, session))

    other = await join()
    for on in (pairing, session):
        await other.publish(on, f"last on {on}")
    await dapp.heard(2)
    await wallet.heard(3)
    assert received(dapp, pairing)[:-1] == [("response", 1101)]
    assert received(wallet, pairing)[:-1] == [("proposal", 1100)]
    assert received(wallet, session)[:-1] == []


async def test_what_was_kept_on_the_joined_topic_is_delivered(join):
    dapp, wallet = await join(), await join()
    pairing, session = topic(), topic()
    await dapp.publish(session, "kept 1")
    await dapp.publish(session, "kept 2")

    await wallet.call("wc_approveSession", **approval(pairing, session))

    assert await wallet.heard(2) == ["kept 1", "kept 2"]


async def test_an_approval_does_not_subscribe_to_the_pairing(join):
    dapp, wallet = await join(), await join()
    pairing, session = topic(), topic()
    await wallet.call("wc_approveSession", **approval(pairing, session))

    await dapp.publish(pairing, "on the pairing")
    await dapp.publish(session, "on the session")

    assert await wallet.heard(1) == ["on the session"]


async def test_the_attestation_reaches_the_wallet_and_analytics_do_not(join):
    dapp, wallet = await join(), await join()
    pairing, session = topic(), topic()
    analytics = {
        "prompt": False,
        "tag": 9999,
        "correlationId": 1764385200000123,
        "approvedChains": ["eip155:1"] * 500,
        "sessionProperties": {"capabilities": {"0x1": {}}},
        "txHashes": None,
    }
    await wallet.subscribe(pairing)

    await dapp.call(
        "wc_proposeSession", **proposal(pairing, attestation="a.b.c", **analytics)
    )
    await wallet.call("wc_approveSession", **approval(pairing, session, **analytics))
    await dapp.subscribe(session)

    await wallet.heard(1)
    await dapp.heard(2)
    pushed = wallet.deliveries[0].frame["params"]["data"]
    assert set(pushed) == {"topic", "message", "publishedAt", "tag", "attestation"}
    assert pushed["attestation"] == "a.b.c"
    assert pushed["tag"] == 1100
    for each in dapp.deliveries:
        assert set(each.frame["params"]["data"]) == {
            "topic",
            "message",
            "publishedAt",
            "tag",
        }


async def test_a_call_sent_again_changes_nothing(join):
    dapp, wallet = await join(), await join()
    pairing, session = topic(), topic()
    await wallet.subscribe(pairing)
    params = proposal(pairing)
    assert (await dapp.answer(7, "wc_proposeSession", params))["result"] is True
    assert (await dapp.answer(7, "wc_proposeSession", params))["result"] is True
    for _ in range(2):
        await wallet.call("wc_approveSession", **approval(pairing, session))
    await dapp.subscribe(session)

    other = await join()
    for on in (pairing, session):
        await other.publish(on, f"last on {on}")
    await dapp.heard(4)
    await wallet.heard(3)
    assert received(dapp, pairing)[:-1] == [("response", 1101)]
    assert received(dapp, session)[:-1] == [("settlement", 1102)]
    assert received(wallet, pairing)[:-1] == [("proposal", 1100)]
    assert received(wallet, session)[:-1] == []


async def test_a_call_sent_again_on_the_next_connection_subscribes_it(relay, join):
    wallet = await join()
    owner = key()
    pairing = topic()
    async with connected(relay.url, owner) as dapp:
        await dapp.call("wc_proposeSession", **proposal(pairing))
    async with connected(relay.url, owner) as dapp:
        await dapp.call("wc_proposeSession", **proposal(pairing))
        await wallet.publish(pairing, "response")
        assert await dapp.heard(1) == ["response"]
    await wallet.subscribe(pairing)
    await wallet.settled(pairing)
    assert wallet.texts == ["proposal"]


BAD = [
    ("wc_proposeSession", {"pairingTopic": "short"}, -32600),
    ("wc_proposeSession", {"sessionProposal": None}, -32600),
    ("wc_proposeSession", {"sessionProposal": ""}, -32600),
    ("wc_proposeSession", {"ttl": 2_592_001}, -32000),
    ("wc_proposeSession", {"ttl": "300"}, -32600),
    ("wc_approveSession", {"sessionTopic": None}, -32600),
    ("wc_approveSession", {"sessionSettlementRequest": None}, -32600),
    ("wc_approveSession", {"sessionSettlementRequest": "x" * 600_000}, -32600),
    ("wc_approveSession", {"sessionProposalResponse": ""}, -32600),
    ("wc_approveSession", {"ttl": 0}, -32000),
]


@pytest.mark.parametrize(("method", "fault", "code"), BAD)
async def test_a_bad_call_publishes_and_subscribes_nothing(
    relay, join, method, fault, code
):
    sender, other = await join(), await join()
    pairing, session = topic(), topic()
    whole = proposal if method == "wc_proposeSession" else approval
    topics = [pairing] if whole is proposal else [pairing, session]

    with pytest.raises(Refused) as refused:
        await sender.call(method, **{**whole(*topics), **fault})

    assert refused.value.code == code
    page = await other.call("irn_batchFetchMessages", topics=topics)
    assert page["messages"] == []
    assert relay.hub.topics_of(sender.did) == 0
    assert await sender.subscribe(topic())


async def test_a_full_topic_refuses_the_whole_call(db):
    async with running_node(relay_queue_messages=2) as node:
        pairing, session = topic(), topic()
        async with (
            connected(node.url, key()) as wallet,
            connected(node.url, key()) as other,
        ):
            await other.publish(session, "1")
            await other.publish(session, "2")
            with pytest.raises(Refused, match="Mailbox limit exceeded"):
                await other.publish(session, "3")

            with pytest.raises(Refused, match="Mailbox limit exceeded"):
                await wallet.call("wc_approveSession", **approval(pairing, session))

            assert node.hub.topics_of(wallet.did) == 0
            page = await other.call("irn_fetchMessages", topic=pairing)
            assert page["messages"] == []


async def test_calls_sent_at_once_keep_the_limit_of_topics(db):
    async with (
        running_node(relay_topics_per_client=10) as node,
        connected(node.url, key()) as dapp,
    ):
        for number in range(30):
            await dapp.ask(number, "wc_proposeSession", proposal(topic()))
        frames = [await dapp.answered(number) for number in range(30)]

        assert ["result" in frame for frame in frames] == [True] * 10 + [False] * 20
        assert {frame["error"]["code"] for frame in frames[10:]} == {-32000}
        assert node.hub.topics_of(dapp.did) == 10


@pytest.fixture
def failing_append(relay, monkeypatch):
    """Commits wait until released, and then fail as they do without a database."""
    release = asyncio.Event()

    async def append(drafts):
        await release.wait()
        raise StoreUnavailable("for this test")

    monkeypatch.setattr(relay.hub.store, "append", append)
    monkeypatch.setattr("relayserver.delivery.publishing.RETRY_FOR_S", 0)
    return release


async def test_a_call_that_cannot_be_stored_subscribes_nothing(
    relay, join, failing_append
):
    dapp = await join()
    failing_append.set()

    with pytest.raises(Refused) as refused:
        await dapp.call("wc_proposeSession", **proposal(topic()))

    assert refused.value.code == -32603
    assert relay.hub.topics_of(dapp.did) == 0


async def test_a_subscription_asked_for_meanwhile_outlives_a_call_that_fails(
    relay, join, failing_append, monkeypatch
):
    dapp, wallet = await join(), await join()
    pairing = topic()
    await dapp.ask(1, "wc_proposeSession", proposal(pairing))
    await dapp.ask(2, "irn_subscribe", {"topic": pairing})
    await dapp.ask(3, "wc_proposeSession", proposal(topic()))
    failing_append.set()

    assert "error" in await dapp.answered(1)
    assert "result" in await dapp.answered(2)
    assert "error" in await dapp.answered(3)
    assert list(relay.hub.topics.topics()) == [pairing]
    monkeypatch.undo()
    await wallet.publish(pairing, "live")
    assert await dapp.heard(1) == ["live"]


async def test_an_unsubscribe_sent_behind_the_call_counts(relay, join):
    dapp = await join()
    pairing = topic()
    await dapp.ask(1, "wc_proposeSession", proposal(pairing))
    await dapp.ask(2, "irn_unsubscribe", {"topic": pairing, "id": "x"})

    assert (await dapp.answered(1))["result"] is True
    assert (await dapp.answered(2))["result"] is True
    assert relay.hub.topics_of(dapp.did) == 0


async def test_a_connection_that_ends_meanwhile_leaves_no_subscription(relay, join):
    other = await join()
    pairing = topic()
    async with connected(relay.url, key()) as dapp:
        await dapp.ask(1, "wc_proposeSession", proposal(pairing))
        dapp.drop()
    await other.subscribe(pairing)
    await other.heard(1)

    assert relay.hub.topics_of(dapp.did) == 0
    assert len(relay.hub.topics) == 1


@pytest.mark.system
@pytest.mark.parametrize(
    "point", ["relay.tick.before_commit", "relay.tick.after_commit"]
)
async def test_an_approval_is_kept_whole_or_not_at_all_when_the_relay_dies(db, point):
    owner, other = key(), key()
    pairing, session = topic(), topic()
    async with (
        relay_process(NOTIFYWEB_FAILPOINTS=point) as dying,
        connected(dying.url, owner) as wallet,
    ):
        await wallet.ask(1, "wc_approveSession", approval(pairing, session))
        await wallet.socket.wait_closed()
    async with relay_process() as back, connected(back.url, other) as dapp:
        page = await dapp.call("irn_batchFetchMessages", topics=[pairing, session])
        texts = [each["message"] for each in page["messages"]]
        assert texts == (["response", "settlement"] if "after" in point else [])

        async with connected(back.url, owner) as wallet:
            # The client sends the call again, as it got no answer.
            await wallet.call("wc_approveSession", **approval(pairing, session))
            await dapp.publish(session, "settled", tag=1103)
            assert await wallet.heard(1) == ["settled"]
        page = await dapp.call("irn_batchFetchMessages", topics=[pairing, session])
        texts += [each["message"] for each in page["messages"]]
        assert texts == ["response", "settlement"]
