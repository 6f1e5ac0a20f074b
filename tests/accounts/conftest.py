"""What these tests share."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.accounts.event_listener import Ear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def listen_to() -> Iterator[Callable[[str], Ear]]:
    """``listen_to(group)`` gives an ``Ear`` for as long as the test lasts."""
    with ExitStack() as ears:
        yield lambda group: ears.enter_context(Ear(group))
