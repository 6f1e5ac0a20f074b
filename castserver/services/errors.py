"""Errors of the Cast Server's services, shown by the REST API and the console.

The API returns them in English, the console in the language of its reader. So a reason that
people of the console may see is a marked pattern with values:
``Invalid(gettext_noop("at most %(most)d types"), most=15)``.
"""

from __future__ import annotations

from django.utils.translation import gettext


class CastError(Exception):
    """The caller's fault. ``field`` is the name of the wrong value, if it is one value."""

    def __init__(
        self, reason: str, *, field: str | None = None, **values: object
    ) -> None:
        self.pattern = reason
        self.values = values
        self.reason = reason % values if values else reason
        self.field = field
        super().__init__(self.reason)

    @property
    def localized(self) -> str:
        """The reason in the active language."""
        text = gettext(self.pattern)
        return text % self.values if self.values else text


class Invalid(CastError):
    """A value that is never accepted."""


class Taken(CastError):
    """A value that another project has already."""


class Forbidden(CastError):
    """The secret lacks ``scope``."""

    def __init__(self, scope: str) -> None:
        super().__init__("this secret does not have the scope %(scope)s", scope=scope)
        self.scope = scope


class Missing(CastError):
    """It does not exist, or is not the caller's: the two are not distinguished."""


class Ended(CastError):
    """It existed and cannot be used any more: used, withdrawn or expired."""


class NotNow(CastError):
    """The same call may succeed in ``retry_after`` seconds."""

    def __init__(
        self,
        reason: str,
        *,
        retry_after: int = 0,
        field: str | None = None,
        **values: object,
    ) -> None:
        super().__init__(reason, field=field, **values)
        self.retry_after = retry_after


class TooMany(NotNow):
    """A limit is reached."""


class StillRunning(NotNow):
    """The first call with the same ``Idempotency-Key`` has not ended."""
