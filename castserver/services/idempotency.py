"""A call with an ``Idempotency-Key`` is executed once, however often it is repeated.

The reservation is committed before the work begins; the response is written in the
transaction of the work, so that a killed process leaves both or neither. The lease ends
with the database session of that process, so a repeat after a crash runs at once.

============================  =======================================
same key and same body        the first response
same key, another body        422
the first is still running    409 with ``Retry-After``
============================  =======================================
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from django.db import connection, transaction

from castserver.models import IdempotentCall, Project
from castserver.services.errors import Invalid, StillRunning
from common import clock
from common.retention import BATCH_SIZE
from common.work_queue import FREE_SQL
from keychain.services import open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet

RETENTION: Final = timedelta(hours=24)
# Well above the 60 s after which PostgreSQL ends an idle transaction: a call that hangs has
# lost its transaction long before a repeat takes its key. A dead session frees it at once.
LEASE: Final = timedelta(seconds=180)
# Most calls take less than a second.
RETRY_AFTER_S: Final = 1
STILL_RUNNING: Final = "the first call with this Idempotency-Key is still running"
KEY: Final = re.compile(r"[!-~]{1,255}")

JsonAnswer: TypeAlias = "dict[str, object] | list[object] | None"

_RESERVE: Final = (
    """
INSERT INTO castserver_idempotentcall AS kept
    (project_id, key, request_digest, status, answer, leased_until, leased_by,
     created_at)
VALUES (
    %(project)s, %(key)s, %(digest)s, NULL, ''::bytea, %(until)s, pg_backend_pid(),
    %(now)s
)
ON CONFLICT (project_id, key) DO UPDATE SET
    request_digest = excluded.request_digest, status = NULL, answer = ''::bytea,
    leased_until = excluded.leased_until, leased_by = excluded.leased_by,
    created_at = excluded.created_at
WHERE kept.created_at <= %(forgotten)s OR (
    kept.status IS NULL AND kept.request_digest = excluded.request_digest
    AND """
    + FREE_SQL.format(row="kept")
    + """
)
RETURNING id
"""
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A status and a JSON value; ``replayed`` if they are of an earlier call."""

    status: int
    value: JsonAnswer
    replayed: bool = False


def request_digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def once(
    project: Project, key: str, *, digest: str, work: Callable[[], Outcome]
) -> Outcome:
    """The outcome of ``work``, or of the first call with the same key.

    If ``work`` raises, nothing is stored and the key can be used again.
    """
    if not KEY.fullmatch(key):
        raise Invalid("an Idempotency-Key must be 1 to 255 visible ASCII characters")
    reserved = _reserve(project, key, digest=digest)
    if reserved is None:
        return _earlier(project, key, digest=digest)
    try:
        with transaction.atomic():
            outcome = work()
            _keep(project, reserved, outcome=outcome)
    except BaseException:
        _own(reserved).delete()
        raise
    return outcome


@dataclass(frozen=True, slots=True)
class _Reservation:
    pk: int
    leased_until: datetime


def _own(reserved: _Reservation) -> QuerySet[IdempotentCall]:
    """The reservation's row, unless a repeat took it over after the lease ended."""
    return IdempotentCall.objects.filter(
        pk=reserved.pk, status=None, leased_until=reserved.leased_until
    )


def _reserve(project: Project, key: str, *, digest: str) -> _Reservation | None:
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(
            _RESERVE,
            {
                "project": project.pk,
                "key": key,
                "digest": digest,
                "now": now,
                "until": now + LEASE,
                "forgotten": now - RETENTION,
            },
        )
        row = cursor.fetchone()
    return None if row is None else _Reservation(int(row[0]), now + LEASE)


def _keep(project: Project, reserved: _Reservation, *, outcome: Outcome) -> None:
    text = json.dumps(outcome.value).encode()
    kept = _own(reserved).update(
        status=outcome.status,
        answer=seal(answer_context(project.pk, reserved.pk), text),
        leased_until=None,
        leased_by=None,
    )
    if not kept:
        # A repeat took over: this transaction is rolled back, and the repeat's counts.
        raise StillRunning(STILL_RUNNING, retry_after=RETRY_AFTER_S)


def _earlier(project: Project, key: str, *, digest: str) -> Outcome:
    kept = IdempotentCall.objects.filter(project=project, key=key).first()
    if kept is None or (kept.status is None and kept.request_digest == digest):
        raise StillRunning(STILL_RUNNING, retry_after=RETRY_AFTER_S)
    if kept.request_digest != digest:
        raise Invalid("this Idempotency-Key was used for another request")
    context = answer_context(project.pk, kept.pk)
    value = json.loads(open_sealed(context, bytes(kept.answer)))
    return Outcome(status=kept.status or 200, value=value, replayed=True)


def forget_old() -> int:
    """Delete one batch of calls that are older than 24 hours."""
    old = IdempotentCall.objects.filter(created_at__lte=clock.now() - RETENTION)
    batch = old.order_by("created_at").values_list("pk", flat=True)[:BATCH_SIZE]
    return IdempotentCall.objects.filter(pk__in=list(batch)).delete()[0]


def answer_context(project_id: str, pk: int) -> tuple[str, str, str, str]:
    """The associated data of a row's sealed response."""
    return ("castserver_idempotentcall", "answer", str(pk), project_id)
