"""``/metrics``: everything in ``docs/metrics.md`` and nothing else, right in numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
import yaml
from django.db import transaction
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from alerts.models import Digest
from common import clock, counters, histograms, task_runs
from common.work_queue import WorkItem
from notifyweb import metrics
from relayserver.metrics import Counts
from tests.dashboard.conftest import alice, open_keychain  # noqa: F401  # fixtures
from tests.notifyweb.test_operations import forwards
from tests.notifyweb.test_operations import operator as _operator
from tests.system import BASE

PAGE = (BASE / "docs" / "metrics.md").read_text(encoding="utf-8")
DOCUMENTED = set(re.findall(r"^\| `([a-z_]+)`", PAGE, re.MULTILINE))
operator = _operator
# Of the Prometheus client itself, not ours.
FOREIGN = ("python_", "process_")


def families():
    text = Client().get("/metrics").text
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(name, **labels):
    for family in families().values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"no {name} {labels}")


@pytest.mark.django_db
def test_every_metric_is_documented_and_every_documented_one_exists(redis_client):
    ours = {name for name in families() if not name.startswith(FOREIGN)}
    relay = {name for name in DOCUMENTED if name.startswith("relay_")}
    assert ours == DOCUMENTED - relay
    assert {f"relay_{name}" for name in Counts.__dataclass_fields__} <= relay


@pytest.mark.system
def test_the_relay_reports_what_is_documented(system):
    import urllib.request

    url = f"http://127.0.0.1:{system.relay_port}/metrics"
    with urllib.request.urlopen(url) as answer:  # loopback
        text = answer.read().decode()
    found = {family.name for family in text_string_to_metric_families(text)}
    ours = {n for n in found if n.startswith("relay_") and "_process_" not in n}
    assert ours == {name for name in DOCUMENTED if name.startswith("relay_")}


def test_queues_report_depth_age_and_failures(operator):
    forwards(operator.user, 2, due=clock.now() - timedelta(minutes=10), reason="")
    forwards(operator.user, 3)
    queue = {"queue": "alerts.ForwardDelivery"}
    assert value("notifyweb_queue_due", **queue) == 2
    assert 599 < value("notifyweb_queue_oldest_due_seconds", **queue) < 660
    assert value("notifyweb_queue_failed", **queue) == 3
    for model in WorkItem.__subclasses__():
        value("notifyweb_queue_due", queue=model._meta.label)


@pytest.mark.django_db(transaction=True)
def test_counters_are_shared_and_counted_after_commit(redis_client):
    try:
        with transaction.atomic():
            counters.count("pushes", {"accepted": 5})
            raise ValueError
    except ValueError:
        pass
    with transaction.atomic():
        counters.count("pushes", {"accepted": 2, "failed": 0})
        assert counters.totals() == {}
    assert counters.totals() == {("pushes", "accepted"): 2}
    assert value("notifyweb_pushes_total", outcome="accepted") == 2


@pytest.mark.django_db(transaction=True)
def test_a_row_taken_over_from_a_dead_worker_is_counted(redis_client):
    from accounts.models import User

    Digest.objects.create(
        user=User.objects.create(username="u"),
        email="a@example.org",
        frequency="daily",
        covered_until=clock.now(),
        next_attempt_at=clock.now() - timedelta(hours=1),
        leased_until=clock.now() - timedelta(minutes=1),
        leased_by=1,
    )
    assert len(Digest.objects.claim(5, owner="user_id")) == 1
    assert value("notifyweb_lease_expiries_total", queue="alerts.Digest") == 1


@pytest.mark.django_db
def test_tasks_and_requests(redis_client):
    task_runs.record_run("messaging.sweep", 1500)
    task_runs.record_run("messaging.sweep", 500, "ValueError: x")
    task = {"task": "messaging.sweep"}
    assert value("notifyweb_task_runs_total", **task) == 2
    assert value("notifyweb_task_failures_total", **task) == 1
    assert value("notifyweb_task_seconds_total", **task) == 2
    labels = {"method": "GET", "status": "4xx"}
    before = metrics.REQUESTS.labels(*labels.values())._value.get()
    Client().get("/nowhere")
    assert value("notifyweb_requests_total", **labels) == before + 1
    Client().get("/healthz")
    assert value("notifyweb_requests_total", **labels) == before + 1


@pytest.mark.django_db(transaction=True)
def test_durations_are_shared_and_added_after_commit(redis_client):
    try:
        with transaction.atomic():
            histograms.observe("attempt", {"push": [1.0]})
            raise ValueError
    except ValueError:
        pass
    # A clock that is behind yields a negative duration.
    histograms.observe("attempt", {"push": [0.005, 0.2, -3.0], "webhook": [90_000.0]})
    push = {"kind": "push"}
    name = "notifyweb_attempt_seconds"
    assert value(f"{name}_bucket", le="0.005", **push) == 2
    assert value(f"{name}_bucket", le="0.1", **push) == 2
    assert value(f"{name}_bucket", le="0.25", **push) == 3
    assert value(f"{name}_bucket", le="+Inf", **push) == 3
    assert value(f"{name}_count", **push) == 3
    assert value(f"{name}_sum", **push) == pytest.approx(0.205)
    webhook = {"kind": "webhook"}
    assert value(f"{name}_bucket", le="86400.0", **webhook) == 0
    assert value(f"{name}_bucket", le="+Inf", **webhook) == 1


ADD = """
import sys
import django
django.setup()
from django.conf import settings
# The settings of a test run name a Redis for each process.
settings.REDIS_URL = sys.argv[1]
from common import histograms
for _ in range(50):
    histograms.observe("outbox", {"cast": [0.01, 2.0]})
