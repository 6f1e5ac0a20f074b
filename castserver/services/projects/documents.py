"""The documents that wallets read: did.json and wc-notify-config.json.

One form serves all clients. Those of August 2023 take the keys by position, X first; later
ones by the references in ``keyAgreement`` and ``authentication``.

In the list of types ``name`` is the id too: clients of August 2023 put ``name`` into the scope,
a text in which names are separated by spaces. ``displayName`` is for people. The explorer's
answer, which clients of 2024 read instead, has ``id`` and ``name``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from django.conf import settings

from castserver.models import Project, ProjectKeys
from castserver.services.projects.server_keys import public_keys
from common.dapp_urls import NotAnAddress, parse_dapp_url
from walletconnect.identity.did import AppUrl, DidWebDocument, public_key_of
from walletconnect.notify.config import NotifyConfig
from walletconnect.notify.scope import NotificationType as OfferedType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from castserver.models import NotificationType
    from walletconnect.json_values import JsonObject

Document: TypeAlias = "dict[str, object]"


def did_document(project: Project) -> JsonObject:
    """The document with the keys in use; those that they replaced are listed behind."""
    return _did_document(project, project, _previous(project))


def did_document_to_publish(project: Project) -> JsonObject:
    """What the domain has to publish: with the next keys while keys are replaced."""
    made = project.other_keys.filter(state=ProjectKeys.State.NEXT).first()
    if made is None:
        return did_document(project)
    in_use = ProjectKeys(
        public_key_x=project.public_key_x,
        authentication_did=project.authentication_did,
        handover=made.handover,
    )
    return _did_document(project, made, [in_use, *_previous(project)])


def _previous(project: Project) -> list[ProjectKeys]:
    rows = project.other_keys.filter(state=ProjectKeys.State.PREVIOUS)
    return list(rows.order_by("-created_at"))


def _did_document(
    project: Project, keys: Project | ProjectKeys, replaced: list[ProjectKeys]
) -> JsonObject:
    return DidWebDocument(
        did=AppUrl.parse(project.url).did,
        key_agreement=bytes.fromhex(keys.public_key_x),
        authentication=public_key_of(keys.authentication_did),
        replaced=tuple(
            (bytes.fromhex(each.public_key_x), public_key_of(each.authentication_did))
            for each in replaced
        ),
        handovers=tuple(each.handover for each in replaced if each.handover),
    ).to_value()


def server_did_document() -> JsonObject:
    """The did.json of the Cast Server itself, for watchers."""
    keys = public_keys()
    return DidWebDocument(
        did=AppUrl.parse(settings.PUBLIC_URL).did,
        key_agreement=keys.key_agreement,
        authentication=public_key_of(keys.authentication_did),
    ).to_value()


def notify_config(project: Project, types: Iterable[NotificationType]) -> JsonObject:
    return NotifyConfig(
        types=tuple(
            OfferedType(each.name, each.description, id=each.type_id, icon=each.icon)
            for each in types
        ),
        name=project.name,
        description=project.description,
        icons=(project.icon,) if project.icon else (),
        last_modified=int(project.last_modified.timestamp()),
    ).to_value()


def explorer_config(project: Project, types: Iterable[NotificationType]) -> Document:
    """The answer of the explorer API about an app, as clients of 2024 read it."""
    return {
        "data": {
            "id": project.id,
            "name": project.name,
            "description": project.description,
            "homepage": project.url,
            "dapp_url": project.url,
            "image_url": _image_urls(project.icon),
            "notificationTypes": [
                {
                    "id": each.type_id,
                    "name": each.name,
                    "description": each.description,
                    "imageUrls": _image_urls(each.icon or project.icon),
                }
                for each in types
            ],
        }
    }


def _image_urls(icon: str) -> dict[str, str]:
    return dict.fromkeys(("sm", "md", "lg"), icon)


def project_of_domain(domain: str) -> Project | None:
    """The project at ``appDomain`` (host, port, path) or at a URL.

    Of several claimants the one whose domain serves its keys, else the oldest.
    """
    try:
        named = parse_dapp_url(domain).domain
    except NotAnAddress:
        return None
    urls = [f"{scheme}://{named}" for scheme in ("https", "http")]
    found = Project.objects.filter(url__in=urls)
    return found.order_by(*Project.PROVEN_FIRST, "-url", "created_at").first()
