"""The report on a domain before anybody subscribes: each document, each rule, in words.

Reads what a wallet would read (the did:web document and the list of types) through the
guarded client, and says of each rule what the dapp's owner must change. Nothing is stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from dashboard.pages.discover import DappCard, OfferedType
from groundwork import outbound
from walletconnect.errors import ProtocolError
from walletconnect.identity.did import DidWebDocument, did_key

if TYPE_CHECKING:
    from collections.abc import Mapping

DID_PATH: Final = "/.well-known/did.json"
CONFIG_PATH: Final = "/.well-known/wc-notify-config.json"
LONGEST_URL: Final = 255
TYPE_NAME: Final = re.compile(r"[\w/.-]{1,36}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Check:
    """``state`` is ``ok``, ``failed``, ``warning`` or ``skipped``."""

    label: str
    state: str
    text: str = ""
    # What the dapp's owner must change.
    remedy: str = ""


@dataclass(slots=True)
class DomainReport:
    url: str
    checks: list[Check] = field(default_factory=list)
    name: str = ""
    description: str = ""
    types: list[OfferedType] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(
            check.state in {"ok", "warning"} for check in self.checks
        )

    def as_card(self) -> DappCard:
        """The dapp as the directory would show it."""
        name = self.name or urlsplit(self.url).netloc
        return DappCard(self.url, name, self.description, self.types)

    def ok(self, label: str, text: str = "") -> None:
        self.checks.append(Check(label, "ok", text))

    def warn(self, label: str, text: str) -> None:
        self.checks.append(Check(label, "warning", text))

    def fail(self, label: str, text: str, remedy: str = "") -> None:
        self.checks.append(Check(label, "failed", text, remedy))

    def skip(self, *labels: str) -> None:
        self.checks.extend(Check(label, "skipped") for label in labels)


class NotAnAddress(ValueError):
    """What was entered names no dapp."""


def normalised_dapp_url(text: str) -> str:
    """``app.example`` and ``https://app.example/`` are the same dapp."""
    text = text.strip()
    if "://" not in text:
        is_local = text.partition(":")[0].partition("/")[0] in settings.OUTBOUND_ALLOW
        text = f"{'http' if is_local else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise NotAnAddress from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
        raise NotAnAddress
    if parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise NotAnAddress
    url = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    if len(url) > LONGEST_URL or (
        "." not in host and host not in settings.OUTBOUND_ALLOW
    ):
        raise NotAnAddress
    return url


def check_domain(url: str) -> DomainReport:
    report = DomainReport(url)
    document = _document(report, DID_PATH, "did.json")
    if document is None:
        report.skip("Identifier", "Encryption key (X25519)", "Signing key (Ed25519)")
    else:
        _check_identifier(report, document)
        _check_keys(report, document)
    config = _document(report, CONFIG_PATH, "wc-notify-config.json")
    if config is None:
        report.skip("Notification types")
    else:
        _check_types(report, config)
    return report


def _document(report: DomainReport, path: str, name: str) -> Mapping[str, Any] | None:
    """Fetch and read one JSON document; reports one line on where it stopped."""
    limits = settings.LIMITS
    try:
        answer = outbound.fetch(
            "GET",
            report.url + path,
            max_bytes=limits.document_bytes,
            deadline=limits.document_deadline_s,
        )
    except outbound.OutboundRefused as error:
        report.fail(
            name,
            f"Not fetched: {error}.",
            f"Serve {path} over https on a public address.",
        )
        return None
    except outbound.OutboundFailed as error:
        report.fail(
            name,
            f"No answer: {error}.",
            f"Make {report.url}{path} reachable from the internet.",
        )
        return None
    if not answer.ok:
        report.fail(
            name,
            f"The server answered {answer.status}.",
            f"Answer GET {path} with status 200 and the JSON document; redirects are not followed.",
        )
        return None
    try:
        value = answer.json()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        report.fail(name, "This is not a JSON object.", f"Serve valid JSON at {path}.")
        return None
    report.ok(name, f"{len(answer.body)} bytes of JSON")
    return value


def _check_identifier(report: DomainReport, document: Mapping[str, Any]) -> None:
    parts = urlsplit(report.url)
    path = parts.path.replace("/", ":")
    plain, escaped = parts.netloc, parts.netloc.replace(":", "%3A")
    wanted = {f"did:web:{plain}{path}", f"did:web:{escaped}{path}", f"did:web:{plain}"}
    found = str(document.get("id", ""))[:255]
    expected = f"did:web:{escaped}{path}"
    if found in wanted:
        report.ok("Identifier", found)
    else:
        report.warn(
            "Identifier", f"It says {found or 'nothing'}; {expected} was expected."
        )


def _check_keys(report: DomainReport, document: Mapping[str, Any]) -> None:
    try:
        keys = DidWebDocument.from_value(dict(document))
    except ProtocolError:
        remedy = (
            "List two JsonWebKey2020 methods, first X25519 (keyAgreement), then "
            "Ed25519 (authentication), each with publicKeyJwk {kty: OKP, crv, x}."
        )
        report.fail("Encryption key (X25519)", "No usable key was found.", remedy)
        report.skip("Signing key (Ed25519)")
        return
    report.ok("Encryption key (X25519)", keys.key_agreement.hex())
    report.ok("Signing key (Ed25519)", did_key(keys.authentication))


def _check_types(report: DomainReport, config: Mapping[str, Any]) -> None:
    offered = config.get("types")
    if not isinstance(offered, list) or not offered:
        report.fail(
            "Notification types",
            "The document lists none.",
            'Add "types": [{"name": "updates", "description": "…"}].',
        )
        return
    for each in offered:
        # Of the later generation the id is what a scope carries, the name a title.
        name = (each.get("id") or each.get("name")) if isinstance(each, dict) else None
        if not isinstance(name, str) or not TYPE_NAME.fullmatch(name):
            report.fail(
                "Notification types",
                f"{str(name)[:64]!r} is not a type's name.",
                "Name types with up to 36 letters, digits and . / - _",
            )
            return
        text = str(each.get("description", ""))[:255]
        title = str(each.get("displayName") or each.get("name") or name)[:64]
        report.types.append(OfferedType(name, title, text))
    report.name = str(config.get("name") or "")[:64]
    report.description = str(config.get("description") or "")[:255]
    report.ok("Notification types", ", ".join(each.title for each in report.types))
