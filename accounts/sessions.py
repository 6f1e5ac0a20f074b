"""Django's database sessions, with the key hashed at rest.

A session key is a credential, so that a stolen database dump must not contain it: the table
holds its digest. ``Device.session_digest`` is the same digest, so a revoked device's session
can be deleted without its key. ``SESSION_ENGINE`` names this module.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore

from common import clock

if TYPE_CHECKING:
    from django.contrib.sessions.base_session import AbstractBaseSession
    from django.db.models import QuerySet

# As many hex digits as Django's column takes: 160 bits of a key of 165.
DIGEST_LENGTH = 40


def session_digest(session_key: str) -> str:
    """The form in which a session key is stored."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:DIGEST_LENGTH]


class SessionStore(DatabaseSessionStore):
    """Django's store, with digests as primary keys."""

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        row = self._rows(self.session_key).first()
        if row is None:
            self._session_key = None
        return row

    async def _aget_session_from_db(self) -> AbstractBaseSession | None:
        row = await self._rows(self.session_key).afirst()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return super().exists(session_digest(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(session_digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = session_digest(row.session_key)
        return row

    async def acreate_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = await super().acreate_model_instance(data)
        row.session_key = session_digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(session_digest(key))

    async def adelete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(session_digest(key))

    def _rows(self, session_key: str | None) -> QuerySet[AbstractBaseSession]:
        return self.get_model_class().objects.filter(
            session_key=session_digest(session_key or ""),
            expire_date__gt=clock.now(),
        )
