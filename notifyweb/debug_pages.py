"""What Django's debug pages show with ``DEBUG=1``, in development.

Django's own filter goes by names: it would show request bodies, most cookies, the variables
of every frame and settings such as ``RPC_URLS`` to the client that caused the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from notifyweb.logs import MASK, redact

if TYPE_CHECKING:
    from collections.abc import ItemsView
    from types import FrameType

    from django.http import HttpRequest


class RedactedReports(SafeExceptionReporterFilter):
    """No bodies, cookies or variables; settings without credentials."""

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        return {} if request is None else dict.fromkeys(request.POST, MASK)

    def get_safe_cookies(self, request: HttpRequest) -> dict[str, Any]:
        return dict.fromkeys(request.COOKIES, MASK)

    def get_traceback_frame_variables(
        self, request: HttpRequest, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        return {}.items()

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        return redact(cleansed) if isinstance(cleansed, str) else cleansed


class RedactedReporter(ExceptionReporter):
    """The texts of errors, redacted as in the log."""

    def get_traceback_data(self) -> dict[str, Any]:
        data = super().get_traceback_data()
        for name in ("exception_value", "exception_notes"):
            if name in data:
                data[name] = redact(data[name])
        for frame in data["frames"]:
            if frame.get("exc_cause") is not None:
                frame["exc_cause"] = redact(str(frame["exc_cause"]))
        return data
