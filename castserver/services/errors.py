"""Errors of the Cast Server's services, shown by the REST API and the console.

Reasons are English; the console translates them (``dashboard/reasons.py``).
"""

from __future__ import annotations


class CastError(Exception):
    """The caller's fault. ``field`` is the name of the wrong value, if it is one value."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        self.reason = reason
        self.field = field
        super().__init__(reason)


class Invalid(CastError):
    """A value that is never accepted."""


class Taken(CastError):
    """A value that another project has already."""


class Forbidden(CastError):
    """The secret lacks ``scope``."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this secret does not have the scope {scope}")
        self.scope = scope


class Missing(CastError):
    """It does not exist, or is not the caller's: the two are not distinguished."""


class Ended(CastError):
    """It existed and cannot be used any more: used, withdrawn or expired."""


class NotNow(CastError):
    """The same call may succeed in ``retry_after`` seconds."""

    def __init__(
        self, reason: str, *, retry_after: int = 0, field: str | None = None
    ) -> None:
        super().__init__(reason, field=field)
        self.retry_after = retry_after


class TooMany(NotNow):
    """A limit is reached."""


class StillRunning(NotNow):
    """The first call with the same ``Idempotency-Key`` has not ended."""
