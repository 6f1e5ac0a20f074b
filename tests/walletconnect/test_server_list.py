"""A server's list against what is known here: what has to change, and that it settles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.people import DAPP, NOW, W1, secret
from walletconnect.crypto.keys import SymKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AppUrl
from walletconnect.notify.methods import SUBSCRIPTION_LIFE
from walletconnect.notify.scope import MAX_TYPES, ScopeMap, ScopeSetting
from walletconnect.notify.server_list import (
    KnownSubscription,
    ListChanges,
    compare_list,
    follow_scope,
    listed_app,
)
from walletconnect.notify.server_subscription import ServerSubscription
from walletconnect.notify.watch import SubscriptionList

LIFE_TOLERANCE = 60 * 60
DELETE_GRACE = 10 * 60
SERVER = AppUrl.parse("https://notify.example.org")
EXPIRY = NOW + 10 * LIFE_TOLERANCE


def entry(name: str, *, scope=("alerts",), expiry=EXPIRY) -> ServerSubscription:
    return ServerSubscription(
        f"{name}.example.org",
        DAPP.key.did,
        SymKey(secret(name)),
        W1.account,
        scope,
        expiry,
    )


def known(name: str, *, scope=("alerts",), **changes) -> KnownSubscription:
    made = KnownSubscription(
        SymKey(secret(name)).topic, frozenset(scope), EXPIRY, is_listed=True
    )
    return replace(made, **changes)


def compare(listed, here, *, iat=NOW) -> ListChanges:
    return compare_list(SubscriptionList(iat, tuple(listed)), here, now=NOW)


def test_an_unknown_element_is_added():
    assert compare([entry("a"), entry("b")], []).added == (entry("a"), entry("b"))


def test_an_unchanged_element_is_no_change():
    assert not compare(
        [entry("a", scope=("news", "alerts"))], [known("a", scope=("alerts", "news"))]
    )


def test_a_first_listing_is_confirmed():
    here = known("a", is_listed=False)
    assert compare([entry("a")], [here]) == ListChanges(confirmed=(here.topic,))


def test_other_types_and_another_expiry_are_changes():
    assert compare([entry("a", scope=())], [known("a")]).changed == (
        entry("a", scope=()),
    )
    longer = entry("a", expiry=EXPIRY + 2 * LIFE_TOLERANCE)
    assert compare([longer], [known("a")]).changed == (longer,)


def test_clocks_may_differ_about_the_expiry():
    assert not compare([entry("a", expiry=EXPIRY + LIFE_TOLERANCE)], [known("a")])


def test_an_element_that_is_no_longer_listed_is_removed():
    here = known("a")
    assert compare([], [here]) == ListChanges(removed=(here.topic,))


def test_a_subscription_that_was_never_listed_stays():
    assert not compare([], [known("a", is_listed=False)])


def test_an_ended_subscription_is_not_removed_again():
    assert not compare([], [known("a", is_active=False)])


def test_a_list_older_than_the_delete_adds_nothing():
    here = known("a", is_active=False, deleted_at=NOW)
    assert not compare([entry("a")], [here], iat=NOW - 1)
    assert not compare([entry("a")], [here], iat=NOW + DELETE_GRACE - 1)
    assert compare([entry("a")], [here], iat=NOW + DELETE_GRACE).added == (entry("a"),)


def test_an_expired_subscription_is_added_again_at_once():
    assert compare([entry("a")], [known("a", is_active=False)]).added == (entry("a"),)


@pytest.mark.parametrize("expiry", [NOW, 0, NOW + 2 * SUBSCRIPTION_LIFE + 1])
def test_expired_and_endless_elements_are_not_added(expiry):
    assert not compare([entry("a", expiry=expiry)], [])
    assert not compare([entry("a", expiry=expiry)], [known("a")]), "and changes nothing"


def test_an_element_that_is_listed_twice_counts_once():
    assert compare([entry("a"), entry("a", scope=())], []).added == (entry("a"),)


NAMES = st.sampled_from("abcdef")
SCOPES = st.lists(st.sampled_from(["alerts", "news", "votes"]), unique=True).map(tuple)
LIVES = st.integers(NOW - LIFE_TOLERANCE, NOW + 3 * SUBSCRIPTION_LIFE)
LISTS = st.lists(st.builds(entry, NAMES, scope=SCOPES, expiry=LIVES), max_size=6)
HERE = st.dictionaries(
    NAMES,
    st.builds(
        dict,
        scope=SCOPES,
        expiry=LIVES,
        is_listed=st.booleans(),
        is_active=st.booleans(),
        deleted_at=st.none() | st.integers(NOW - 2 * DELETE_GRACE, NOW),
    ),
)


def applied(changes: ListChanges, here: dict[str, KnownSubscription]):
    """What is known after the changes were made."""
    after = dict(here)
    for each in (*changes.added, *changes.changed):
        topic = each.sym_key.topic
        after[topic] = KnownSubscription(
            topic, frozenset(each.scope), each.expiry, is_listed=True
        )
    for topic in changes.confirmed:
        after[topic] = replace(after[topic], is_listed=True)
    for topic in changes.removed:
        after[topic] = replace(after[topic], is_active=False)
    return after


@given(LISTS, HERE)
def test_applying_a_list_twice_changes_nothing(listed, here):
    before = {
        each.topic: each for each in (known(name, **h) for name, h in here.items())
    }
    changes = compare(listed, before.values())
    after = applied(changes, before)
    assert not compare(listed, after.values())


@given(LISTS, HERE)
def test_only_what_the_server_ever_listed_ends(listed, here):
    before = [known(name, **facts) for name, facts in here.items()]
    theirs = {each.topic for each in before if each.is_listed}
    assert set(compare(listed, before).removed) <= theirs


# --- elements -------------------------------------------------------------------------


def test_an_app_is_named_by_its_domain():
    assert (
        str(listed_app("dapp.example.org", server=SERVER)) == "https://dapp.example.org"
    )
    assert str(listed_app("localhost:3000/dapps/a", server=SERVER)) == (
        "http://localhost:3000/dapps/a"
    )


def test_an_app_on_the_servers_host_has_its_scheme():
    server = AppUrl.parse("http://10.0.0.5:8000")
    assert str(listed_app("10.0.0.5:8000/dapps/a", server=server)) == (
        "http://10.0.0.5:8000/dapps/a"
    )
    assert str(listed_app("10.0.0.6", server=server)) == "https://10.0.0.6"


@pytest.mark.parametrize(
    "domain", ["", "a b", "user@host", "-host.org", "a/../b", "a..org"]
)
def test_a_domain_that_names_no_app_is_refused(domain):
    with pytest.raises(RemoteProtocolError):
        listed_app(domain, server=SERVER)


def test_a_followed_scope_keeps_its_descriptions():
    scope = ScopeMap(
        (ScopeSetting("a", "A", enabled=True), ScopeSetting("b", "B", enabled=False))
    )
    followed = follow_scope(scope, ("b", "new"))
    assert followed.settings == (
        ScopeSetting("a", "A", enabled=False),
        ScopeSetting("b", "B", enabled=True),
        ScopeSetting("new", "", enabled=True),
    )


def test_a_scope_stays_short_enough_for_every_peer():
    full = ScopeMap(
        tuple(ScopeSetting(f"t{n}", "", enabled=True) for n in range(MAX_TYPES))
    )
    followed = follow_scope(full, ("t0", "new"))
    assert followed.enabled == ("t0", "new")
    assert len(followed.settings) <= MAX_TYPES
