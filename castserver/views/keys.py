"""``subscribe-topic`` and ``authentication-key``: the public keys of a dapp.

GET in the specification, POST with the dapp's address in the servers that were deployed.
Both are idempotent, and the keys never change.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest  # noqa: TC002  # read at run time

from castserver.models import Project, SecretScope
from castserver.services.projects import projects
from castserver.views import schemas
from castserver.views.api import project_of, require_scope, served
from walletconnect.identity.did import public_key_of


def _keys(project: Project) -> dict[str, str]:
    authentication = public_key_of(project.authentication_did).hex()
    return {
        "publicKey": project.public_key_x,
        "identityPublicKey": authentication,
        "subscribeTopicPublicKey": project.public_key_x,
        "authenticationKey": authentication,
        "subscribeKey": project.public_key_x,
        "subscribeTopic": project.subscribe_topic,
    }


@served(
    "GET",
    "subscribe-topic",
    response={200: schemas.SubscribeTopicOut},
    summary="The key X to put into did.json",
    tags=["Keys"],
)
def get_subscribe_topic(request: HttpRequest) -> Any:
    return _keys(project_of(request))


@served(
    "POST",
    "subscribe-topic",
    response={200: schemas.SubscribeTopicOut, 409: schemas.Problem},
    summary="The key X, and the address of the dapp",
    tags=["Keys"],
)
def post_subscribe_topic(
    request: HttpRequest, address: schemas.SubscribeTopicIn | None = None
) -> Any:
    """With `dappUrl` or `appDomain` the dapp's address is set or changed."""
    project = project_of(request)
    if address is not None and (address.dappUrl or address.appDomain):
        require_scope(request, SecretScope.PROJECT)
    if address is not None and address.dappUrl:
        project = projects.set_url(project, address.dappUrl)
    elif address is not None and address.appDomain:
        project = projects.set_domain(project, address.appDomain)
    return _keys(project)


@served(
    "GET",
    "authentication-key",
    response={200: schemas.PublicKeyOut},
    summary="The key that signs notifications",
    tags=["Keys"],
)
def get_authentication_key(request: HttpRequest) -> Any:
    return {
        "publicKey": public_key_of(project_of(request).authentication_did).hex(),
    }
