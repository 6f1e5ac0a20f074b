"""Hosts that never answer delay only the webhooks of their owner."""

from __future__ import annotations

import json
import textwrap
import time

import pytest

from tests.castserver.receiver import Receiver, silent_host

pytestmark = pytest.mark.system

QUEUE = """
    import sys
    from accounts.models import User
    from castserver.services.projects.projects import create_project
    from castserver.services.webhooks.webhooks import queue_test_event, register_webhook
    name, url, projects, events = {arguments!r}
    owner = User.objects.create(username=name)
    for number in range(projects):
        project, _ = create_project(
            f"{{name}} {{number}}", url=f"https://{{name}}{{number}}.example.org", owner=owner
        )
        webhook, _ = register_webhook(project, url, events=["subscribed"])
        for _ in range(events):
            queue_test_event(webhook)
"""


def queue_events(system, *arguments):
    code = textwrap.dedent(QUEUE).format(arguments=arguments)
    system.manage("shell", "-c", code)


def run_demo(system):
    """Duration of a subscribe and a notify through every server."""
    began = time.monotonic()
    done = system.manage("demo", "--json")
    assert json.loads(done.stdout.splitlines()[-1])
    return time.monotonic() - began


def test_silent_hosts_of_one_owner_do_not_delay_others(system):
    usual = run_demo(system)
    with silent_host() as slow, Receiver() as receiver:
        queue_events(system, "hostile", f"{slow}/hook", 12, 40)
        began = time.monotonic()
        queue_events(system, "normal", receiver.url, 1, 5)
        while len(receiver.received) < 5:
            assert time.monotonic() - began < 20, "webhooks of others wait"
            time.sleep(0.05)
        assert run_demo(system) < 2 * usual + 5
        status, components = system.readiness()
        assert status == 200, components
