"""Subscriptions, scopes, type lists: read as written, and refused when hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.conversation import SUBSCRIPTION
from tests.walletconnect.people import DAPP, NOW, W1, secret
from tests.walletconnect.vectors import load
from walletconnect.crypto.keys import SymKey
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import LocalProtocolError, RemoteProtocolError
from walletconnect.json_values import dump_json, parse_document, parse_json
from walletconnect.notify import claims as claims_module
from walletconnect.notify import methods
from walletconnect.notify.claims import Claims, SubscriptionAuth
from walletconnect.notify.config import NotifyConfig
from walletconnect.notify.scope import NotificationType, ScopeMap, ScopeSetting
from walletconnect.notify.values import Metadata, NotifyMessage, NotifySubscription
from walletconnect.relay.methods import Method, Tag

VALUE = SUBSCRIPTION.to_value()


def changed(path: str, value) -> dict:
    made = json.loads(json.dumps(VALUE))
    *parents, last = path.split(".")
    place = made
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("topic", ...),
        ("topic", "00" * 32),
        ("symKey", ...),
        ("symKey", "00" * 32),
        ("symKey", "x"),
        ("symKey", VALUE["symKey"].upper()),
        ("account", ...),
        ("account", "alice"),
        ("relay", ...),
        ("relay.protocol", "waku"),
        ("metadata", ...),
        ("metadata", []),
        ("metadata.name", ...),
        ("metadata.name", "a\x00b"),
        ("metadata.description", "a\x00b"),
        ("metadata.url", "x" * 2049),
        ("scope", ...),
        ("scope", []),
        ("scope.alerts", True),
        ("scope.alerts.enabled", "yes"),
        ("scope.two words", {"description": "", "enabled": True}),
        ("scope", {f"t{number}": {"enabled": True} for number in range(65)}),
        ("expiry", ...),
        ("expiry", "1700000000"),
        ("expiry", 1.5),
        ("expiry", 0),
        ("expiry", 10**11),
        ("expiry", True),
    ],
)
def test_a_subscription_that_a_hostile_peer_wrote_is_refused(path, value):
    assert NotifySubscription.from_value(VALUE) == SUBSCRIPTION
    with pytest.raises(RemoteProtocolError):
        NotifySubscription.from_value(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("metadata.name", "x" * 257, "x" * 256),
        ("metadata.name", "Two\nlines", "Two lines"),
        ("metadata.description", "a\u2028b", "a b"),
        ("metadata.description", None, ""),
        ("metadata.icons", ..., []),
        (
            "metadata.icons",
            [1, None, "https://a.example/i.png", "a\nb"],
            ["https://a.example/i.png"],
        ),
        ("metadata.icons", ["x"] * 17, ["x"] * 16),
        ("scope.alerts.description", "x" * 1025, "x" * 1024),
        ("scope.alerts.description", "Urgent.\r\nRead now.", "Urgent.  Read now."),
        ("scope.alerts.description", None, ""),
    ],
)
def test_texts_that_are_only_shown_are_cut_and_flattened(path, value, shown):
    found = NotifySubscription.from_value(changed(path, value)).to_value()
    for name in path.split("."):
        found = found[name]
    assert found == shown


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '"x"'])
def test_a_subscription_is_a_json_object(text):
    with pytest.raises(RemoteProtocolError):
        NotifySubscription.from_json(text)


def test_additional_and_optional_members_are_accepted():
    NotifySubscription.from_value({**VALUE, "publicKey": "x"})
    made = changed("metadata.redirect", {"native": "dapp://", "universal": None})
    subscription = NotifySubscription.from_value(made)
    assert subscription.metadata.redirect_native == "dapp://"
    assert subscription.metadata.to_value()["redirect"] == {"native": "dapp://"}
    NotifySubscription.from_value(changed("scope.alerts.description", ...))


def test_the_topic_of_our_own_subscription_is_its_keys():
    with pytest.raises(LocalProtocolError):
        NotifySubscription(
            "00" * 32, W1.account, DAPP.metadata, DAPP.scope, NOW, SymKey(secret("p"))
        )


names = st.text("abcXYZ019_/.-", min_size=1, max_size=36)
settings = st.lists(
    st.builds(ScopeSetting, names, st.just("d"), st.booleans()),
    unique_by=lambda setting: setting.name,
    max_size=10,
)


@given(settings, st.sets(names, max_size=3))
def test_a_scope_keeps_its_order_and_settings(given_settings, more):
    scope = ScopeMap(tuple(given_settings))
    assert ScopeMap.from_value(scope.to_value()) == scope
    assert set(scope.enabled) <= set(scope.names)
    chosen = {*scope.names[:2], *more}
    updated = scope.with_enabled(chosen)
    assert updated.names == scope.names
    assert set(updated.enabled) == chosen & set(scope.names)


def test_a_scope_names_a_type_once():
    with pytest.raises(LocalProtocolError):
        ScopeMap(
            (ScopeSetting("a", "", enabled=True), ScopeSetting("a", "", enabled=False))
        )
    twice = [NotificationType("a", "one"), NotificationType("a", "two")]
    assert ScopeMap.of_types(twice).names == ("a",)
    assert DAPP.scope.get("alerts").description == "Urgent"
    assert DAPP.scope.get("x") is None


def test_a_wallet_chooses_from_what_a_dapp_offers():
    assert ScopeMap.of_types(DAPP.types, {"alerts", "x"}).enabled == ("alerts",)
    assert ScopeMap.of_types(DAPP.types, set()).enabled == ()


# --- wc-notify-config.json ---

V0_CONFIG = {
    "version": 1,
    "lastModified": 1_691_064_656,
    "types": [{"name": "promotional", "description": "New"}],
}
V1_CONFIG = {
    "schemaVersion": 1,
    "name": "Dapp",
    "description": "A dapp",
    "icons": ["https://dapp.example.org/i.png"],
    "types": [
        {
            "id": "3e2b0a5e-0000-4000-8000-000000000001",
            "name": "Two words",
            "description": "x",
        }
    ],
}


def test_both_shapes_of_the_type_list_are_read():
    v0 = NotifyConfig.from_value(V0_CONFIG)
    assert [each.scope_name for each in v0.types] == ["promotional"]
    assert v0.last_modified == 1_691_064_656
    assert v0.name == ""
    v1 = NotifyConfig.from_value(V1_CONFIG)
    (offered,) = v1.types
    assert offered.scope_name == "3e2b0a5e-0000-4000-8000-000000000001"
    assert offered.name == "Two words"
    assert (v1.name, v1.description) == ("Dapp", "A dapp")
    assert v1.icons == ("https://dapp.example.org/i.png",)


def test_one_document_of_ours_serves_both():
    config = NotifyConfig(DAPP.types, "Dapp", "A dapp", (), NOW)
    value = config.to_value()
    assert (value["version"], value["schemaVersion"]) == (1, 1)
    assert all(each["id"] == each["name"] for each in value["types"])
    read = NotifyConfig.from_value(value)
    assert ScopeMap.of_types(read.types) == DAPP.scope
    assert (read.name, read.last_modified) == ("Dapp", NOW)


def test_a_broken_type_does_not_hide_the_others():
    value = {"types": [7, {"name": "two words"}, {"name": "ok"}, {"name": "ok"}, {}]}
    config = NotifyConfig.from_value({**value, "icons": [7, "a\n"]})
    assert [each.scope_name for each in config.types] == ["ok"]


def test_what_a_config_only_shows_is_cut_and_flattened():
    config = NotifyConfig.from_value(
        {
            "name": "Two\nlines\ud83d",
            "description": "x" * 2000,
            "icons": [None, "https://a.example/i.png", 7],
            "types": [
                {"name": "alerts", "description": None},
                {"id": "b", "name": "Two\u2028lines", "description": "Urgent.\nNow."},
                {"id": "c", "name": None, "description": 7},
                {"id": None, "name": "d"},
            ],
        }
    )
    assert config.name == "Two lines\ufffd"
    assert config.description == "x" * 1024
    assert config.icons == ("https://a.example/i.png",)
    assert [
        (each.scope_name, each.name, each.description) for each in config.types
    ] == [
        ("alerts", "alerts", ""),
        ("b", "Two lines", "Urgent. Now."),
        ("c", "c", ""),
        ("d", "d", ""),
    ]
    assert config.left_out == 0


def test_a_long_list_of_types_is_offered_as_far_as_a_scope_goes():
    config = NotifyConfig.from_value({"types": [{"name": f"t{n}"} for n in range(70)]})
    assert (len(config.types), config.left_out) == (64, 6)


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"a": "b"}',
        b' \r\n{"a": "b"} ',
        b'{"a": "b", "c": "\\ud83d"}',
        b'{"a": "b", "c": "caf\xe9"}',
    ],
)
def test_a_published_document_is_read_as_browsers_read_it(body):
    assert parse_document(body)["a"] == "b"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"a": NaN}',
        b"{'a': 1}",
        b'{"a": ' * 33 + b"1" + b"}" * 33,
        b"[" * 60_000,
        b'{"a": ' * 10_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
def test_a_document_that_is_no_json_object_is_refused(body):
    with pytest.raises(RemoteProtocolError):
        parse_document(body)


@pytest.mark.parametrize("value", [None, [], {}, {"types": {}}, {"types": [{}] * 65}])
def test_a_broken_document_is_refused(value):
    with pytest.raises(RemoteProtocolError):
        NotifyConfig.from_value(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        {"name": 7},
        {"id": "a b", "name": "x"},
    ],
)
def test_a_broken_type_is_refused(value):
    with pytest.raises(RemoteProtocolError):
        NotificationType.from_value(value)


# --- claims ---

ACTS = {
    each.act: each
    for each in vars(claims_module).values()
    if isinstance(each, type) and issubclass(each, Claims) and each is not Claims
}


@pytest.mark.parametrize(
    "case",
    [each for each in load("did_jwts")["cases"] if each["claims"].get("act") in ACTS],
    ids=lambda case: case["name"],
)
def test_every_act_reads_what_was_released_and_writes_the_same(case):
    act = ACTS[case["claims"]["act"]]
    auth = act.read(case["jwt"], now=case["claims"]["iat"])
    assert auth.to_claims() == case["claims"]
    for name in case["claims"]:
        broken = {**case["claims"], name: {"not": "this"} if name != "msg" else 7}
        with pytest.raises(RemoteProtocolError):
            act.from_claims(broken)


def test_every_act_but_one_is_in_the_vectors():
    acts = {each["claims"].get("act") for each in load("did_jwts")["cases"]}
    assert set(ACTS) - acts == {"notify_message_response"}


def test_only_the_issuer_signs():
    key = IdentityKey.from_seed(secret("a"))
    auth = SubscriptionAuth(
        iat=NOW, exp=NOW, iss="did:key:x", sub="s", aud="a", ksu="k", scp=(), app="x"
    )
    with pytest.raises(LocalProtocolError):
        auth.sign(key)


def test_every_method_has_tags_of_its_own():
    every = [each for each in vars(methods).values() if isinstance(each, Method)]
    tags = [tag for method in every for tag in (method.tag, method.response_tag)]
    assert len(set(tags)) == len(tags) == 16
    assert all(method.response_tag == method.tag + 1 for method in every)
    assert set(Tag) - set(tags) == {4050, 5000, 5001, 5002, 5003}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from([*VALUE, "title", "body", "types", "name"]), each
        )
    ),
    max_leaves=6,
)


@given(json_values)
def test_arbitrary_input_is_refused_with_one_error(value):
    for read in (
        NotifySubscription.from_value,
        NotifyConfig.from_value,
        NotifyMessage.from_value,
        ScopeMap.from_value,
        Metadata.from_value,
    ):
        try:
            read(value)
        except RemoteProtocolError:
            continue


def test_the_core_stays_pure():
    banned = (
        "import django",
        "import time",
        "import secrets",
        "import random",
        "import os\n",
    )
    for path in (Path(__file__).parents[2] / "walletconnect").rglob("*.py"):
        source = path.read_text()
        assert not any(each in source for each in banned), path
        assert len(source.splitlines()) < 400, path


def test_every_departure_is_on_the_page():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "protocol.md").read_text()
    for path in (root / "walletconnect").rglob("*.py"):
        head = path.read_text().split('"""')[1]
        if "Departure" in head:
            module = ".".join(path.with_suffix("").parts[-2:])
            assert f"| `{module}` |" in page, module


def test_every_module_has_a_docstring():
    for path in (Path(__file__).parents[2] / "walletconnect").rglob("*.py"):
        assert path.read_text().startswith('"""'), path


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_deep_nesting_is_refused(opened):
    """Less deep than what can be written again."""
    closed = {"[": "]"}.get(opened, "}")
    for levels in (32, 32 + 1, 255, 900, 5000):
        text = opened * levels + "1" + closed * levels
        for form in (text, text.encode()):
            if levels > 32:
                with pytest.raises(RemoteProtocolError):
                    parse_json(form)
            else:
                assert dump_json(parse_json(form)) == text


def test_many_brackets_side_by_side_are_not_deep():
    text = "[" + ",".join(["[[]]"] * 1000) + "]"
    assert dump_json(parse_json(text)) == text
    assert parse_json('"' + "[" * 1000 + '"') == "[" * 1000
