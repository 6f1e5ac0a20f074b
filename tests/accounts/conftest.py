"""What these tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.accounts.event_listener import HintListener

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hints() -> Iterator[HintListener]:
    """What is sent to the web processes during the test."""
    with HintListener() as listener:
        yield listener
