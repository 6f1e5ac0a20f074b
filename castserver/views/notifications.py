"""REST calls that send notifications and read subscribers.

Spec: servers/notify/notify-server-api.md, "Notify".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Body, Path  # noqa: TC002  # read at run time
from pydantic import Field

from castserver.models import SecretScope
from castserver.services.errors import Invalid, Missing
from castserver.services.idempotency import Outcome
from castserver.services.notifications import read_state, welcome
from castserver.services.notifications.notify import NotifyOutcome, notify
from castserver.services.subscribers import queries
from castserver.views import schemas
from castserver.views.api import api, project_of, served
from castserver.views.idempotency import answer_once
from common.public_api import enforce_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from castserver.models import Project

NotifyList = Annotated[list[schemas.NotifyV1In], Field(max_length=100)]
NOTIFY_ANSWERS = {200: schemas.NotifyOut, 409: schemas.Problem}


@api.get(
    "/v1/notification/{delivery_id}",
    auth=None,
    response={307: None, 404: schemas.Problem, 429: schemas.Problem},
    operation_id="follow_link",
    summary="Follow the link of a notification",
    tags=["Notifications"],
)
def follow_link(request: HttpRequest, delivery_id: Path[str]) -> Any:
    """Redirects to the link, and counts. For projects that count clicks."""
    enforce_rate("notify_list", f"link {delivery_id}")
    url = read_state.open_link(delivery_id)
    if url is None:
        raise Missing("that link was not found")
    return HttpResponse(status=307, headers={"Location": url})


@served(
    "POST",
    "notify",
    response=NOTIFY_ANSWERS,
    idempotent=True,
    limit=None,
    scope=SecretScope.SEND,
    summary="Send a notification",
    tags=["Notifications"],
)
def post_notify(request: HttpRequest, call: schemas.NotifyIn) -> Any:
    """Every account is in one list of the answer, as it was given."""
    project = project_of(request)
    return _notify(request, project, [call])


@served(
    "POST",
    "notify",
    versions=("v1",),
    response=NOTIFY_ANSWERS,
    idempotent=True,
    limit=None,
    scope=SecretScope.SEND,
    summary="Send several notifications",
    tags=["Notifications"],
)
def post_notify_v1(request: HttpRequest, calls: Body[NotifyList]) -> Any:
    """At most 500 accounts in all. A repeated `notification_id` adds accounts only."""
    return _notify(request, project_of(request), calls)


def _notify(
    request: HttpRequest, project: Project, calls: Sequence[schemas.NotifyIn]
) -> HttpResponse:
    most = settings.LIMITS.notify_accounts
    if sum(len(call.accounts) for call in calls) > most:
        raise Invalid(f"a call names at most {most} accounts", field="accounts")

    def work() -> Outcome:
        # Inside, because a repeat with the same Idempotency-Key uses up no quota.
        enforce_rate("notify_project", project.pk, request=request)
        outcomes = [
            notify(
                project,
                call.notification.message(),
                call.accounts,
                notification_id=call.notification_id or "",
            )
            for call in calls
        ]
        return Outcome(200, _response_value(outcomes))

    return answer_once(request, project, work=work)


def _response_value(outcomes: list[NotifyOutcome]) -> dict[str, object]:
    not_found = [text for each in outcomes for text in each.not_found]
    return {
        "sent": [text for each in outcomes for text in each.sent],
        "failed": [
            {"account": failure.account, "reason": failure.reason}
            for each in outcomes
            for failure in each.failed
        ],
        "notFound": not_found,
        "not_found": not_found,
    }


# --- subscribers ----------------------------------------------------------------------


@served(
    "GET",
    "subscribers",
    response={200: list[str]},
    scope=SecretScope.SUBSCRIBERS,
    summary="All subscribed accounts",
    tags=["Subscribers"],
)
def get_subscribers(request: HttpRequest) -> Any:
    return queries.accounts_of(project_of(request))


@served(
    "POST",
    "subscribers",
    versions=("v1",),
    response={200: dict[str, schemas.SubscriberOut]},
    scope=SecretScope.SUBSCRIBERS,
    summary="The types that accounts allow",
    tags=["Subscribers"],
)
def post_subscribers(request: HttpRequest, asked: schemas.SubscribersIn) -> Any:
    """Accounts that are not subscribed are left out."""
    scopes = queries.scopes_of(project_of(request), asked.accounts)
    return {account: {"notification_types": scope} for account, scope in scopes.items()}


# --- welcome and read state -----------------------------------------------------------


@served(
    "GET",
    "welcome-notification",
    response={200: schemas.WelcomeValue | None},
    scope=SecretScope.SEND,
    summary="What new subscribers are sent",
    tags=["Notifications"],
)
def get_welcome_notification(request: HttpRequest) -> Any:
    found = welcome.welcome_of(project_of(request))
    if found is None:
        return None
    return {
        "enabled": found.enabled,
        "type": found.type,
        "title": found.title,
        "body": found.body,
        "url": found.url or None,
    }


@served(
    "POST",
    "welcome-notification",
    response={204: None},
    scope=SecretScope.SEND,
    summary="Set what new subscribers are sent",
    tags=["Notifications"],
)
def post_welcome_notification(request: HttpRequest, value: schemas.WelcomeValue) -> Any:
    welcome.set_welcome(project_of(request), value.message(), enabled=value.enabled)
    return HttpResponse(status=204)


@served(
    "GET",
    "mark-all-as-read",
    versions=("v1",),
    response={204: None},
    scope=SecretScope.SEND,
    summary="Mark all notifications as read",
    tags=["Notifications"],
)
def mark_all_as_read(request: HttpRequest) -> Any:
    """For every subscriber of the project."""
    read_state.mark_all_as_read(project_of(request))
    return HttpResponse(status=204)


@api.get(
    "/health",
    auth=None,
    response={200: schemas.Health},
    operation_id="health",
    summary="Whether the server answers",
    tags=["Server"],
)
def health(request: HttpRequest) -> Any:
    return {"status": "ok"}
