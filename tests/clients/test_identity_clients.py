"""Every released form of identity-keys on our Keys Server. Seed: step 9."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.node import Scenario

pytestmark = pytest.mark.system


@pytest.mark.parametrize("form", ["0.1", "1.0", "2.1", "2.1-recap"])
def test_released_identity_keys_register_resolve_and_unregister(
    scenario: Callable[..., Scenario], form: str
) -> None:
    done = scenario("identity", form).finish()
    assert done == ["registers", "resolves", "unregisters"]
