"""Signing identities of dapps and of the Cast Server, read from rows and keychain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from castserver.models import ProjectKeys
from castserver.services.projects.server_keys import authentication_key, public_keys
from identity.services import own_keys_servers
from keychain.services import Holder, key_pairs, signing_keys
from walletconnect.identity.did import AppUrl
from walletconnect.notify.parties import DappIdentity
from walletconnect.notify.watch import NotifyServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from castserver.models import Project


def allowed_keys_servers() -> frozenset[str]:
    """The accepted values of the claim `ksu`: each key server with and without a slash."""
    bases = {url.rstrip("/") for url in settings.ALLOWED_KEYS_SERVERS}
    bases |= own_keys_servers()
    return frozenset(bases | {f"{base}/" for base in bases})


def dapp_identities(projects: Iterable[Project]) -> dict[str, DappIdentity]:
    """By project id. A project whose keys cannot be opened is left out."""
    found = {project.pk: project for project in projects}
    others = list(ProjectKeys.objects.filter(project_id__in=list(found)))
    rows: list[Project | ProjectKeys] = [*found.values(), *others]
    opened = key_pairs(Holder.CAST, [each.subscribe_topic for each in rows])
    pairs = {str(topic): pair for topic, pair in opened.items()}
    keys = signing_keys(Holder.CAST, [each.authentication_did for each in rows])
    allowed = allowed_keys_servers()

    def identity(
        project: Project,
        row: Project | ProjectKeys,
        others: tuple[DappIdentity, ...] = (),
    ) -> DappIdentity | None:
        pair = pairs.get(row.subscribe_topic)
        key = keys.get(row.authentication_did)
        if pair is None or key is None:
            return None
        return DappIdentity(
            url=AppUrl.parse(project.url),
            key=key,
            key_pair_x=pair,
            allowed_keys_servers=allowed,
            others=others,
        )

    replaced: dict[str, list[DappIdentity]] = {}
    for row in others:
        other = identity(found[row.project_id], row)
        if other is not None:
            replaced.setdefault(row.project_id, []).append(other)
    identities = {}
    for pk, project in found.items():
        made = identity(project, project, tuple(replaced.get(pk, [])))
        if made is not None:
            identities[pk] = made
    return identities


def notify_server() -> NotifyServer | None:
    """The Cast Server's own identity, or None if its keys cannot be opened."""
    keys = public_keys()
    pairs = list(key_pairs(Holder.CAST, [keys.watch_topic]).values())
    if not pairs:
        return None
    return NotifyServer(
        key=authentication_key(),
        key_pair=pairs[0],
        allowed_keys_servers=allowed_keys_servers(),
    )
