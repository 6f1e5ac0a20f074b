"""Addresses of the History Server, below ``/history``: verbatim from the spec."""

from __future__ import annotations

from django.urls import path

from history import views

app_name = "history"
urlpatterns = [
    path("register", views.register, name="register"),
    path("health", views.health, name="health"),
    path("messages", views.messages, name="messages"),
]
