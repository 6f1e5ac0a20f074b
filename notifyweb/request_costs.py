"""What a request of each route costs: the token bucket that ``middleware.RequestCosts`` takes
a token from before the view runs.

One table. A test walks the URL configuration and fails for a route that is not in it. Buckets
that depend on what a request names (the project of a secret, the topic of a message) are
consumed where that is known: ``cast_call``, ``notify_project``, ``domain_check``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.contrib.auth import SESSION_KEY

from common.clients import rate_key

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import ResolverMatch


@dataclass(frozen=True, slots=True)
class Cost:
    """Names of limits for reading and for all other methods; an empty one is free.

    Counted per signed-in user, else per client address; ``by_address``: always per address.
    """

    read: str
    write: str
    by_address: bool = False

    def limit(self, method: str | None) -> str:
        if method == "OPTIONS":
            return ""
        return self.read if method in ("GET", "HEAD") else self.write


# Served from memory, without the database.
FREE: Final = Cost("", "")
PAGE: Final = Cost("page_read", "page_write")
# The request makes this server call another one.
OUTBOUND: Final = Cost("page_read", "outbound_request")
SIGNATURE: Final = Cost("page_read", "signature_check")
DOCUMENT: Final = Cost("document_read", "document_read", by_address=True)

# By ``namespace:name`` of the route; ``namespace:*`` holds for routes without a row.
COSTS: Final[dict[str, Cost]] = {
    # Whatever the number of callers, at most one check of each kind runs at once.
    "healthz": FREE,
    "health": FREE,
    "livez": FREE,
    "readyz": FREE,
    "metrics": FREE,
    # Keys Server, History Server, Cast Server
    "identity:*": Cost("identity_read", "identity_register", by_address=True),
    "history:*": Cost("history_read", "history_read", by_address=True),
    "castserver:*": Cost("cast_request", "cast_request", by_address=True),
    "castserver:openapi-json": Cost("description_read", "", by_address=True),
    "castserver:openapi-view": Cost("description_read", "", by_address=True),
    "castserver:server-did-document": DOCUMENT,
    "castserver:cast-did-document": DOCUMENT,
    "castserver:explorer-config": DOCUMENT,
    "castserver:did-document": DOCUMENT,
    "castserver:notify-config": DOCUMENT,
    # A password is hashed for each attempt, which takes a large part of a second.
    "admin:login": Cost("page_read", "admin_sign_in", by_address=True),
    "admin:*": PAGE,
    # For staff. The doctor connects to other servers; a job or a retry calls them.
    "operations:overview": PAGE,
    "operations:failed": PAGE,
    "operations:failed-act": OUTBOUND,
    "operations:replay": OUTBOUND,
    "operations:jobs": PAGE,
    "operations:job-run": OUTBOUND,
    "operations:storage": PAGE,
    "operations:audit": PAGE,
    "operations:doctor": Cost("outbound_request", ""),
    # Start, signing in
    "dashboard:landing": PAGE,
    "dashboard:problem": PAGE,
    "dashboard:problems": PAGE,
    "dashboard:demo": PAGE,
    "dashboard:demo-collide": PAGE,
    "dashboard:demo-online": PAGE,
    "dashboard:join": PAGE,
    "dashboard:offline": PAGE,
    "dashboard:dapp": PAGE,
    "dashboard:sign-in": PAGE,
    "dashboard:sign-in-again": PAGE,
    "dashboard:sign-in-begin": Cost("page_read", "sign_in_begin", by_address=True),
    "dashboard:sign-in-prove": Cost("page_read", "signature_check", by_address=True),
    "dashboard:sign-in-share": SIGNATURE,
    "dashboard:new-group": SIGNATURE,
    "dashboard:new-epoch": SIGNATURE,
    # Also ``device_link_begin``, and ``device_link_try`` for each code that is entered.
    "dashboard:link-show": PAGE,
    "dashboard:link-state": PAGE,
    "dashboard:key-ask": PAGE,
    "dashboard:key-give": PAGE,
    "dashboard:link-confirm": PAGE,
    "dashboard:sign-text": PAGE,
    "dashboard:sign-in-phone": PAGE,
    "dashboard:sign-in-phone-code": Cost("", "sign_in_begin", by_address=True),
    "dashboard:sign-in-phone-end": PAGE,
    "dashboard:sign-out": PAGE,
    # Inbox and subscriptions
    "dashboard:inbox": PAGE,
    "dashboard:inbox-act": PAGE,
    "dashboard:message-actions": PAGE,
    "dashboard:icon": DOCUMENT,
    "dashboard:filter-save": PAGE,
    "dashboard:filter-remove": PAGE,
    "dashboard:message": PAGE,
    "dashboard:live-events": PAGE,
    "dashboard:subscription-list": PAGE,
    "dashboard:attempt": PAGE,
    "dashboard:subscription": PAGE,
    "dashboard:subscription-update": PAGE,
    "dashboard:subscription-delete": PAGE,
    "dashboard:subscription-keys": PAGE,
    "dashboard:subscription-mute": PAGE,
    "dashboard:dapp-block": PAGE,
    "dashboard:dapp-unblock": PAGE,
    "dashboard:discover": PAGE,
    # Also ``domain_check`` and ``subscribe_client``.
    "dashboard:discover-choose": PAGE,
    "dashboard:domain-check": PAGE,
    "dashboard:subscribe": PAGE,
    # Devices and settings
    "dashboard:device-list": PAGE,
    "dashboard:device-revoke-others": PAGE,
    "dashboard:device-rename": PAGE,
    "dashboard:device-revoke": PAGE,
    "dashboard:sync": PAGE,
    "dashboard:sync-export": Cost("export_read", ""),
    "dashboard:sync-verify": Cost("export_read", ""),
    "dashboard:settings": PAGE,
    "dashboard:theme": PAGE,
    "dashboard:account-label": PAGE,
    "dashboard:account-remove": PAGE,
    # Export and import
    "dashboard:data": PAGE,
    "dashboard:data-export": Cost("page_read", "export_read"),
    "dashboard:data-csv": Cost("export_read", ""),
    "dashboard:data-import": Cost("page_read", "import_write"),
    "dashboard:data-preview": Cost("page_read", "import_write"),
    # Alerts
    "dashboard:quiet-hours": PAGE,
    "dashboard:push-enable": OUTBOUND,
    "dashboard:push-disable": PAGE,
    "dashboard:push-test": OUTBOUND,
    "dashboard:forward-add": OUTBOUND,
    "dashboard:forward-act": OUTBOUND,
    # Also ``digest_confirmation_…``, because the mail goes to an unconfirmed address.
    "dashboard:digest": OUTBOUND,
    "dashboard:digest-confirm": PAGE,
    "dashboard:digest-stop": PAGE,
    "dashboard:manifest": FREE,
    "dashboard:service-worker": FREE,
    "dashboard:catalog": FREE,
    # The console
    "dashboard:console": PAGE,
    "dashboard:project-new": Cost("page_read", "project_create"),
    "dashboard:secret-stored": PAGE,
    "dashboard:project": PAGE,
    "dashboard:project-close": PAGE,
    # Also ``domain_check``, for a check of the domain.
    "dashboard:project-setup": PAGE,
    "dashboard:project-setup-step": PAGE,
    "dashboard:project-domain": PAGE,
    "dashboard:project-document": PAGE,
    # Also ``recipient_upload``, for each project.
    "dashboard:accounts-upload": Cost("", "import_write"),
    "dashboard:project-lists": PAGE,
    "dashboard:list-delete": PAGE,
    "dashboard:project-scheduled": PAGE,
    "dashboard:broadcast-retry": PAGE,
    "dashboard:project-templates": PAGE,
    "dashboard:template-new": PAGE,
    "dashboard:template-edit": PAGE,
    "dashboard:project-welcome": PAGE,
    # Also ``notify_project``.
    "dashboard:project-send": PAGE,
    "dashboard:project-sent": PAGE,
    "dashboard:broadcast-cancel": PAGE,
    "dashboard:project-subscribers": PAGE,
    "dashboard:project-subscribers-csv": Cost("export_read", ""),
    "dashboard:project-types": PAGE,
    "dashboard:project-keys": PAGE,
    "dashboard:project-secret-add": PAGE,
    "dashboard:project-secret-replace": PAGE,
    "dashboard:project-secret-revoke": PAGE,
    "dashboard:project-webhooks": PAGE,
    "dashboard:project-webhook": OUTBOUND,
    "dashboard:project-webhook-replay": OUTBOUND,
    "dashboard:project-webhook-replay-range": OUTBOUND,
    "dashboard:project-webhook-rotate": PAGE,
    "dashboard:project-settings": PAGE,
    "dashboard:project-rotation": PAGE,
    # Also ``project_invite``, for each invitation.
    "dashboard:project-members": PAGE,
    "dashboard:project-leave": PAGE,
    "dashboard:member-role": PAGE,
    "dashboard:member-remove": PAGE,
    "dashboard:member-hand-over": PAGE,
    "dashboard:invitation-withdraw": PAGE,
    "dashboard:invitation": PAGE,
}


def cost_of(match: ResolverMatch) -> Cost | None:
    return COSTS.get(match.view_name) or COSTS.get(f"{match.namespace}:*")


def payer(request: HttpRequest, cost: Cost) -> str:
    """The key of the bucket. Reads the session only, which pages need anyway."""
    user_id = None if cost.by_address else request.session.get(SESSION_KEY)
    return f"ip:{rate_key(request)}" if user_id is None else f"user:{user_id}"
