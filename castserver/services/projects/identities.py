"""The voices of dapps, whose keys we hold: from rows to what the core signs with."""

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
    from walletconnect.crypto.keys import Topic


def allowed_keys_servers() -> frozenset[str]:
    """The key servers whose word about identities we ask for, as tokens may spell them."""
    bases = {url.rstrip("/") for url in settings.ALLOWED_KEYS_SERVERS}
    bases |= own_keys_servers()
    return frozenset(bases | {f"{base}/" for base in bases})


def dapp_identities(projects: Iterable[Project]) -> dict[str, DappIdentity]:
    """By project id. A project whose keys do not open is left out."""
    found = {project.pk: project for project in projects}
    pairs = key_pairs(Holder.CAST, [each.subscribe_topic for each in found.values()])
    keys = signing_keys(
        Holder.CAST, [each.authentication_did for each in found.values()]
    )
    allowed = allowed_keys_servers()
    identities = {}
    for project in found.values():
        pair = pairs.get(_topic(project.subscribe_topic))
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
    """The voice of the Cast Server itself, or None if its keys do not open."""
    keys = public_keys()
    topic = _topic(keys.watch_topic)
    pair = key_pairs(Holder.CAST, [topic]).get(topic)
    if pair is None:
        return None
    return NotifyServer(
        key=authentication_key(),
        key_pair=pair,
        allowed_keys_servers=allowed_keys_servers(),
    )


def _topic(text: str) -> Topic:
    # A column of ours that a topic was written to.
    return text  # type: ignore[return-value]