"""


@pytest.mark.system
@pytest.mark.django_db
def test_durations_of_several_processes_are_summed(redis_client, settings):
    arguments = [sys.executable, "-c", ADD, settings.REDIS_URL]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    running = [subprocess.Popen(arguments, cwd=BASE, env=environment) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    name, cast = "notifyweb_outbox_seconds", {"party": "cast"}
    assert value(f"{name}_bucket", le="0.025", **cast) == 100
    assert value(f"{name}_count", **cast) == 200
    assert value(f"{name}_sum", **cast) == pytest.approx(201)


@pytest.mark.django_db
def test_requests_are_measured_by_the_kind_of_route(redis_client):
    def count(route):
        labels = metrics.REQUEST_SECONDS.labels(route, "GET")
        return sum(bucket.get() for bucket in labels._buckets)

    paths = {
        "pages": "/signin",
        "keys": "/identity?publicKey=x",
        "documents": "/.well-known/did.json",
        "cast": "/cast/none/subscribers",
        "operations": "/ops",
        "other": "/nowhere",
    }
    before = {route: count(route) for route in paths}
    for path in paths.values():
        Client().get(path)
    assert {route: count(route) - before[route] for route in paths} == dict.fromkeys(
        paths, 1
    )


@pytest.mark.django_db
def test_without_redis_the_rest_is_reported(settings, monkeypatch):
    import redis

    def away():
        raise redis.ConnectionError

    monkeypatch.setattr(counters, "totals", away)
    assert value("notifyweb_redis_up") == 0
    assert value("notifyweb_database_up") == 1


def metric_names(expression):
    found = set(re.findall(r"\b((?:notifyweb|relay)_[a-z_]+)", expression))
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in found}


def rules():
    text = (BASE / "deploy" / "prometheus" / "alerts.yml").read_text()
    return [r for group in yaml.safe_load(text)["groups"] for r in group["rules"]]


def test_alerts_and_dashboard_use_documented_metrics_only():
    board = json.loads((BASE / "deploy" / "grafana" / "notifyweb.json").read_text())
    expressions = [t["expr"] for p in board["panels"] for t in p.get("targets", ())]
    expressions += [rule["expr"] for rule in rules()]
    used = set().union(*map(metric_names, expressions))
    assert used <= DOCUMENTED
    assert all(rule["annotations"]["description"] for rule in rules())


@pytest.mark.system
def test_promtool_accepts_the_alerts_and_they_fire():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("Debian's prometheus is not installed")
    folder = BASE / "deploy" / "prometheus"
    for arguments in (
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ):
        done = subprocess.run(
            [promtool, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
