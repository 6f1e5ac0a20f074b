"""Sessions expire by idle time instead of by time since sign-in.

Django counts ``SESSION_COOKIE_AGE`` from the last change of the session. Here a used session
is changed, and its cookie sent again, at most once an hour. Whether a session is valid at
all is decided by its device (``accounts.services.device_of_session``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY

from common import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

RENEWED_AT: Final = "renewed_at"
RENEW_AFTER_S: Final = 3600


class RollingSessionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # Reading the session would add ``Vary: Cookie``; without a cookie answers stay cacheable.
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            renew(request)
        return response


def renew(request: HttpRequest) -> None:
    session = request.session
    now = clock.now_s()
    if SESSION_KEY in session and now - session.get(RENEWED_AT, 0) > RENEW_AFTER_S:
        session[RENEWED_AT] = now
