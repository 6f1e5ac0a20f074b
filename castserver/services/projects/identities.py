"""Signing identities of dapps and of the Cast Server, read from rows and keychain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

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
    topics = [each.subscribe_topic for each in found.values()]
    pairs = {str(topic): pair for topic, pair in key_pairs(Holder.CAST, topics).items()}
    keys = signing_keys(
        Holder.CAST, [each.authentication_did for each in found.values()]
    )
    allowed = allowed_keys_servers()
    identities = {}
    for project in found.values():
        pair = pairs.get(project.subscribe_topic)
        key = keys.get(project.authentication_did)
        if pair is not None and key is not None:
            identities[project.pk] = DappIdentity(
                url=AppUrl.parse(project.url),
                key=key,
                key_pair_x=pair,
                allowed_keys_servers=allowed,
            )
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
