"""``/identity`` and ``/invite`` at the root, so that the public URL is the server's base."""

from __future__ import annotations

from django.urls import path

from identity import views

app_name = "identity"

urlpatterns = [
    path("identity", views.identity, name="identity"),
    path("invite", views.invite, name="invite"),
]
