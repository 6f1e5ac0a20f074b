"""Reading a dapp's did.json and wc-notify-config.json: to subscribe, for domain checks, and
for the proof that a project's domain serves its keys.

There is one reader for all, so that a dapp that passes a check can be subscribed to. It
reports for each rule whether the documents follow it, and what the dapp's owner must change
where they don't. Nothing is stored here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils.translation import gettext_noop

from common import entropy, outbound
from common.outbound import OutboundError, OutboundFailed, is_exempt
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import (
    AppUrl,
    DidWebDocument,
    authentication_of,
    did_key,
    document_id,
    handovers_of,
    is_id_of,
    key_agreement_of,
)
from walletconnect.json_values import parse_document
from walletconnect.notify.config import NotifyConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.outbound import Response
    from walletconnect.json_values import JsonObject

DID_JSON: Final = "did.json"
CONFIG: Final = "wc-notify-config.json"
# Stored in English with the report; the page translates them.
IDENTIFIER: Final = gettext_noop("Identifier")
ENCRYPTION_KEY: Final = gettext_noop("Encryption key (X25519)")
SIGNING_KEY: Final = gettext_noop("Signing key (Ed25519)")
TYPES: Final = gettext_noop("Notification types")
# Request timeout, too early, too many requests: a retry may succeed.
PASSING_STATUSES: Final = frozenset({408, 425, 429})
KEYS_REMEDY: Final = (
    "List two JsonWebKey2020 methods, first X25519 (keyAgreement), then Ed25519 "
    "(authentication), each with publicKeyJwk {kty: OKP, crv, x}, and refer to them "
    "in keyAgreement and authentication."
)
TYPES_REMEDY: Final = (
    'Add "types": [{"name": "updates", "description": "…"}]; a name, or the id if there '
    "is one, has up to 36 letters, digits and . / - _"
)
_MAX_AGE = re.compile(r"max-age=(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. ``state`` is ``ok``, ``failed``, ``warning``, ``skipped``."""

    label: str
    state: str
    text: str = ""
    # What the dapp's owner must change.
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both documents of a dapp, or why there are none and whether a retry may help."""

    url: str
    keep_for: timedelta = timedelta()
    document: DidWebDocument | None = None
    config: NotifyConfig | None = None
    reason: str = ""
    may_pass: bool = False
    checks: tuple[Check, ...] = ()
    # What could be read, even if the whole cannot be used.
    published_keys: DidWebDocument | None = None
    published_config: NotifyConfig | None = None


@dataclass(slots=True)
class _Report:
    """The lines so far; ``on_step`` receives every change."""

    on_step: Callable[[tuple[Check, ...], str], None] | None = None
    checks: list[Check] = field(default_factory=list)
    reason: str = ""
    may_pass: bool = False

    def waits_for(self, label: str) -> None:
        if self.on_step is not None:
            self.on_step(tuple(self.checks), label)

    def ok(self, label: str, text: str) -> None:
        self.checks.append(Check(label, "ok", text))

    def warn(self, label: str, text: str, remedy: str = "") -> None:
        self.checks.append(Check(label, "warning", text, remedy))

    def fail(
        self, label: str, text: str, remedy: str, *, file: str, may_pass: bool = False
    ) -> None:
        self.checks.append(Check(label, "failed", text, remedy))
        if not self.reason:
            self.reason, self.may_pass = f"{file}: {text}", may_pass

    def skip(self, *labels: str) -> None:
        self.checks.extend(Check(label, "skipped") for label in labels)


def read_dapp(
    url: str, *, on_step: Callable[[tuple[Check, ...], str], None] | None = None
) -> Reading:
    """Both documents of the dapp at ``url``. Uses the network.

    With ``on_step``, which receives the lines so far and the document being fetched, the
    second document is read even if the first is invalid: a report covers both.
    """
    app = AppUrl.parse(url)
    report = _Report(on_step)
    answer, members = _get(report, DID_JSON, app)
    document = keys = None
    keep_for = timedelta()
    if answer is None or members is None:
        report.skip(IDENTIFIER, ENCRYPTION_KEY, SIGNING_KEY)
    else:
        keep_for = _good_for(answer)
        is_own = _check_identifier(report, members, app)
        keys = _read_keys(report, members)
        document = keys if is_own else None
    config = None
    if document is not None or on_step is not None:
        config = _read_config(report, app)
    checks = tuple(report.checks)
    found = Reading(url, checks=checks, published_keys=keys, published_config=config)
    if document is None or config is None:
        return replace(found, reason=report.reason, may_pass=report.may_pass)
    return replace(found, keep_for=keep_for, document=document, config=config)


def read_did_document(url: str) -> Reading:
    """Only the did.json below ``url``: a Cast Server has no wc-notify-config.json."""
    report = _Report()
    answer, members = _get(report, DID_JSON, AppUrl.parse(url))
    document = None if members is None else _read_keys(report, members)
    if answer is None or document is None:
        return Reading(url, reason=report.reason, may_pass=report.may_pass)
    return Reading(url, _good_for(answer), document)


def _check_identifier(report: _Report, members: JsonObject, app: AppUrl) -> bool:
    """Whether the document may be this dapp's, and not a copy of another's.

    On an exempt address (development) it may already have the id of its later domain.
    """
    found = document_id(members)
    expected = f"did:web:{app.authority.replace(':', '%3A')}" + app.path.replace(
        "/", ":"
    )
    if is_id_of(found, app):
        report.ok(IDENTIFIER, found)
        return True
    text = f"its id is {found[:255] or 'missing'}; {expected} was expected"
    remedy = f'Write "id": "{expected}" into {DID_JSON}.'
    if not found or is_exempt(app.host):
        report.warn(IDENTIFIER, text, remedy)
        return True
    report.fail(IDENTIFIER, text, remedy, file=DID_JSON)
    return False


def _read_keys(report: _Report, members: JsonObject) -> DidWebDocument | None:
    found: dict[str, bytes] = {}
    for label, read in (
        (ENCRYPTION_KEY, key_agreement_of),
        (SIGNING_KEY, authentication_of),
    ):
        try:
            found[label] = read(members)
        except RemoteProtocolError as error:
            report.fail(label, error.message, KEYS_REMEDY, file=DID_JSON)
    if len(found) < 2:
        return None
    report.ok(ENCRYPTION_KEY, found[ENCRYPTION_KEY].hex())
    report.ok(SIGNING_KEY, did_key(found[SIGNING_KEY]))
    return DidWebDocument(
        document_id(members),
        found[ENCRYPTION_KEY],
        found[SIGNING_KEY],
        handovers=handovers_of(members),
    )


def _read_config(report: _Report, app: AppUrl) -> NotifyConfig | None:
    _, members = _get(report, CONFIG, app)
    if members is None:
        report.skip(TYPES)
        return None
    try:
        config = NotifyConfig.from_value(members)
    except RemoteProtocolError as error:
        report.fail(TYPES, error.message, TYPES_REMEDY, file=CONFIG)
        return None
    names = ", ".join(each.name for each in config.types)
    if config.left_out:
        text = f"{names}; {config.left_out} more cannot be offered"
        report.warn(TYPES, text, TYPES_REMEDY)
    else:
        report.ok(TYPES, names)
    return config


def _get(
    report: _Report, name: str, app: AppUrl
) -> tuple[Response | None, JsonObject | None]:
    """Fetch and parse one JSON document; reports one line with the first failure."""
    url = app.well_known(name)
    report.waits_for(name)
    limits = settings.LIMITS
    try:
        answer = outbound.fetch(
            "GET",
            url,
            max_bytes=limits.document_bytes,
            deadline=limits.document_deadline_s,
        )
    except OutboundFailed as error:
        remedy = f"Make {url} reachable from the internet."
        report.fail(name, str(error), remedy, file=name, may_pass=True)
        return None, None
    except OutboundError as error:
        remedy = (
            f"Serve {url} over https on a public address, in at most "
            f"{limits.document_bytes} bytes."
        )
        report.fail(name, str(error), remedy, file=name)
        return None, None
    if answer.status != 200:
        remedy = (
            f"Answer GET {url} with status 200 and the JSON document; redirects are not "
            "followed."
        )
        text = f"the answer is {answer.status}"
        passing = answer.status >= 500 or answer.status in PASSING_STATUSES
        report.fail(name, text, remedy, file=name, may_pass=passing)
        return None, None
    try:
        members = parse_document(answer.body, name)
    except RemoteProtocolError:
        remedy = f"Serve valid JSON at {url}."
        report.fail(name, "this is not a JSON object", remedy, file=name)
        return answer, None
    report.ok(name, f"{len(answer.body)} bytes of JSON")
    return answer, members


def _good_for(answer: Response) -> timedelta:
    limits = settings.LIMITS
    match = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    wanted = int(match[1]) if match else limits.document_good_max_s
    bounded = min(max(wanted, limits.document_good_min_s), limits.document_good_max_s)
    return timedelta(seconds=entropy.jitter(bounded, share=0.1))
