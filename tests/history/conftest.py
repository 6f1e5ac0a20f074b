"""An archive with messages in it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from common import clock, entropy
from relayserver.models import PublishedMessage
from walletconnect.crypto.signing import IdentityKey
from walletconnect.relay.auth import make_client_auth

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHER = IdentityKey.from_seed(bytes(32)).did
HISTORY_URL = "http://localhost:8000/history"


def topic() -> str:
    return entropy.token_hex(32)


def message_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bearer(aud: str = HISTORY_URL, *, seed: int = 7, now: int | None = None) -> str:
    token = make_client_auth(
        IdentityKey.from_seed(bytes([seed]) * 32),
        aud=aud,
        now=clock.now_s() if now is None else now,
        nonce=entropy.key_bytes(),
    )
    return f"Bearer {token}"


@pytest.fixture(autouse=True)
def _nobody_asked_before(redis_client: object) -> None:
    """Rates are counted in Redis, which the tests of a run share."""


@pytest.fixture
def publish(db: None) -> Callable[..., list[PublishedMessage]]:
    """Put messages into the relay's log, in order; ``ttl`` may be in the past."""
    numbers = iter(range(1, 1_000_000))

    def publish(
        on: str, texts: list[str], *, tag: int = 5000, ttl: int = 300
    ) -> list[PublishedMessage]:
        now = clock.now_ms()
        return PublishedMessage.objects.bulk_create(
            [
                PublishedMessage(
                    id=next(numbers),
                    topic=on,
                    message_id=message_id(text),
                    message=text,
                    tag=tag,
                    publisher=PUBLISHER,
                    published_at=now,
                    expires_at=now + ttl * 1000,
                )
                for text in texts
            ]
        )

    return publish
