"""Dapps to subscribe to: projects of this server, and others by their domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import F, OuterRef, Q, Subquery, Window
from django.db.models.functions import RowNumber

from castserver.models import Project
from subscriptions.models import DappDocument, Icon, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MAX_RESULTS = 60


@dataclass(frozen=True, slots=True)
class OfferedType:
    name: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class DappCard:
    """A dapp from a project of this server or from its published documents."""

    url: str
    name: str
    description: str
    types: list[OfferedType]
    is_demo: bool = False
    is_ours: bool = False
    # Its documents are served here.
    is_hosted: bool = False
    # The last copy of its documents is valid, and its keys are the pinned ones.
    is_kept: bool = False
    # The user's subscriptions to it: account and topic.
    subscribed: tuple[tuple[int, str], ...] = ()
    # What the dapp names, and the digest of the picture that we have of it.
    icon_url: str = ""
    icon: str = ""

    @property
    def first_topic(self) -> str:
        return self.subscribed[0][1] if self.subscribed else ""

    @property
    def accounts(self) -> set[int]:
        """The user's accounts that are already subscribed."""
        return {account for account, _ in self.subscribed}


def directory(
    user_id: int, *, text: str = "", account_pk: int | None = None
) -> list[DappCard]:
    # Not those that are being set up.
    projects = Project.objects.filter(setup_step="").prefetch_related("types")
    documents = DappDocument.objects.exclude(public_key_x="")
    if not settings.DEMO:
        projects = projects.filter(is_demo=False)
    if text:
        projects = projects.filter(
            Q(name__icontains=text) | Q(description__icontains=text)
        )
        documents = documents.filter(
            Q(name__icontains=text) | Q(domain__icontains=text)
        )
    # In turns, so that one owner's projects cannot fill the page.
    turn = Window(
        RowNumber(), partition_by=F("owner"), order_by=[F("created_at"), F("pk")]
    )
    projects = projects.annotate(turn=turn).order_by("turn", "created_at")
    # Likewise between the users who were first to subscribe to a dapp.
    subscribed = Subscription.objects.filter(dapp_url=OuterRef("url")).order_by("pk")
    first = Subquery(subscribed.values("account__user_id")[:1])
    turn = Window(RowNumber(), partition_by=F("first"), order_by=[F("name"), F("pk")])
    ranked = documents.annotate(first=first).annotate(turn=turn)
    taken = _subscribed(user_id, account_pk)
    cards = {card.url: card for card in _cards_of(projects[:MAX_RESULTS], taken)}
    for document in ranked.order_by("turn", "name", "pk")[:MAX_RESULTS]:
        cards.setdefault(document.url, _card_of(document, taken))
    return sorted(
        _with_icons(cards.values()),
        key=lambda card: (not card.is_demo, card.name.lower()),
    )


def _with_icons(cards: Iterable[DappCard]) -> list[DappCard]:
    cards = list(cards)
    found = Icon.objects.digests(card.icon_url for card in cards)
    return [replace(card, icon=found.get(card.icon_url, "")) for card in cards]


def _subscribed(
    user_id: int, account_pk: int | None
) -> dict[str, list[tuple[int, str]]]:
    rows = Subscription.objects.of_user(user_id).active()
    if account_pk is not None:
        rows = rows.filter(account_id=account_pk)
    found: dict[str, list[tuple[int, str]]] = {}
    for url, account, topic in rows.values_list("dapp_url", "account", "topic"):
        found.setdefault(url, []).append((account, topic))
    return found


def _cards_of(
    projects: Iterable[Project], taken: Mapping[str, list[tuple[int, str]]]
) -> list[DappCard]:
    return [
        DappCard(
            url=project.url,
            name=project.name,
            description=project.description,
            types=[
                OfferedType(each.type_id, each.name, each.description)
                for each in project.types.all()
            ],
            is_demo=project.is_demo,
            is_ours=True,
            is_hosted=project.is_hosted,
            subscribed=tuple(taken.get(project.url, ())),
            icon_url=project.icon,
        )
        for project in projects
    ]


def _card_of(
    document: DappDocument, taken: Mapping[str, list[tuple[int, str]]]
) -> DappCard:
    return DappCard(
        url=document.url,
        name=document.name or document.domain,
        description=document.description,
        types=[
            OfferedType(
                each["name"],
                each.get("title") or each["name"],
                str(each.get("description", "")),
            )
            for each in document.types
        ],
        is_kept=document.is_usable,
        subscribed=tuple(taken.get(document.url, ())),
        icon_url=str(document.icons[0]) if document.icons else "",
    )


def card_of_url(user_id: int, url: str) -> DappCard | None:
    """The card of a known dapp by its URL, or None."""
    taken = _subscribed(user_id, None)
    projects = Project.objects.prefetch_related("types").filter(url=url)
    document = DappDocument.objects.filter(url=url).first()
    for card in _cards_of(projects, taken):
        is_kept = document is not None and document.is_usable
        return _with_icons([replace(card, is_kept=is_kept)])[0]
    return _with_icons([_card_of(document, taken)])[0] if document else None
