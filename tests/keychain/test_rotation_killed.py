"""Killed in the middle of a rotation, nothing is lost and the next run finishes it.

With the real command as a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from keychain.models import SymKeyEntry
from keychain.services import (
    Holder,
    check_canary,
    ensure_canary,
    put_sym_keys,
    sym_keys,
)
from tests.keychain.test_rotation import KEYS, NEW

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


def command_line(settings, *, failpoint=""):
    database = connection.settings_dict
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "notifyweb.settings",
        "DATABASE_URL": f"postgres://{database['USER']}@/{database['NAME']}"
        f"?host={database['HOST']}",
        "REDIS_URL": settings.REDIS_URL,
        "SECRET_KEY": settings.SECRET_KEY,
        "KEYCHAIN_KEYS": ",".join(settings.KEYCHAIN_KEYS),
        "NOTIFYWEB_FAILPOINTS": failpoint,
        "NOTIFYWEB_DEMO": "1",
    }
    return subprocess.run(
        [sys.executable, "manage.py", "rotate_keychain", "--json", "--batch", "7"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sealed_under(key_id):
    return SymKeyEntry.objects.filter(sealing_key_id=key_id).count()


@pytest.fixture
def keys(settings):
    ensure_canary()
    put_sym_keys(Holder.WALLET, KEYS)
    settings.KEYCHAIN_KEYS = [NEW, *settings.KEYCHAIN_KEYS]


def test_it_is_finished_by_the_next_run(settings, keys):
    killed = command_line(settings, failpoint="keychain.rotate.after_batch")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sealed_under("new") == 7
    assert len(sym_keys(Holder.WALLET, [key.topic for key in KEYS])) == len(KEYS)
    finished = command_line(settings)
    assert finished.returncode == 0, finished.stderr
    outcome = json.loads(finished.stdout)
    assert outcome["left"] == outcome["refused"] == 0
    assert sealed_under("new") == len(KEYS)
    settings.KEYCHAIN_KEYS = [NEW]
    check_canary()
    assert len(sym_keys(Holder.WALLET, [key.topic for key in KEYS])) == len(KEYS)
    # No key was printed.
    output = killed.stdout + killed.stderr + finished.stdout + finished.stderr
    assert not any(key.hex() in output for key in KEYS)
