"""The console: a dapp owner's projects, their notifications and deliveries."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import redis
from django.conf import settings
from django.db.models import Count, Q, Sum
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from castserver.models import (
    Notification,
    Project,
    ProjectCount,
    ProjectMember,
    Role,
    Subscriber,
)
from castserver.services.notifications.notify import Audience, audience
from castserver.services.projects.members import projects_of
from common import clock
from common.connections import shared_redis
from subscriptions.models import Icon

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_stubs_ext import StrPromise

    from accounts.models import User

DAYS: Final = 30
MAX_COUNTED_ALWAYS: Final = 10_000
COUNTS_KEPT_S: Final = 300
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class ProjectCard:
    project: Project
    subscribers: int
    sent: int
    # None: the main owner's, or the demo.
    role: Role | None
    # Digest of the picture; empty for the letter tile.
    icon: str


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    done: bool
    label: StrPromise
    url_name: str


@dataclass(frozen=True, slots=True)
class Overview:
    subscribers: int
    sent: int
    received: int
    read: int
    per_day: list[int]
    checklist: list[ChecklistItem]
    notifications: list[Notification]

    @property
    def is_set_up(self) -> bool:
        return all(item.done for item in self.checklist)


def project_cards(user: User) -> list[ProjectCard]:
    live = Q(subscribers__deleted_at=None, subscribers__expires_at__gt=clock.now())
    mine = projects_of(user)
    found = Project.objects.filter(mine | Q(is_demo=True) if settings.DEMO else mine)
    roles = {
        project_id: Role(role)
        for project_id, role in ProjectMember.objects.filter(user=user).values_list(
            "project_id", "role"
        )
    }
    sent = dict(
        ProjectCount.objects.filter(project__in=found)
        .values_list("project")
        .annotate(number=Sum("notifications"))
    )

    def count() -> dict[str, int]:
        cards = found.annotate(
            live=Count("subscribers__account_key", filter=live, distinct=True)
        )
        return {str(each.pk): each.live for each in cards}

    counts = _kept_if_large(f"of:{user.pk}", count)
    rows = list(found.select_related("address_check").order_by("-created_at"))
    icons = Icon.objects.digests(each.icon for each in rows)
    return [
        ProjectCard(
            each,
            counts.get(str(each.pk), 0),
            sent.get(each.pk, 0),
            roles.get(each.pk),
            icons.get(each.icon, ""),
        )
        for each in rows
    ]


def icon_of(project: Project) -> str:
    """The digest of the project's picture; empty if we have none."""
    return Icon.objects.digests([project.icon]).get(project.icon, "")


def _kept_if_large(key: str, count: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Count subscribed accounts, or take counts of the last five minutes.

    Accounts have several topics, so counting reads every subscriber: milliseconds for ten
    thousand, and for a million more than a page may take. Small counts are always exact.
    """
    key = f"console:subscribers:{key}"
    with contextlib.suppress(redis.RedisError, ValueError):
        if kept := shared_redis().get(key):
            return dict(json.loads(kept))
    counts = count()
    if sum(counts.values()) > MAX_COUNTED_ALWAYS:
        with contextlib.suppress(redis.RedisError):
            shared_redis().set(key, json.dumps(counts), ex=COUNTS_KEPT_S)
    return counts


def overview(project: Project) -> Overview:
    numbers = ProjectCount.objects.filter(project=project).aggregate(
        sent=Sum("sent", default=0),
        received=Sum("received", default=0),
        read=Sum("read", default=0),
    )
    subscribers = subscriber_count(project)
    notifications = list(project.notifications.order_by("-created_at")[:10])
    today = clock.now().date()  # of UTC, like the counters
    rows = (
        ProjectCount.objects.filter(
            project=project, day__gt=today - timedelta(days=DAYS)
        )
        .values_list("day")
        .annotate(number=Sum("sent"))
    )
    per_day = [0] * DAYS
    for day, number in rows:
        place = DAYS - 1 - (today - day).days
        if 0 <= place < DAYS:
            per_day[place] = number
    return Overview(
        subscribers=subscribers,
        sent=numbers["sent"],
        received=numbers["received"],
        read=numbers["read"],
        per_day=per_day,
        checklist=[
            ChecklistItem(
                done=True, label=_("Keys were made"), url_name="project-keys"
            ),
            ChecklistItem(
                done=project.is_hosted or project.url_proven_at is not None,
                label=_("The domain serves both files"),
                url_name="project-domain",
            ),
            ChecklistItem(
                done=project.types.exists(),
                label=_("Notification types are named"),
                url_name="project-types",
            ),
            ChecklistItem(
                done=subscribers > 0,
                label=_("A first subscriber"),
                url_name="project-subscribers",
            ),
            ChecklistItem(
                done=bool(notifications),
                label=_("A first notification"),
                url_name="project-send",
            ),
            ChecklistItem(
                done=project.webhooks.exists(),
                label=_("A webhook (optional)"),
                url_name="project-webhooks",
            ),
        ],
        notifications=notifications,
    )


def subscriber_count(project: Project) -> int:
    live = Subscriber.objects.of(project.pk).live(clock.now())
    counts = _kept_if_large(
        f"at:{project.pk}",
        lambda: {"live": live.values("account_key").distinct().count()},
    )
    return counts["live"]


def reach(project: Project, type_id: str) -> Audience:
    """How many a notification of this type to everyone would reach."""
    counts = _kept_if_large(
        f"reach:{project.pk}:{type_id}", lambda: asdict(audience(project, type_id))
    )
    return Audience(**counts)


def own_accounts(user: User) -> list[str]:
    """The user's own accounts, for the audience "My own accounts"."""
    return list(Account.objects.of_user(user.pk).values_list("address", flat=True))
