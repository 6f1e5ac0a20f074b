"""``manage.py device --demo``: a terminal that is a device of the account."""

from __future__ import annotations

import json

import pytest

from demonstration.terminal_device import demo_key

KEY = "ab" * 32


def test_a_link_or_a_key_is_accepted():
    for text in (
        KEY,
        f"0x{KEY}",
        f"http://127.0.0.1:8000/join#key={KEY}",
        KEY.upper(),
    ):
        assert demo_key(text) == bytes.fromhex(KEY)
    for wrong in ("", "key", KEY[:-1], f"http://localhost/join?key={KEY}", "#key="):
        with pytest.raises(ValueError, match="neither"):
            demo_key(wrong)


@pytest.mark.system
def test_it_joins_prints_and_leaves_nothing_behind(system):
    done = system.manage("device", "--demo", "--json", "--for", "3", timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line]
    kinds = [line["kind"] for line in lines]
    assert kinds[:3] == ["signed in", "synced", "join"]
    assert "/join#key=" in lines[2]["text"]
    count = (
        "from accounts.models import Account; "
        "print(Account.objects.filter(is_demo=True).count())"
    )
    assert system.manage("shell", "-c", count).stdout.split()[-1] == "0"


@pytest.mark.system
def test_without_demo_it_explains_what_is_missing(system):
    done = system.manage("device", check=False)
    assert done.returncode == 2
    assert "--demo" in done.stderr
    done = system.manage("device", "--demo", "nonsense", check=False)
    assert done.returncode == 2
