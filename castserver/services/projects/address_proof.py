"""Proof that the domain of a dapp serves the keys of its project, and what differs.

Anyone can enter any address for a project, so an address alone reserves nothing: several
projects may claim one. A claim is proven when did.json at the address contains the project's
keys. The explorer's answer is made from the proven claimant, and no other project can
take its address. The owner sees the report of the reader, which is the one that subscribing
uses, and every difference from what is expected.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import F, Q, TextField, Window
from django.db.models.functions import Cast, Coalesce, RowNumber
from django.utils.translation import gettext_noop

from accounts.services import audit
from castserver.models import AddressCheck, Project, ProjectKeys
from castserver.services.projects.documents import notify_config
from castserver.services.projects.rotation import use_published_keys
from common import clock
from common.dapp_documents import ENCRYPTION_KEY, SIGNING_KEY, TYPES, read_dapp
from common.drain import drain
from common.wake import enqueue_on_commit
from walletconnect.identity.did import did_key, public_key_of
from walletconnect.notify.config import NotifyConfig

if TYPE_CHECKING:
    from datetime import datetime

    from common.dapp_documents import Reading
    from walletconnect.notify.scope import NotificationType as OfferedType

# Stored in English with the report; the page translates them.
NAME: Final = gettext_noop("Name")
DESCRIPTION: Final = gettext_noop("Description")
ICON: Final = gettext_noop("Icon")

PROVE_TASK: Final = "castserver.prove_addresses"
# For an hour after the owner asked for a check or changed the address.
RECHECK_ASKED: Final = timedelta(seconds=30)
ASKED_LASTS: Final = timedelta(hours=1)
# Dapps are deployed some time after their project was created, and owners wait for it.
RECHECK_UNPROVEN: Final = timedelta(minutes=10)
# While the owner is to publish new keys.
RECHECK_NEXT_KEYS: Final = timedelta(minutes=1)
RECHECK_PROVEN: Final = timedelta(days=1)
# A day of failed checks is an outage; only other keys, or a month of failures, end a proof.
PROOF_LASTS: Final = timedelta(days=30)
MAX_IN_FLIGHT: Final = 8
MAX_DIFFERENCES: Final = 30
MAX_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Found:
    """What the address of a project served."""

    project: Project
    # Whether did.json has the project's keys; None if it could not be read.
    proven: bool | None
    reading: Reading
    at: datetime
    # The authentication key, if these are the keys that are to be used next.
    next_did: str = ""


def ask_check(project: Project) -> None:
    """Check the address soon, and often for an hour."""
    with transaction.atomic():
        AddressCheck.objects.update_or_create(
            project=project,
            defaults={"asked_at": clock.now()},
            create_defaults={"asked_at": clock.now(), "url": project.url},
        )
        Project.objects.filter(pk=project.pk).update(url_checked_at=None)
        enqueue_on_commit(PROVE_TASK)


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
        | Q(
            pk__in=ProjectKeys.objects.filter(state=ProjectKeys.State.NEXT).values(
                "project_id"
            ),
            url_checked_at__lte=now - RECHECK_NEXT_KEYS,
        )
        | Q(
            address_check__differs_since__isnull=False,
            url_checked_at__lte=now - RECHECK_UNPROVEN,
        )
        | Q(
            ~Q(address_check__matched_at=F("address_check__read_at"))
            | Q(address_check__read_at=None),
            address_check__asked_at__gt=now - ASKED_LASTS,
            url_checked_at__lte=now - RECHECK_ASKED,
        )
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
            .prefetch_related("other_keys")
            .filter(pk__in=first)
            .order_by(oldest_first)[:limit]
        )
        Project.objects.filter(pk__in=[row.pk for row in rows]).update(
            url_checked_at=now
        )
    return rows


def _check(project: Project) -> Found:
    """Reads the address. In a thread of its own, so without the database."""
    reading = read_dapp(project.url, on_step=lambda *_: None)
    keys = reading.published_keys
    proven, next_did = None, ""
    if keys is not None:
        published = (keys.key_agreement.hex(), did_key(keys.authentication))
        proven = published == (project.public_key_x, project.authentication_did)
        for row in project.other_keys.all():
            if published == (row.public_key_x, row.authentication_did):
                # Previous keys may still be served by a cache.
                proven = True
                if row.state == ProjectKeys.State.NEXT:
                    next_did = row.authentication_did
    return Found(project, proven, reading, clock.now(), next_did)


def _differences(project: Project, reading: Reading) -> list[dict[str, str]]:
    """Where the published documents are not as the project's own: label and two values."""
    pairs: list[tuple[str, str, str]] = []
    if (keys := reading.published_keys) is not None:
        expected = public_key_of(project.authentication_did)
        pairs += [
            (ENCRYPTION_KEY, project.public_key_x, keys.key_agreement.hex()),
            (SIGNING_KEY, did_key(expected), did_key(keys.authentication)),
        ]
    if (config := reading.published_config) is not None:
        own = NotifyConfig.from_value(notify_config(project, project.types.all()))
        pairs += [
            (NAME, own.name, config.name),
            (DESCRIPTION, own.description, config.description),
            (ICON, " ".join(own.icons), " ".join(config.icons)),
        ]
        listed = {each.scope_name: each for each in config.types}
        for each in own.types:
            found = listed.pop(each.scope_name, None)
            pairs.append((TYPES, _line_of(each), _line_of(found) if found else ""))
        pairs += [(TYPES, "", _line_of(each)) for each in listed.values()]
    return [
        {
            "label": label,
            "expected": wanted[:MAX_SHOWN],
            "found": found_text[:MAX_SHOWN],
        }
        for label, wanted, found_text in pairs
        if wanted != found_text
    ][:MAX_DIFFERENCES]


def _line_of(each: OfferedType) -> str:
    parts = (each.scope_name, each.name, each.description, each.icon)
    return " | ".join(parts).rstrip(" |")


def _record(results: list[Found]) -> None:
    for found in results:
        project, proven, at = found.project, found.proven, found.at
        # The address may have been changed meanwhile.
        same = Project.objects.filter(pk=project.pk, url=project.url, is_hosted=False)
        with transaction.atomic():
            if same.exists():
                if found.next_did and use_published_keys(project, found.next_did):
                    project.refresh_from_db()
                _report(found)
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


def _report(found: Found) -> None:
    """Store what the owner sees, in the caller's transaction."""
    check, _ = AddressCheck.objects.select_for_update().get_or_create(
        project=found.project, defaults={"url": found.project.url}
    )
    if check.url != found.project.url:
        # What held for the previous address.
        check.url, check.matched_at, check.differs_since = found.project.url, None, None
    check.read_at = found.at
    check.lines = [asdict(each) for each in found.reading.checks]
    check.differences = _differences(found.project, found.reading)
    if found.reading.document is not None and not check.differences:
        check.matched_at, check.differs_since = found.at, None
    elif check.matched_at is not None and check.differs_since is None:
        check.differs_since = found.at
        audit("project.documents-differ", subject=found.project.pk)
    check.save()
