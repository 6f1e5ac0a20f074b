"""The console: a dapp owner's projects, their notifications and deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Count, Q
from django.db.models.functions import TruncDay
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from castserver.models import (
    Delivery,
    Notification,
    Project,
    Subscriber,
)
from common import clock
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

    from accounts.models import User

DAYS: Final = 30
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class ProjectCard:
    project: Project
    subscribers: int
    sent: int


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
    found = Project.objects.filter(owner=user)
    if settings.DEMO:
        found = Project.objects.filter(Q(owner=user) | Q(is_demo=True))
    cards = found.annotate(
        live=Count("subscribers__account_key", filter=live, distinct=True)
    ).order_by("-created_at")
    sent = dict(
        Notification.objects.filter(project__in=found)
        .values_list("project")
        .annotate(number=Count("pk"))
    )
    return [ProjectCard(each, each.live, sent.get(each.pk, 0)) for each in cards]


def project_of(user: User, slug: str) -> Project | None:
    """The user's project; in demo mode also the demo dapp, which has no owner."""
    found = Project.objects.filter(slug=slug).select_related("owner").first()
    if found is None:
        return None
    if found.owner_id == user.pk or (settings.DEMO and found.is_demo):
        return found
    return None


def is_owner(user: User, project: Project) -> bool:
    return project.owner_id == user.pk


def overview(project: Project) -> Overview:
    live = Subscriber.objects.of(project.pk).live(clock.now())
    deliveries = Delivery.objects.filter(notification__project=project)
    numbers = deliveries.aggregate(
        sent=Count("pk", filter=Q(sent_at__isnull=False)),
        received=Count("pk", filter=Q(receipt_at__isnull=False)),
        read=Count("pk", filter=Q(read_at__isnull=False)),
    )
    subscribers = live.values("account_key").distinct().count()
    notifications = list(project.notifications.order_by("-created_at")[:10])
    return Overview(
        subscribers=subscribers,
        sent=numbers["sent"],
        received=numbers["received"],
        read=numbers["read"],
        per_day=_per_day(project),
        checklist=[
            ChecklistItem(
                done=True, label=_("Keys were made"), url_name="project-keys"
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


def _per_day(project: Project) -> list[int]:
    today = timezone.localtime(clock.now()).date()
    since = clock.now() - timedelta(days=DAYS)
    rows = (
        Delivery.objects.filter(notification__project=project, created_at__gte=since)
        .annotate(day=TruncDay("created_at"))
        .values_list("day")
        .annotate(number=Count("pk"))
    )
    per_day = [0] * DAYS
    for day, number in rows:
        place = DAYS - 1 - (today - day.date()).days
        if 0 <= place < DAYS:
            per_day[place] = number
    return per_day


def subscriber_count(project: Project) -> int:
    live = Subscriber.objects.of(project.pk).live(clock.now())
    return live.values("account_key").distinct().count()


def own_accounts(user: User) -> list[str]:
    """The user's own accounts, for the audience "My own accounts"."""
    return list(Account.objects.of_user(user.pk).values_list("address", flat=True))


def subscribers(project: Project, only: list[str] | None) -> list[Subscriber]:
    """Active subscribers, newest first; ``only`` restricts them to these accounts."""
    found = Subscriber.objects.of(project.pk).live(clock.now())
    if only is not None:
        found = found.of_accounts(AccountId.parse(text).key for text in only)
    return list(found.order_by("-created_at")[: PAGE * 5])
