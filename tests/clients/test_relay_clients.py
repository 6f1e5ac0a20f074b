"""The cores that wallets ship, on our relay. Seed: steps 5, 7, 13, 14, 17, 20."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.node import Scenario
    from tests.system import System

pytestmark = pytest.mark.system
CORES = ["2.10", "2.12", "2.25"]


@pytest.mark.parametrize("version", CORES)
def test_a_released_core_does_all_it_does_on_our_relay(
    scenario: Callable[..., Scenario], version: str
) -> None:
    assert scenario("relay", version).finish() == [
        "live delivery, no echo",
        "mailbox in publish order",
        "acknowledged messages stay acknowledged",
        "a repeated publish is one message",
        "fetch and batch fetch",
        "500 topics in one batch",
        "refusals are answers, the connection lives on",
    ]


@pytest.mark.parametrize("version", CORES)
def test_a_released_core_survives_the_death_of_the_relay(
    scenario: Callable[..., Scenario], system: System, version: str
) -> None:
    running = scenario("relay-restart", version)
    running.wait_for("ready for the restart")
    system.wait_until_back("relay", system.kill("relay"))
    running.tell("restarted")
    assert running.finish()[-1] == (
        "reconnected, re-subscribed, nothing lost, nothing doubled"
    )
