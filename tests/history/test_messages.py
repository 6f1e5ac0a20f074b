"""Pages of the archive: order, origin, what follows, and what is not in it."""

from __future__ import annotations

import pytest

from history import services
from relayserver.models import PublishedMessage
from tests.history.conftest import PUBLISHER, message_id, topic

pytestmark = pytest.mark.django_db
URL = "/history/messages"


@pytest.fixture(autouse=True)
def _archived(db):
    services.archive([4002, 5000, 5002])


def get(client, on, **query):
    answer = client.get(URL, {"topic": on, **query})
    assert answer.status_code == 200, answer.content
    return answer.json()


def texts(page):
    return [each["message"] for each in page["messages"]]


def test_a_message_has_the_members_that_clients_read(client, publish):
    on = topic()
    publish(on, ["text"], tag=4002)

    page = get(client, on)

    assert page == {
        "topic": on,
        "direction": "forward",
        "nextId": None,
        "messages": [
            {
                "message_id": message_id("text"),
                "client_id": PUBLISHER,
                "topic": on,
                "message": "text",
                "method": "irn_publish",
            }
        ],
    }


def test_forward_is_oldest_first_and_backward_newest_first(client, publish):
    on = topic()
    publish(on, ["one", "two", "three"])

    assert texts(get(client, on)) == ["one", "two", "three"]
    assert texts(get(client, on, direction="forward")) == ["one", "two", "three"]
    assert texts(get(client, on, direction="backward")) == ["three", "two", "one"]


def test_an_unknown_topic_is_an_empty_list(client, publish):
    publish(topic(), ["elsewhere"])

    page = get(client, topic())

    assert page["messages"] == []
    assert page["nextId"] is None


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_origin_begins_its_page_and_next_id_the_page_after(
    client, publish, direction
):
    on = topic()
    all_texts = [f"{n}" for n in range(10)]
    publish(on, all_texts)
    expected = all_texts if direction == "forward" else all_texts[::-1]

    first = get(client, on, direction=direction, messageCount=4)
    second = get(
        client, on, direction=direction, messageCount=4, originId=first["nextId"]
    )
    third = get(
        client, on, direction=direction, messageCount=4, originId=second["nextId"]
    )

    assert texts(first) + texts(second) + texts(third) == expected
    assert first["nextId"] == second["messages"][0]["message_id"]
    assert third["nextId"] is None


def test_paging_as_notify_client_does_it_finds_everything(client, publish):
    """By the last element of the page, which is the first of the next one."""
    on = topic()
    all_texts = [f"{n}" for n in range(450)]
    publish(on, all_texts)

    seen, origin = [], {}
    while True:
        page = get(client, on, direction="backward", messageCount=200, **origin)
        seen += [text for text in texts(page) if text not in seen]
        if len(page["messages"]) < 200:
            break
        origin = {"originId": page["messages"][-1]["message_id"]}

    assert seen == all_texts[::-1]


def test_two_hundred_is_the_default_and_the_most(client, publish):
    on = topic()
    publish(on, [f"{n}" for n in range(201)])

    assert len(get(client, on)["messages"]) == 200
    assert len(get(client, on, messageCount=1000)["messages"]) == 200
    assert len(get(client, on, messageCount=1)["messages"]) == 1


def test_an_unknown_origin_is_an_empty_page(client, publish):
    on = topic()
    publish(on, ["text"])

    page = get(client, on, originId=message_id("other"))

    assert page["messages"] == []
    assert page["nextId"] is None


def test_an_origin_of_another_topic_opens_nothing(client, publish):
    on, other = topic(), topic()
    publish(on, ["one"])
    publish(other, ["two"])

    assert get(client, on, originId=message_id("two"))["messages"] == []


def test_messages_published_before_the_first_registration_are_there(client, publish):
    on = topic()
    publish(on, ["early"], ttl=-1)

    assert texts(get(client, on)) == ["early"]


def test_messages_of_other_tags_are_not_history(client, publish):
    on = topic()
    publish(on, ["subscribe request"], tag=4000)
    publish(on, ["delete request"], tag=4004)
    publish(on, ["notification"], tag=4002)

    assert texts(get(client, on)) == ["notification"]


def test_a_page_ends_before_it_gets_too_long_and_has_the_next_id(
    client, publish, monkeypatch
):
    monkeypatch.setattr(services, "PAGE_BYTES", 2_000)
    on = topic()
    all_texts = [f"{n}" + "x" * 900 for n in range(5)]
    publish(on, all_texts)

    first = get(client, on)
    second = get(client, on, originId=first["nextId"])

    assert texts(first) == all_texts[:2]
    assert texts(second) == all_texts[2:4]


def test_a_short_backward_page_can_be_had_in_ascending_order(client, publish, settings):
    settings.HISTORY_SHORT_PAGES_ASCENDING = True
    on = topic()
    publish(on, ["one", "two", "three"])

    assert texts(get(client, on, direction="backward")) == ["one", "two", "three"]
    full = get(client, on, direction="backward", messageCount=3)
    assert texts(full) == ["three", "two", "one"]
    last = get(
        client,
        on,
        direction="backward",
        messageCount=3,
        originId=message_id("two"),
    )
    assert texts(last) == ["one", "two"]


@pytest.mark.parametrize(
    "query",
    [
        {"topic": ""},
        {"topic": "xyz"},
        {"direction": "sideways"},
        {"messageCount": "0"},
        {"messageCount": "-1"},
        {"messageCount": "many"},
        {"messageCount": "9" * 30},
    ],
)
def test_a_malformed_question_is_refused(client, query):
    answer = client.get(URL, {"topic": topic(), **query})

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Access-Control-Allow-Origin"] == "*"


def test_asking_too_often_is_answered_with_429(client, settings, redis_client):
    import dataclasses

    from common.limits import Bucket

    settings.LIMITS = dataclasses.replace(settings.LIMITS, history_read=Bucket(2, 0.01))
    on = topic()
    statuses = [client.get(URL, {"topic": on}).status_code for _ in range(3)]

    assert statuses == [200, 200, 429]


def test_a_page_costs_the_same_few_queries_whatever_its_length(
    client, publish, django_assert_max_num_queries
):
    on = topic()
    publish(on, [f"{n}" for n in range(200)])
    origin = PublishedMessage.objects.filter(topic=on).first()

    with django_assert_max_num_queries(3):
        services.messages(on, direction="forward", count=200, origin=origin.message_id)


def test_messages_come_from_the_relay_only(client):
    """Servers of 2023 were called by the relay here; ours shares its table."""
    answer = client.post("/history/messages", "{}", content_type="application/json")
    assert answer.status_code == 405
