"""URLs of ``/ops``; every one is for staff."""

from __future__ import annotations

from django.urls import path

from notifyweb.operations import views

app_name = "operations"

urlpatterns = [
    path("ops", views.overview, name="overview"),
    path("ops/failed", views.failed, name="failed"),
    path("ops/failed/<slug:act>", views.failed_act, name="failed-act"),
    path("ops/replay", views.replay, name="replay"),
    path("ops/jobs", views.job_list, name="jobs"),
    path("ops/jobs/<int:pk>/run", views.job_run, name="job-run"),
    path("ops/storage", views.storage, name="storage"),
    path("ops/audit", views.audit_log, name="audit"),
    path("ops/doctor", views.doctor, name="doctor"),
]
