"""The table of an attempt's states: moves that it lacks change nothing."""

from __future__ import annotations

import itertools

import pytest

from subscriptions.models import SubscribeAttempt
from subscriptions.services.subscribe.attempts import MOVES, IllegalMove, move
from tests.subscriptions.conftest import requested

State = SubscribeAttempt.State
PAIRS = list(itertools.product(State, State))


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair not in MOVES])
def test_a_move_that_is_not_in_the_table_raises_and_changes_nothing(
    old, new, alice, dapp
):
    attempt = requested(alice, dapp)
    SubscribeAttempt.objects.update(state=old)
    with pytest.raises(IllegalMove):
        move([attempt.pk], old, new, reason="moved")
    attempt.refresh_from_db()
    assert (attempt.state, attempt.reason) == (old, "")


@pytest.mark.parametrize(("old", "new"), sorted(MOVES))
def test_a_move_goes_from_its_own_state_only(old, new, alice, dapp):
    attempt = requested(alice, dapp)
    for other in State:
        SubscribeAttempt.objects.update(state=other)
        assert move([attempt.pk], old, new) == (1 if other == old else 0)
        attempt.refresh_from_db()
        assert attempt.state == (new if other == old else other)


def test_the_ends_are_final():
    assert {old for old, _ in MOVES} == {
        State.RESOLVING,
        State.REQUESTED,
        State.SETTLED,
    }
