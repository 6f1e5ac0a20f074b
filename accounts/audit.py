"""The audit log: what was done, by whom, from which device (reliability.md, item 30)."""

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

    ``subject`` names a row or a host, ``detail`` says what changed; neither ever holds
    a secret, and what a peer wrote is cut and stripped of control characters here.
    An account is named by ``account``, not in the texts: when it is removed, the
    entries no longer say whose they were.
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
    """``text`` without anything that could forge a line, cut to ``longest``."""
    clean = "".join(
        mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text
    )
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
