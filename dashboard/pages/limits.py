"""How much of a project's limits is used, for its overview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from castserver.services.notifications.broadcast import scheduled
from common import limits

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

    from castserver.models import Project

# Rates of a project: the limit and what counts.
RATES: Final[tuple[tuple[str, StrPromise], ...]] = (
    ("notify_project", _("Sending: calls of notify, and Send in the console")),
    ("cast_call", _("Other calls of the API")),
    ("recipient_upload", _("Uploads of CSV files")),
)
UNITS: Final = ((1, "s"), (60, "min"), (3_600, "h"), (86_400, "d"))


@dataclass(frozen=True, slots=True)
class Meter:
    label: StrPromise
    used: int
    most: int
    # "at most 20 at once, then 2 per second"; empty for what does not refill.
    rate: str = ""
    # When it is full again, in seconds; 0 if it is.
    reset: int = 0

    @property
    def is_exhausted(self) -> bool:
        return self.used >= self.most


@dataclass(frozen=True, slots=True)
class Meters:
    rates: list[Meter]
    bounds: list[Meter]
    per_subscriber: str
    accounts_per_call: int

    @property
    def is_used(self) -> bool:
        return any(each.reset for each in self.rates)


def meters_of(project: Project) -> Meters:
    table = settings.LIMITS
    bounds: list[tuple[StrPromise, int, int]] = [
        (
            _("Scheduled notifications"),
            scheduled(project).count(),
            table.scheduled_per_project,
        ),
        (_("Templates"), project.templates.count(), table.templates_per_project),
        (
            _("Uploaded lists"),
            project.recipient_lists.exclude(name="").count(),
            table.recipient_lists_per_project,
        ),
        (_("Webhooks"), project.webhooks.count(), table.webhooks_per_project),
        (
            _("API secrets"),
            project.secrets.filter(revoked_at=None, expires_at=None).count(),
            table.secrets_per_project,
        ),
        (_("Members"), project.members.count() + 1, table.members_per_project),
    ]
    return Meters(
        rates=[_rate(name, label, project) for name, label in RATES],
        bounds=[Meter(label, used, most) for label, used, most in bounds],
        per_subscriber=describe(limits.bucket_of("notify_subscriber")),
        accounts_per_call=table.notify_accounts,
    )


def _rate(name: str, label: StrPromise, project: Project) -> Meter:
    # Cost 0: only a look.
    verdict = limits.consume(name, project.pk, cost=0)
    return Meter(
        label,
        used=verdict.limit - verdict.remaining,
        most=verdict.limit,
        rate=describe(limits.bucket_of(name)),
        reset=verdict.reset,
    )


def describe(bucket: limits.Bucket) -> str:
    """``20+2/s`` in words."""
    # The smallest unit with a whole number: 2 per hour, not 0.0005 per second.
    seconds, unit = next(
        (each for each in UNITS if bucket.per_second * each[0] >= 0.999), UNITS[-1]
    )
    units = {
        "s": pgettext("per", "second"),
        "min": pgettext("per", "minute"),
        "h": pgettext("per", "hour"),
        "d": pgettext("per", "day"),
    }
    return gettext("%(burst)d at once, then %(refill)d per %(unit)s") % {
        "burst": bucket.burst,
        "refill": round(bucket.per_second * seconds),
        "unit": units[unit],
    }
