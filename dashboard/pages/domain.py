"""Whether a project's address is proven, and what its domain served last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from castserver.models import AddressCheck, Project
from castserver.services.projects.address_proof import ASKED_LASTS
from common import clock
from common.dapp_documents import Check

if TYPE_CHECKING:
    from datetime import datetime

# A check that takes longer was interrupted; the next one follows by itself.
CHECK_TAKES: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class AddressStatus:
    """``state``: hosted, proven, differs, or unproven."""

    state: str
    is_checking: bool
    # The owner waits for it: the page asks again by itself.
    is_watched: bool
    read_at: datetime | None = None
    differs_since: datetime | None = None
    lines: tuple[Check, ...] = ()
    differences: tuple[dict[str, str], ...] = ()


def address_status(project: Project) -> AddressStatus:
    if project.is_hosted:
        return AddressStatus("hosted", is_checking=False, is_watched=False)
    check = AddressCheck.objects.filter(project=project, url=project.url).first()
    if check is None:
        return AddressStatus("unproven", is_checking=False, is_watched=True)
    now = clock.now()
    asked = check.asked_at
    is_answered = asked is None or (check.read_at or now - ASKED_LASTS) >= asked
    matches = check.matched_at is not None and check.matched_at == check.read_at
    differs = bool(check.differences) or check.differs_since is not None
    state = "proven" if project.url_proven_at else "unproven"
    if state == "proven" and differs:
        state = "differs"
    return AddressStatus(
        state,
        is_checking=not is_answered and asked is not None and now - asked < CHECK_TAKES,
        is_watched=not matches and asked is not None and now - asked < ASKED_LASTS,
        read_at=check.read_at,
        differs_since=check.differs_since,
        lines=tuple(Check(**each) for each in check.lines),
        differences=tuple(check.differences),
    )
