"""The audit log: which user did what, on which device."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from accounts.models import AuditEntry, Device
from common import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import Account, User

SUBJECT_LENGTH = 256
DETAIL_LENGTH = 512


# Whose request is being answered: a person's device, or the name of an API secret.
_caller: ContextVar[Device | str | None] = ContextVar("caller", default=None)


@contextmanager
def called_by(caller: Device | str) -> Iterator[None]:
    """Entries with ``by_caller`` name this device and its user, or this name."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def audit(
    action: str,
    *,
    actor: User | None = None,
    device: Device | None = None,
    account: Account | None = None,
    subject: str = "",
    detail: str = "",
    by_caller: bool = False,
) -> AuditEntry:
    """Append an entry, in the caller's transaction.

    ``subject`` names a row or a host, ``detail`` what changed. Neither may contain a
    secret; texts of peers are cut and stripped of control characters here. Pass an account
    as ``account``, never in a text: removing it then anonymizes the entries. ``by_caller``
    is for what is done because a request asks for it; what is only noticed during a request
    has no actor.
    """
    caller = _caller.get()
    if isinstance(caller, Device) and device is None:
        is_theirs = by_caller if actor is None else actor.pk == caller.user_id
        device = caller if is_theirs else None
    if actor is None and device is not None:
        actor = device.user
    name = "" if actor is None else actor.username
    if by_caller and isinstance(caller, str):
        name = caller
    return AuditEntry.objects.create(
        at=clock.now(),
        action=action,
        actor=name,
        user=actor,
        device=device,
        account=account,
        subject=one_line(subject, longest=SUBJECT_LENGTH),
        detail=one_line(detail, longest=DETAIL_LENGTH),
    )


def one_line(text: str, *, longest: int) -> str:
    """``text`` without characters that could forge a line, cut to ``longest``."""
    clean = "".join(
        mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text
    )
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
