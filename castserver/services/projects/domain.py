"""Whether a dapp's domain serves what wallets need, said line by line.

protocol.md, section 5.4. For the owner who copied two files to a server and wonders why no
wallet subscribes. Reaches out: call it outside transactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings

from common import outbound
from walletconnect.crypto.base64url import encode_base64url
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AppUrl, DidWebDocument, public_key_of
from walletconnect.json_values import JsonObject, parse_document

if TYPE_CHECKING:
    from castserver.models import Project
    from walletconnect.json_values import JsonValue

DID_JSON: Final = "did.json"
CONFIG: Final = "wc-notify-config.json"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check list; ``file`` is the document it is about."""

    file: str
    ok: bool
    text: str


def check_domain(project: Project) -> list[Finding]:
    """What is right and what is wrong with both documents of a dapp's domain."""
    url = AppUrl.parse(project.url)
    findings: list[Finding] = []
    document = _read(url, DID_JSON, findings)
    if document is not None:
        findings += _check_keys(project, document)
    config = _read(url, CONFIG, findings)
    if config is not None:
        findings.append(_check_types(project, config))
    return findings


def _read(url: AppUrl, name: str, findings: list[Finding]) -> JsonObject | None:
    address = url.well_known(name)
    try:
        answer = outbound.fetch(
            "GET",
            address,
            max_bytes=settings.LIMITS.document_bytes,
            deadline=settings.LIMITS.document_deadline_s,
        )
    except outbound.OutboundError as error:
        findings.append(Finding(name, ok=False, text=f"{address}: {error}"))
        return None
    if not answer.ok:
        text = f"{address} answers {answer.status}"
        findings.append(Finding(name, ok=False, text=text))
        return None
    try:
        value = parse_document(answer.body)
    except RemoteProtocolError:
        findings.append(Finding(name, ok=False, text=f"{address} is no JSON object"))
        return None
    findings.append(Finding(name, ok=True, text=f"{address} is there"))
    open_to_all = answer.headers.get("access-control-allow-origin") == "*"
    findings.append(
        Finding(name, open_to_all, "Access-Control-Allow-Origin: * for web wallets")
    )
    return value


def _check_keys(project: Project, document: JsonObject) -> list[Finding]:
    methods = document.get("verificationMethod")
    wanted = {
        0: ("X25519", bytes.fromhex(project.public_key_x)),
        1: ("Ed25519", public_key_of(project.authentication_did)),
    }
    findings = [
        Finding(
            DID_JSON,
            _holds(methods, place, curve=curve, key=key),
            f"verificationMethod[{place}] holds our {curve} key",
        )
        for place, (curve, key) in wanted.items()
    ]
    try:
        parsed = DidWebDocument.from_value(document)
        refers = [parsed.key_agreement, parsed.authentication]
    except RemoteProtocolError:
        refers = []
    ok = refers == [key for _, key in wanted.values()]
    findings.append(
        Finding(DID_JSON, ok, "keyAgreement and authentication refer to them")
    )
    return findings


def _holds(methods: JsonValue, place: int, *, curve: str, key: bytes) -> bool:
    """As the clients of August 2023 look: by position, whatever is referred to."""
    method = methods[place] if isinstance(methods, list) and methods[place:] else None
    jwk = method.get("publicKeyJwk") if isinstance(method, dict) else None
    if not isinstance(jwk, dict) or jwk.get("crv") != curve:
        return False
    # One server of 2024 pads its keys; all clients tolerate it.
    text = jwk.get("x")
    return isinstance(text, str) and text.rstrip("=") == encode_base64url(key)


def _check_types(project: Project, config: JsonObject) -> Finding:
    types = config.get("types")
    found = {
        each.get("id") or each.get("name")
        for each in (types if isinstance(types, list) else [])
        if isinstance(each, dict)
    }
    wanted = {each.type_id for each in project.types.all()}
    missing = ", ".join(sorted(wanted - found))
    text = f"types lacks {missing}" if missing else "types lists all of ours"
    return Finding(CONFIG, ok=not missing, text=text)
