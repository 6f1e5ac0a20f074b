"""Error reports to Sentry, when ``SENTRY_DSN`` is set.

Reports contain no bodies, cookies, variables or addresses, and are redacted as logs are.
"""

from __future__ import annotations

from typing import Any

from notifyweb.environment import SettingError
from notifyweb.logs import MASK, SECRET_NAME, redact


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
    return _redacted_value(event)


def _redacted_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            key: MASK if SECRET_NAME.match(f"{key}=x") else _redacted_value(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted_value(each) for each in value]
    return value
