"""The alerts of ``deploy/``, in a real Prometheus that scrapes a running system.

A worker and a gateway are stopped so that they stay down, and the alerts about them fire
and end. What would take minutes is shortened in two ways: alerts fire after seconds
(``for``), and once a process is stopped, what it would have done is dated back. A process
that works would undo the second within seconds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from html import unescape
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
import yaml
from django.utils.html import strip_tags
from prometheus_client.parser import text_string_to_metric_families

from notifyweb.embedded.paths import Paths
from tests.browser_device import BrowserDevice, wait_for
from tests.system import BASE, free_port
from walletconnect.crypto.ethereum import address_of

pytestmark = pytest.mark.system

STOPPED_FOR_S = 600


@pytest.fixture(scope="module")
def prometheus(system, tmp_path_factory):
    """The address of a Prometheus with the alert rules; skipped where there is none."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Debian's prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    rules = yaml.safe_load((BASE / "deploy" / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "2s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    job = {
        "job_name": "notifyweb",
        "static_configs": [
            {"targets": [f"127.0.0.1:{system.port}", f"127.0.0.1:{system.relay_port}"]}
        ],
    }
    settings = {
        "global": {"scrape_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    place = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={place}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{place}"
    finally:
        running.terminate()
        running.wait(30)


def alerts(prometheus: str) -> set[tuple[str, str]]:
    """Names of the firing alerts, with the process or queue that each is about."""
    try:
        answer = httpx.get(f"{prometheus}/api/v1/alerts", trust_env=False)
    except httpx.TransportError:
        return {("Prometheus is starting", "")}
    return {
        (labels["alertname"], labels.get("process") or labels.get("queue") or "")
        for alert in answer.json()["data"]["alerts"]
        if alert["state"] == "firing"
        for labels in [alert["labels"]]
    }


@pytest.fixture(scope="module")
def dapp_owner(system):
    """An account that is staff, with a dapp of its own to which it is subscribed."""
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with BrowserDevice(system.base_url, account, key) as device:
        device.sign_in()
        device.dapp = device.make_dapp("Alerts", {"a": "A"})
        device.subscribe(device.dapp.url, ["a"])
        wait_for("the subscription", device.topics)
        with database(system) as connection:
            connection.execute("UPDATE accounts_user SET is_staff = true")
        yield device


def notify(system, device, title):
    sent = httpx.post(
        f"{system.base_url}/cast/{device.dapp.project_id}/notify",
        headers={"Authorization": f"Bearer {device.dapp.secret}"},
        json={
            "notification": {"type": "a", "title": title, "body": "Hello"},
            "accounts": [device.account],
        },
        trust_env=False,
        timeout=30,
    )
    assert sent.raise_for_status().json()["sent"] == [device.account]


def database(system):
    return psycopg.connect(
        host=str(Paths(system.data_dir / "data").postgres_run),
        port=5432,
        user="notifyweb",
        dbname="notifyweb",
        autocommit=True,
    )


def redis_of(system):
    return redis.Redis(
        unix_socket_path=str(Paths(system.data_dir / "data").redis_socket)
    )


def children_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


@contextlib.contextmanager
def stopped(system, name):
    """Stop a process and its children, and the launcher, which would restart it."""
    launcher, pid = system.pid("launcher"), system.pid(name)
    pids = [pid, *children_of(pid)]
    os.kill(launcher, signal.SIGSTOP)
    for each in pids:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in pids:
            os.kill(each, signal.SIGCONT)
        # Otherwise the launcher would end it at once, because it was silent for long.
        with redis_of(system) as client:
            wait_for(f"a heartbeat of {name}", lambda: age_ms(client, name) < 60_000)
        os.kill(launcher, signal.SIGCONT)


def age_ms(client, name) -> float:
    return time.time() * 1000 - int(client.get(f"heartbeat:{name}") or 0)


def date_back(system, name, table, columns):
    """As if ``name`` had been stopped for ten minutes: its heartbeat and its due rows."""
    with redis_of(system) as client:
        then = round((time.time() - STOPPED_FOR_S) * 1000)
        client.set(f"heartbeat:{name}", then, ex=STOPPED_FOR_S)
    changes = ", ".join(
        f"{column} = now() - interval '{STOPPED_FOR_S} s'" for column in columns
    )
    with database(system) as connection:
        changed = connection.execute(
            f"UPDATE {table} SET {changes} WHERE state = 'due'"  # noqa: S608  # ours
        )
        assert changed.rowcount > 0


def values(system, name):
    """The samples of ``/metrics`` with this name, by the value of their label."""
    _, body = system.get("/metrics")
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == name
    }


def words(device, path) -> str:
    page = strip_tags(device.page(path).replace("<", " <"))
    return unescape(" ".join(page.split()))


def test_durations_of_all_processes_are_in_one_scrape(system, dapp_owner):
    """The gateway, the workers and the web process each contribute theirs."""
    notify(system, dapp_owner, "Measured")
    wait_for(
        "the receipt",
        lambda: values(system, "notifyweb_notification_seconds_count").get("received"),
    )
    assert values(system, "notifyweb_notification_seconds_count")["sent"] >= 1
    assert values(system, "notifyweb_applied_seconds_count")["notification"] >= 1
    wait_for(
        "the outbox of both sides",
        lambda: (
            {"cast", "wallet"} <= set(values(system, "notifyweb_outbox_seconds_count"))
        ),
    )
    # On a machine that is not overloaded it takes far less than a minute.
    total = values(system, "notifyweb_applied_seconds_sum")["notification"]
    count = values(system, "notifyweb_applied_seconds_count")["notification"]
    assert 0 < total / count < 60


@pytest.mark.parametrize(
    ("name", "queue", "table", "columns", "row"),
    [
        (
            "worker",
            "messaging.InboxMessage",
            "messaging_inboxmessage",
            ("received_at", "next_attempt_at"),
            "the oldest row of the inbox has been due for",
        ),
        (
            "gateway",
            "messaging.OutboxMessage",
            "messaging_outboxmessage",
            ("created_at", "next_attempt_at"),
            "the oldest row of the outbox has been due for",
        ),
    ],
)
def test_a_stopped_process_is_reported(
    prometheus, system, dapp_owner, name, queue, table, columns, row
):
    expected = {("NotifywebProcessSilent", name), ("NotifywebQueueOld", queue)}
    wait_for("no alerts", lambda: not alerts(prometheus))
    with stopped(system, name):
        notify(system, dapp_owner, f"While {name} is stopped")
        wait_for("a due row", lambda: values(system, "notifyweb_queue_due").get(queue))
        date_back(system, name, table, columns)
        assert values(system, "notifyweb_queue_oldest_due_seconds")[queue] > 300
        assert values(system, "notifyweb_heartbeat_age_seconds")[name] > 90
        wait_for("the alerts", lambda: expected <= alerts(prometheus))
        assert alerts(prometheus) == expected
        # The page has the same in words. What it read before is kept for five seconds.
        wait_for("the page", lambda: row in words(dapp_owner, "/ops"))
        page = words(dapp_owner, "/ops")
        assert f"{name} fault last heartbeat" in page
        assert "start it" in page
    wait_for("the end of the alerts", lambda: not alerts(prometheus))
    wait_for(
        "the notification",
        lambda: f"While {name} is stopped" in dapp_owner.titles(),
    )
