"""Authentication of clients, and how they are refused."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from common import clock
from tests.relayserver.wire import address, connected, key, token, topic
from walletconnect.identity.jwt import sign_did_jwt

DAY = 86_400


def claims(owner, **more):
    now = clock.now_s()
    return {
        "iss": owner.did,
        "sub": "00" * 32,
        "aud": "wss://any.example",
        "iat": now,
        "exp": now + DAY,
        **more,
    }


async def refusal_after_handshake(url, **query):
    async with connect(address(url, useOnCloseEvent="true", **query)) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        return socket.close_code, socket.close_reason


async def refusal_by_http(url, **query):
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address(url, **query)):
            pass
    return refused.value.response.status_code


async def ask_once(url, headers=None, **query):
    """Connect, subscribe, and return the answer."""
    async with connect(address(url, **query), additional_headers=headers) as socket:
        request = {"id": 1, "jsonrpc": "2.0", "method": "irn_subscribe"}
        await socket.send(json.dumps({**request, "params": {"topic": topic()}}))
        return json.loads(await socket.recv())


async def test_a_token_in_the_query_admits(relay):
    assert "result" in await ask_once(relay.url, auth=token(key()), projectId="p")


async def test_what_released_clients_send_is_accepted(relay):
    answer = await ask_once(
        relay.url + "/",
        auth=token(key()),
        projectId="3bc51577baa09be45c84b85abd2b8dfb",
        ua="wc-2/js-2.10.0/linux-6.1/node-18",
        useOnCloseEvent="true",
        packageName="org.example",
    )
    assert "result" in answer


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_token_in_the_header_admits(relay, scheme):
    headers = {"Authorization": f"{scheme} {token(key())}"}

    assert "result" in await ask_once(relay.url, headers, projectId="p")


async def test_a_repeated_authorization_header_is_refused(relay):
    bearer = ("Authorization", f"Bearer {token(key())}")
    url = address(relay.url, projectId="p")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers=[bearer, bearer]):
            pass
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize("path", ["/", "/some/path", ""])
async def test_any_path_is_the_relay(relay, path):
    url = f"{relay.url}{path}?auth={token(key())}&projectId=p"
    async with connect(url) as socket:
        await socket.send("{}")
        assert "error" in json.loads(await socket.recv())


async def test_a_page_of_any_origin_may_connect(relay):
    headers = {"Origin": "https://wallet.example"}

    answer = await ask_once(relay.url, headers, auth=token(key()), projectId="p")

    assert "result" in answer


async def test_a_wrong_act_is_refused_and_the_specs_act_is_not(relay):
    owner = key()
    right = sign_did_jwt(claims(owner, act="client_auth"), owner)
    wrong = sign_did_jwt(claims(owner, act="irn_watchRegister"), owner)

    assert "result" in await ask_once(relay.url, auth=right, projectId="p")
    assert await refusal_by_http(relay.url, auth=wrong, projectId="p") == 401


def bad_tokens():
    owner, other = key(), key()
    now = clock.now_s()
    good = token(owner)
    header, body, _ = good.split(".")
    return {
        "missing": "",
        "no jwt": "abc",
        "expired": token(owner, now=now - 2 * DAY),
        "from the future": token(owner, now=now + 3600),
        "not signed": f"{header}.{body}.",
        "signed by another": f"{header}.{body}.{token(other).split('.')[2]}",
        "another's": sign_did_jwt(claims(other), owner),
        "cut": good[:-2],
        "four parts": good + ".x",
        "too long a life": sign_did_jwt(claims(owner, exp=now + 30 * DAY), owner),
    }


@pytest.mark.parametrize("fault", list(bad_tokens()))
async def test_a_bad_token_closes_with_3000_or_is_answered_with_401(relay, fault):
    bad = bad_tokens()[fault]

    code, reason = await refusal_after_handshake(relay.url, auth=bad, projectId="p")

    assert code == 3000
    assert reason
    assert await refusal_by_http(relay.url, auth=bad, projectId="p") == 401


@pytest.mark.parametrize("project_id", ["", "no spaces", "x" * 200])
async def test_a_missing_or_malformed_project_is_refused(relay, project_id):
    query = {"auth": token(key()), "projectId": project_id}

    code, _ = await refusal_after_handshake(relay.url, **query)

    assert code == 3000
    assert await refusal_by_http(relay.url, **query) == 400


async def test_frames_of_a_refused_client_are_not_parsed(relay):
    async with connect(address(relay.url, useOnCloseEvent="true")) as socket:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send('{"id":1,"jsonrpc":"2.0","method":"irn_subscribe"}')
                await asyncio.sleep(0)
        assert socket.close_code == 3000
    assert relay.hub.counts.frames_received == 0


async def test_fragmented_frames_are_put_together_and_stay_in_order(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    texts = [f"{n}" for n in range(20)]
    for n, text in enumerate(texts):
        frame = json.dumps(
            {
                "id": n,
                "jsonrpc": "2.0",
                "method": "irn_publish",
                "params": {"topic": on, "message": text, "ttl": 60, "tag": 1},
            }
        )
        if n % 3:
            await alice.send(frame)
        else:
            await alice.socket.send([frame[:9], frame[9:40], frame[40:]])

    assert await bob.heard(20) == texts


async def test_a_message_between_the_fragments_of_another_is_a_protocol_error(relay):
    begun = Frame(Opcode.TEXT, b'{"id":1,', fin=False).serialize(mask=True)
    whole = Frame(Opcode.TEXT, b"{}").serialize(mask=True)
    async with connect(address(relay.url, auth=token(key()), projectId="p")) as socket:
        socket.transport.write(begun + whole)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1002


async def test_no_compression_is_negotiated(relay):
    target = address(relay.url, auth=token(key()), projectId="p")
    async with connect(target, compression="deflate") as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


async def test_the_same_client_may_be_connected_twice(relay, join):
    owner = key()
    alice = await join()
    on = topic()
    async with connected(relay.url, owner) as one, connected(relay.url, owner) as two:
        await one.subscribe(on)
        await two.subscribe(on)
        await alice.publish(on, "to both")
        assert await one.heard(1) == ["to both"]
        assert await two.heard(1) == ["to both"]


async def raw_http(url, request):
    """Send bytes; the head and the body of the answer."""
    host, port = url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return head, body


async def get(url, path):
    """A plain HTTP request: status, content type, body."""
    head, body = await raw_http(url, f"GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n")
    kind = next(
        line.split(": ")[1]
        for line in head.splitlines()
        if line.lower().startswith("content-type")
    )
    return int(head.split()[1]), kind, body


async def test_health_reports_the_database_and_redis(relay, join):
    await join()

    status, kind, body = await get(relay.url, "/health")

    found = json.loads(body)
    assert (status, kind) == (200, "application/json")
    assert found["status"] == "ok"
    assert found["database_up"] is True
    assert found["connections"] == 1


async def test_metrics_count_what_was_done(relay, join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "text")
    await bob.heard(1)

    status, kind, body = await get(relay.url, "/metrics")

    lines = dict(
        line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#")
    )
    assert status == 200
    assert kind.startswith("text/plain")
    assert float(lines["relay_kept_total"]) == 1
    assert float(lines["relay_delivered_total"]) == 1
    assert float(lines["relay_connections"]) == 2
    assert float(lines["relay_topics"]) == 1


async def test_plain_http_elsewhere_is_no_relay(relay):
    status, _, _ = await get(relay.url, "/")

    assert status in {401, 426}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/hello", 200),
        ("GET", "/hello?x=1", 200),
        ("GET", "/nothing", 404),
        ("GET", "/nothing?auth=x&projectId=y", 404),
        ("HEAD", "/nothing", 404),
        ("HEAD", "/", 404),
        ("HEAD", "/health", 200),
        ("HEAD", "/hello", 200),
        ("POST", "/", 405),
        ("POST", "/rpc?projectId=x", 405),
        ("POST", "/hello", 405),
        ("PUT", "/health", 405),
        ("DELETE", "/nothing", 405),
        ("OPTIONS", "/", 405),
        ("PATCH", "/", 405),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_any_http_request_is_answered_with_a_status(
    relay, method, path, status, version
):
    content = '{"id":1}' * 10_000 if method in {"POST", "PUT", "PATCH"} else ""
    head, body = await raw_http(
        relay.url,
        f"{method} {path} HTTP/{version}\r\nHost: relay\r\n"
        f"Content-Length: {len(content)}\r\n\r\n{content}",
    )

    assert int(head.split()[1]) == status
    assert ("Allow: GET, HEAD" in head) is (status == 405)
    assert bool(body) is (method != "HEAD")


async def test_a_handshake_by_another_method_is_no_connection(relay):
    head, _ = await raw_http(
        relay.url,
        f"POST /?auth={token(key())}&projectId=p HTTP/1.1\r\nHost: relay\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )

    assert int(head.split()[1]) == 405
    assert relay.hub.present()["connections"] == 0
