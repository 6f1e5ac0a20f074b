"""Reports of our own faults to Sentry, when ``SENTRY_DSN`` names one.

No bodies, cookies, variables or addresses leave the machine, and what does passes the
same redaction as the logs.
"""

from __future__ import annotations

from typing import Any

from notifyweb.environment import SettingError
from notifyweb.logs import redact


def start(dsn: str) -> None:
    import sentry_sdk
    from sentry_sdk.utils import BadDsn

    try:
        sentry_sdk.init(
            dsn=dsn,
            send_default_pii=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            before_send=_redacted,
        )
    except BadDsn:
        raise SettingError("SENTRY_DSN is not a Sentry address.") from None


def _redacted(event: Any, hint: Any) -> Any:
    request = event.get("request", {})
    for name in ("cookies", "headers", "data", "env", "query_string"):
        request.pop(name, None)
    for entry in event.get("exception", {}).get("values", []):
        entry["value"] = redact(str(entry.get("value", "")))
    if "logentry" in event:
        event["logentry"] = {"message": redact(str(event["logentry"].get("message")))}
    return event
