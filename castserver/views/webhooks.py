"""REST calls that register, list, change and delete webhooks.

Spec: servers/notify/notify-server-api.md, "Webhooks".
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Path  # noqa: TC002  # read at run time

from castserver.models import SecretScope
from castserver.services.idempotency import Outcome
from castserver.services.webhooks import webhooks
from castserver.views import schemas
from castserver.views.api import project_of, served
from castserver.views.idempotency import answer_once


@served(
    "POST",
    "register-webhook",
    response={201: schemas.RegisteredOut, 409: schemas.Problem},
    idempotent=True,
    scope=SecretScope.WEBHOOKS,
    summary="Register a webhook",
    tags=["Webhooks"],
)
def register_webhook(request: HttpRequest, webhook: schemas.WebhookIn) -> Any:
    project = project_of(request)

    def work() -> Outcome:
        made, secret = webhooks.register_webhook(
            project, webhook.webhook, events=webhook.events
        )
        return Outcome(201, {"id": str(made.pk), "secret": secret})

    return answer_once(request, project, work=work)


@served(
    "GET",
    "webhooks",
    response={200: dict[str, schemas.WebhookOut]},
    scope=SecretScope.WEBHOOKS,
    summary="All webhooks by id",
    tags=["Webhooks"],
)
def list_webhooks(request: HttpRequest) -> Any:
    return {
        str(each.pk): {"url": each.url, "webhook": each.url, "events": each.events}
        for each in project_of(request).webhooks.order_by("created_at")
    }


@served(
    "PUT",
    "webhooks/{webhook_id}",
    response={204: None, 404: schemas.Problem},
    scope=SecretScope.WEBHOOKS,
    summary="Change a webhook",
    tags=["Webhooks"],
)
def update_webhook(
    request: HttpRequest, webhook_id: Path[str], webhook: schemas.WebhookIn
) -> Any:
    webhooks.update_webhook(
        project_of(request), webhook_id, url=webhook.webhook, events=webhook.events
    )
    return HttpResponse(status=204)


@served(
    "DELETE",
    "webhooks/{webhook_id}",
    response={204: None},
    scope=SecretScope.WEBHOOKS,
    summary="Delete a webhook",
    tags=["Webhooks"],
)
def delete_webhook(request: HttpRequest, webhook_id: Path[str]) -> Any:
    """Idempotent: deleting a webhook that does not exist is no error."""
    webhooks.delete_webhook(project_of(request), webhook_id)
    return HttpResponse(status=204)
