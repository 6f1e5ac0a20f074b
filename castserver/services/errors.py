"""Why a service of the dapp side said no. The REST API and the console show it."""

from __future__ import annotations


class CastError(Exception):
    """The caller's fault. ``field`` names the value to blame, if one is."""

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


class Invalid(CastError):
    """A value that can never be right."""


class Taken(CastError):
    """A value that is somebody else's already."""


class Missing(CastError):
    """There is no such thing, or it is not the caller's: both look the same."""


class NotNow(CastError):
    """``retry_after`` seconds from now the same call may succeed."""

    def __init__(
        self,
        reason: str,
        *,
        retry_after: int = 0,
        field: str | None = None,
    ) -> None:
        super().__init__(reason, field=field)
        self.retry_after = retry_after


class TooMany(NotNow):
    """A limit is reached."""


class StillRunning(NotNow):
    """An earlier call that is the same has not ended."""
