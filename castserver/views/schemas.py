"""Requests and responses of the Cast API, as its OpenAPI description shows them.

Spec: servers/notify/notify-server-api.md. Servers of different years named some members
differently; responses carry all names.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from common.dapp_urls import MAX_DAPP_URL, parse_dapp_url
from common.links import check_link
from common.outbound import OutboundRefused, check_url
from common.outbound_urls import MAX_URL
from walletconnect.notify.values import NotifyMessage

LIMITS = settings.LIMITS

# Any text on one line; a body may have more lines.
LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
TYPE_NAME = r"^[A-Za-z0-9_./-]{1,36}$"
# Addresses are validated by ``common``. The patterns only describe to readers of the API
# description what it accepts: OpenAPI has no format for "https address of a public host".
HOST_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
HOST = rf"({HOST_LABEL}\.){{1,6}}[A-Za-z]([A-Za-z0-9-]{{0,30}}[A-Za-z0-9])?"
PORT = r"(:(6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
PATH = r"(/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_.~!$&'()*+,;=:@-]*)*/?"
QUERY = r"(\?[A-Za-z0-9_.~!$&'()*+,;=:@/?%-]*)?"
WEB_URL = rf"^https?://{HOST}{PORT}{PATH}{QUERY}$"
DOMAIN = rf"^{HOST}{PORT}{PATH}$"
LINK_URL = rf"https://{HOST}{PORT}{PATH}{QUERY}"


def _dapp_address(text: str) -> str:
    parse_dapp_url(text)
    return text


def _outside_address(text: str) -> str:
    try:
        check_url(text)
    except OutboundRefused as error:
        raise ValueError(str(error)) from None
    return text


def _link(text: str) -> str:
    check_link(text)
    return text


def _described(pattern: str, max_length: int) -> Any:
    return Field(json_schema_extra={"pattern": pattern, "maxLength": max_length})


def _optional_link(text: str) -> str:
    return _link(text) if text else text


_LINK_PATTERN = Field(json_schema_extra={"pattern": f"^{LINK_URL}$"})
_MAYBE_PATTERN = Field(json_schema_extra={"pattern": f"^({LINK_URL})?$"})

Link = Annotated[
    str,
    Field(min_length=1, max_length=LIMITS.url_chars),
    AfterValidator(_link),
    _LINK_PATTERN,
]
Icon = Annotated[
    str,
    Field(min_length=1, max_length=LIMITS.icon_chars),
    AfterValidator(_link),
    _LINK_PATTERN,
]
MaybeLink = Annotated[
    str,
    Field(max_length=LIMITS.url_chars),
    AfterValidator(_optional_link),
    _MAYBE_PATTERN,
]
MaybeIcon = Annotated[
    str,
    Field(max_length=LIMITS.icon_chars),
    AfterValidator(_optional_link),
    _MAYBE_PATTERN,
]
Line = Annotated[str, Field(pattern=LINE)]
TypeName = Annotated[str, Field(pattern=TYPE_NAME, examples=["alerts"])]
Account = Annotated[
    str,
    Field(
        min_length=1,
        max_length=168,
        pattern=LINE,
        examples=["eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb"],
    ),
]


class Value(BaseModel):
    """Strict types: a number is not accepted as text, nor text as a number."""

    model_config = ConfigDict(strict=True)


class Problem(BaseModel):
    """RFC 9457, with the members ``reason`` and ``error`` of the earlier servers.

    Responses with 503 have neither.
    """

    type: str
    title: str
    status: int
    detail: str
    reason: str | None = None
    error: str | None = None
    field: str | None = None
    requestId: str | None = None


# --- keys -----------------------------------------------------------------------------


DappUrl = Annotated[
    str, AfterValidator(_dapp_address), _described(WEB_URL, MAX_DAPP_URL)
]
AppDomain = Annotated[
    str, AfterValidator(_dapp_address), _described(DOMAIN, MAX_DAPP_URL)
]


class SubscribeTopicIn(Value):
    """The address of the dapp, as ``dappUrl`` or else as ``appDomain``.

    Without one the known address stays.
    """

    dappUrl: DappUrl | None = None
    appDomain: AppDomain | None = None


class SubscribeTopicOut(BaseModel):
    """The public keys of a dapp, hex: X, and the Ed25519 authentication key."""

    publicKey: str
    identityPublicKey: str
    subscribeTopicPublicKey: str
    authenticationKey: str
    subscribeKey: str
    subscribeTopic: str


class PublicKeyOut(BaseModel):
    publicKey: str


# --- notifications --------------------------------------------------------------------


class NotificationIn(Value):
    type: TypeName
    title: Annotated[
        str, Field(min_length=1, max_length=LIMITS.title_chars, pattern=LINE)
    ]
    body: Annotated[
        str, Field(min_length=1, max_length=LIMITS.body_chars, pattern=TEXT)
    ]
    # May be empty: dapps of 2023 and the tests of notify-client send them so.
    icon: MaybeIcon | None = None
    url: MaybeLink | None = None

    def message(self) -> NotifyMessage:
        return NotifyMessage(**self.model_dump(exclude_none=True))


class NotificationV1In(NotificationIn):
    """Icon and link are present or absent, never empty, as on the server of 2024."""

    icon: Icon | None = None
    url: Link | None = None


Accounts = Annotated[list[Account], Field(max_length=LIMITS.notify_accounts)]
NotificationId = Annotated[str, Field(min_length=1, max_length=255, pattern=LINE)]


class NotifyIn(Value):
    notification: NotificationIn
    accounts: Accounts
    notification_id: NotificationId | None = None


class NotifyV1In(NotifyIn):
    notification: NotificationV1In


class FailedOut(BaseModel):
    account: str
    reason: str


class NotifyOut(BaseModel):
    """Where the notification went; ``notFound`` and ``not_found`` are the same list."""

    sent: list[str]
    failed: list[FailedOut]
    notFound: list[str]
    not_found: list[str]


class WelcomeValue(Value):
    enabled: bool
    type: TypeName
    title: Annotated[
        str, Field(min_length=1, max_length=LIMITS.title_chars, pattern=LINE)
    ]
    body: Annotated[
        str, Field(min_length=1, max_length=LIMITS.body_chars, pattern=TEXT)
    ]
    url: Link | None = None

    def message(self) -> NotifyMessage:
        members = self.model_dump(exclude_none=True, exclude={"enabled"})
        return NotifyMessage(**members)


# --- subscribers ----------------------------------------------------------------------


class SubscribersIn(Value):
    accounts: Annotated[list[Account], Field(min_length=1, max_length=100)]


class SubscriberOut(BaseModel):
    notification_types: list[str]


# --- types ----------------------------------------------------------------------------


class TypeIn(Value):
    """Scopes and notifications carry ``id``; ``name`` (default: the id) is shown."""

    id: TypeName
    name: Annotated[str, Field(max_length=64, pattern=LINE)] | None = None
    description: Annotated[str, Field(max_length=255, pattern=LINE)] | None = None
    icon: MaybeIcon | None = None


class TypeOut(BaseModel):
    id: str
    name: str
    description: str
    icon: str


# --- webhooks -------------------------------------------------------------------------

EventName = Literal["subscribed", "unsubscribed"]


def _webhook_pattern() -> str:
    rest = f"{PATH}{QUERY}"
    forms = [f"https://{HOST}(:443)?{rest}"]
    hosts = (f"[{name}]" if ":" in name else name for name in settings.OUTBOUND_ALLOW)
    exempt = "|".join(re.escape(host) for host in hosts)
    if exempt:
        forms.append(f"https?://({exempt}){PORT}{rest}")
    return f"^({'|'.join(forms)})$"


WebhookUrl = Annotated[
    str, AfterValidator(_outside_address), _described(_webhook_pattern(), MAX_URL)
]


class WebhookIn(Value):
    """``url`` is the specification's name for ``webhook``; either is accepted."""

    events: Annotated[list[EventName], Field(min_length=1, max_length=2)]
    webhook: WebhookUrl

    @model_validator(mode="before")
    @classmethod
    def _accept_both_names(cls, value: Any) -> Any:
        if isinstance(value, dict) and "webhook" not in value and "url" in value:
            return {**value, "webhook": value["url"]}
        return value


class RegisteredOut(BaseModel):
    """``secret`` signs what is sent (Standard Webhooks); it is not shown again."""

    id: str
    secret: str


class WebhookOut(BaseModel):
    url: str
    webhook: str
    events: list[str]


class Health(BaseModel):
    status: str
