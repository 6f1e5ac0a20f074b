"""What these tests share."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.accounts.event_listener import GroupListener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def listen_to() -> Iterator[Callable[[str], GroupListener]]:
    """``listen_to(group)`` returns a ``GroupListener`` for the duration of the test."""
    with ExitStack() as listeners:
        yield lambda group: listeners.enter_context(GroupListener(group))
