"""Sessions of the Sign API between the published clients of 2023 to today, on our relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.node import Scenario
    from tests.system import System

pytestmark = pytest.mark.system

# The dapp's and the wallet's client. From 2.21.8 on they use `wc_proposeSession` and
# `wc_approveSession`, older ones `irn_publish` and `irn_subscribe`.
SAME = [
    ("2.10", "2.10"),
    ("2.17", "2.17"),
    ("2.21.1", "2.21.1"),
    ("2.21.8", "2.21.8"),
    ("2.25", "2.25"),
    ("universal", "walletkit"),
]
MIXED = [
    ("2.10", "2.25"),
    ("2.25", "2.10"),
    ("2.17", "2.21.8"),
    ("2.21.8", "2.17"),
    ("2.21.1", "2.25"),
    ("2.25", "2.21.1"),
    ("2.10", "walletkit"),
    ("2.21.8", "walletkit"),
    ("universal", "2.10"),
    ("universal", "2.21.8"),
]
# sign-client 2.10 reads a member at an update that newer wallets do not send any more.
NO_UPDATE = [("2.10", "2.25"), ("2.10", "walletkit")]
RESTARTED = [*SAME, ("2.10", "2.25"), ("2.25", "2.10")]


@pytest.mark.parametrize(("dapp", "wallet"), [*SAME, *MIXED])
def test_two_sign_clients_go_through_the_life_of_a_session(
    scenario: Callable[..., Scenario], dapp: str, wallet: str
) -> None:
    life = [
        "a proposal is rejected",
        "a proposal expires",
        "a session is proposed, approved and settled",
        "requests are answered",
        "an event reaches the dapp",
        "the session is updated",
        "the session is extended",
        "both sides ping",
        "the wallet disconnects",
        "the dapp disconnects",
        "a session expires",
    ]
    if (dapp, wallet) in NO_UPDATE:
        life.remove("the session is updated")
    assert scenario("session", dapp, wallet).finish() == life


@pytest.mark.parametrize(("dapp", "wallet"), RESTARTED)
def test_a_session_outlives_the_processes_of_both_sides(
    scenario: Callable[..., Scenario], tmp_path: Path, dapp: str, wallet: str
) -> None:
    saved = str(tmp_path / "storages.json")
    assert scenario("session-storage", "settle", dapp, wallet, saved).finish() == [
        "settled and saved",
        "asked while the wallet was away",
    ]
    assert scenario("session-storage", "resume", dapp, wallet, saved).finish() == [
        "the request of before arrives",
        "the session goes on",
        "the session ends",
    ]


@pytest.mark.parametrize(("dapp", "wallet"), RESTARTED)
def test_a_session_outlives_the_death_of_the_relay(
    scenario: Callable[..., Scenario], system: System, dapp: str, wallet: str
) -> None:
    running = scenario("session-restart", dapp, wallet)
    running.wait_for("proposed before the restart")
    system.wait_until_back("relay", system.kill("relay"))
    running.tell("restarted")
    running.wait_for("settled before the restart")
    system.wait_until_back("relay", system.kill("relay"))
    running.tell("restarted again")
    assert running.finish()[-1] == "the session outlived the relay"
