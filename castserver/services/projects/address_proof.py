"""Proof that the domain of a dapp serves the keys of its project.

Anyone can enter any address for a project, so an address alone reserves nothing: several
projects may claim one. A claim is proven when did.json at the address contains the project's
keys. The explorer's answer is made from the proven claimant, and no other project can
take its address.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, TextField, Window
from django.db.models.functions import Cast, Coalesce, RowNumber

from accounts.services import audit
from castserver.models import Project
from common import clock, outbound
from common.drain import drain
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AppUrl, DidWebDocument, public_key_of
from walletconnect.json_values import parse_document

if TYPE_CHECKING:
    from datetime import datetime

PROVE_TASK: Final = "castserver.prove_addresses"
# Dapps are deployed some time after their project was created, and owners wait for it.
RECHECK_UNPROVEN: Final = timedelta(minutes=10)
RECHECK_PROVEN: Final = timedelta(days=1)
# A day of failed checks is an outage; only other keys, or a month of failures, end a proof.
PROOF_LASTS: Final = timedelta(days=30)
MAX_IN_FLIGHT: Final = 8


def prove_addresses() -> int:
    """Check the addresses that are due; returns how many."""
    return drain(_claim, _check, _record, slots=MAX_IN_FLIGHT)


def _claim(limit: int) -> list[Project]:
    """One project of each owner, so that many dead domains of one delay no other."""
    now = clock.now()
    due = Project.objects.filter(is_hosted=False).filter(
        Q(url_checked_at=None)
        | Q(url_checked_at__lte=now - RECHECK_PROVEN)
        | Q(url_proven_at=None, url_checked_at__lte=now - RECHECK_UNPROVEN)
    )
    oldest_first = F("url_checked_at").asc(nulls_first=True)
    turn = Window(
        RowNumber(),
        partition_by=Coalesce(Cast("owner_id", TextField()), "id"),
        order_by=oldest_first,
    )
    with transaction.atomic():
        first = due.annotate(turn=turn).filter(turn=1).values("pk")
        rows = list(
            Project.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(pk__in=first)
            .order_by(oldest_first)[:limit]
        )
        Project.objects.filter(pk__in=[row.pk for row in rows]).update(
            url_checked_at=now
        )
    return rows


def _check(project: Project) -> tuple[Project, bool | None, datetime]:
    """Whether did.json has the project's keys; None if it could not be read."""
    proven: bool | None = None
    try:
        answer = outbound.fetch(
            "GET",
            AppUrl.parse(project.url).well_known("did.json"),
            max_bytes=settings.LIMITS.document_bytes,
            deadline=settings.LIMITS.document_deadline_s,
        )
        if answer.ok:
            document = DidWebDocument.from_value(parse_document(answer.body))
            proven = (document.key_agreement, document.authentication) == (
                bytes.fromhex(project.public_key_x),
                public_key_of(project.authentication_did),
            )
    except (outbound.OutboundError, RemoteProtocolError):
        pass
    return project, proven, clock.now()


def _record(results: list[tuple[Project, bool | None, datetime]]) -> None:
    for project, proven, at in results:
        # The address may have been changed meanwhile.
        same = Project.objects.filter(pk=project.pk, url=project.url, is_hosted=False)
        with transaction.atomic():
            if proven:
                # Locked, because another claimant may be recorded at the same time.
                claimants = Project.objects.filter(url=project.url)
                list(claimants.select_for_update().order_by("pk").values("pk"))
                if claimants.filter(is_hosted=True).exists():
                    continue
                claimants.exclude(pk=project.pk).update(url_proven_at=None)
                if same.update(url_proven_at=at) and project.url_proven_at is None:
                    audit("project.url-proven", subject=project.pk, detail=project.url)
            elif proven is False:
                same.update(url_proven_at=None)
            else:
                same.filter(url_proven_at__lte=at - PROOF_LASTS).update(
                    url_proven_at=None
                )
