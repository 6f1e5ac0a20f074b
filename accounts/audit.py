"""The audit log: which user did what, on which device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts.models import AuditEntry
from common import clock

if TYPE_CHECKING:
    from accounts.models import Account, Device, User

SUBJECT_LENGTH = 256
DETAIL_LENGTH = 512


def audit(
    action: str,
    *,
    actor: User | None = None,
    device: Device | None = None,
    account: Account | None = None,
    subject: str = "",
    detail: str = "",
) -> AuditEntry:
    """Append an entry, in the caller's transaction.

    ``subject`` names a row or a host, ``detail`` what changed. Neither may contain a
    secret; texts of peers are cut and stripped of control characters here. Pass an account
    as ``account``, never in a text: removing it then anonymizes the entries.
    """
    if actor is None and device is not None:
        actor = device.user
    return AuditEntry.objects.create(
        at=clock.now(),
        action=action,
        actor="" if actor is None else actor.username,
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
