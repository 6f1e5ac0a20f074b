"""What is shown when something is not there, not allowed, or broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.shortcuts import render

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form was not ours, or the browser sends no cookies."""
    return render(request, "403_csrf.html", {"reason": reason}, status=403)
