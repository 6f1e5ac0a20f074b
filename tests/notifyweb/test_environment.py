"""Settings from the environment: parsed, or refused in one sentence."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from notifyweb import environment as env
from notifyweb.environment import SettingError
from tests.system import BASE, clean_environment

SECRETS = ("secret_key", "keychain_keys")
KEY = base64.b64encode(bytes(32)).decode()


def manage(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFYWEB_PORT", "eight"),
        ("NOTIFYWEB_PORT", "0"),
        ("NOTIFYWEB_RELAY_PORT", "70000"),
        ("NOTIFYWEB_PUBLIC_URL", "example.com"),
        ("NOTIFYWEB_PUBLIC_URL", "http://[::1"),
        ("NOTIFYWEB_RELAY_PUBLIC_URL", "http://relay.example"),
        ("NOTIFYWEB_DEMO", "maybe"),
        ("NOTIFYWEB_LIMITS", "history_page=many"),
        ("NOTIFYWEB_LIMITS", "no_such_limit=1"),
        ("NOTIFYWEB_LIMITS", "notify_subscriber=3"),
        ("NOTIFYWEB_LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "mysql://localhost/notifyweb"),
        ("DATABASE_URL", "postgres://localhost"),
        ("REDIS_URL", "http://localhost"),
        ("RELAY_URL", "https://relay.example"),
        ("NOTIFYWEB_RPC_URLS", "https://rpc.example"),
        ("NOTIFYWEB_RPC_URLS", "1=ftp://rpc.example"),
        ("NOTIFYWEB_RPC_URLS", "1=https://rpc.example,1=https://other.example"),
        ("NOTIFYWEB_RPC_URLS", "0=https://rpc.example"),
        ("NOTIFYWEB_RPC_URLS", "mainnet=https://rpc.example"),
        ("KEYCHAIN_KEYS", "k1:short"),
        ("KEYCHAIN_KEYS", f"k1:{KEY},k1:{KEY}"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_code_two(tmp_path, name, value):
    environment = {"NOTIFYWEB_DATA_DIR": str(tmp_path), name: value}
    refused = manage("run", **environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith(name)
    assert len(refused.stderr.splitlines()) == 1


def test_rpc_urls_are_by_chain_and_keep_their_key(monkeypatch):
    monkeypatch.setenv(
        "NOTIFYWEB_RPC_URLS", "1=https://rpc.example/v2/k?x=1, 10 = https://o.example,"
    )
    assert env.rpc_urls("NOTIFYWEB_RPC_URLS") == {
        1: "https://rpc.example/v2/k?x=1",
        10: "https://o.example",
    }


@pytest.mark.parametrize(
    "value", ["1=ftp://rpc.example/SECRET", "x=https://rpc.example/SECRET"]
)
def test_a_refused_rpc_url_is_not_printed(monkeypatch, value):
    monkeypatch.setenv("NOTIFYWEB_RPC_URLS", value)
    with pytest.raises(SettingError) as error:
        env.rpc_urls("NOTIFYWEB_RPC_URLS")
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104
@pytest.mark.parametrize(
    "allowed", ["localhost", "10.1.2.3,127.0.0.9", "[::1]", "app.localhost", "::"]
)
def test_loopback_is_not_allowed_on_a_public_address(monkeypatch, bind, allowed):
    monkeypatch.setenv(env.OUTBOUND_ALLOW, allowed)
    with pytest.raises(SettingError, match=f"^{env.OUTBOUND_ALLOW} allows .* {bind}"):
        env.outbound_allow(bind, is_embedded=True)
    monkeypatch.setenv(env.OUTBOUND_ALLOW_AGAIN, allowed)
    assert env.outbound_allow(bind, is_embedded=True) == allowed.split(",")


@pytest.mark.system
def test_loopback_on_a_public_address_is_one_sentence_and_code_two(tmp_path):
    refused = manage(
        "run",
        NOTIFYWEB_DATA_DIR=str(tmp_path),
        NOTIFYWEB_BIND="0.0.0.0",  # noqa: S104
        NOTIFYWEB_OUTBOUND_ALLOW="localhost",
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("NOTIFYWEB_OUTBOUND_ALLOW allows localhost")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("bind", "given", "allowed"),
    [
        ("127.0.0.1", None, ["localhost", "127.0.0.1", "::1"]),
        ("::1", None, ["localhost", "127.0.0.1", "::1"]),
        ("127.0.0.1", "", []),
        ("127.0.0.1", " , ", []),
        ("127.0.0.1", "localhost, 10.1.2.3", ["localhost", "10.1.2.3"]),
        ("0.0.0.0", None, []),  # noqa: S104
        ("::", "", []),
        ("::", "10.1.2.3", ["10.1.2.3"]),
    ],
)
def test_an_empty_list_allows_nothing(monkeypatch, bind, given, allowed):
    monkeypatch.delenv(env.OUTBOUND_ALLOW, raising=False)
    if given is not None:
        monkeypatch.setenv(env.OUTBOUND_ALLOW, given)
    assert env.outbound_allow(bind, is_embedded=True) == allowed


@pytest.mark.system
@pytest.mark.parametrize("name", ["SECRET_KEY", "KEYCHAIN_KEYS"])
def test_secrets_are_required_with_an_external_database(tmp_path, name):
    given = {"SECRET_KEY": "x" * 50, "KEYCHAIN_KEYS": f"k1:{KEY}"}
    del given[name]
    refused = manage(
        "run",
        NOTIFYWEB_DATA_DIR=str(tmp_path),
        DATABASE_URL="postgres://localhost/notifyweb",
        **given,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{name} is required when DATABASE_URL is set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_lost_keychain_keys_are_not_replaced(tmp_path):
    (tmp_path / "postgres").mkdir()
    refused = manage("run", NOTIFYWEB_DATA_DIR=str(tmp_path))
    assert refused.returncode == 2
    assert "keychain_keys is missing" in refused.stderr
    assert not (tmp_path / "keychain_keys").exists()


@pytest.mark.system
def test_a_data_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused = manage("run", NOTIFYWEB_DATA_DIR=str(tmp_path / "file" / "below"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("The data directory")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.system
def test_secrets_are_created_once_and_private(tmp_path):
    tmp_path.chmod(0o755)
    environment = {"NOTIFYWEB_DATA_DIR": str(tmp_path)}
    assert manage("check", **environment).returncode == 0
    first = [(tmp_path / name).read_text() for name in SECRETS]
    assert manage("check", **environment).returncode == 0
    assert [(tmp_path / name).read_text() for name in SECRETS] == first
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    for name in SECRETS:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "secret_key"
    path.write_text("x" * 50)
    path.chmod(0o644)
    with pytest.raises(SettingError, match="chmod 600"):
        env.kept_secret(path, "fresh")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"\xff" * 50, "ASCII"), ("ü".encode(), "ASCII"), (b"\n", "empty")],
)
def test_a_damaged_secret_file_is_refused(tmp_path, content, problem):
    path = tmp_path / "secret_key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingError, match=problem):
        env.kept_secret(path, "fresh")
    assert path.read_bytes() == content


@pytest.mark.parametrize("value", ["k1:", "k1:é", f":{KEY}", f"k1{KEY}", "k1:AA=="])
def test_a_malformed_keychain_key_is_refused(value):
    with pytest.raises(SettingError, match="key number 1"):
        env.keychain_keys("KEYCHAIN_KEYS", value)


def test_two_first_starts_agree_on_one_secret(tmp_path):
    path = tmp_path / "secret_key"
    assert env.kept_secret(path, "first") == "first"
    env._write_once(path, "second")
    assert env.kept_secret(path, "third") == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_url_is_parsed(monkeypatch):
    monkeypatch.setenv(
        "DATABASE_URL",
        "postgresql://us%40er:p%3Aw@db.example:6432/name?sslmode=require",
    )
    found = env.database_address("DATABASE_URL")
    assert (found.user, found.password) == ("us@er", "p:w")
    assert (found.host, found.port, found.name) == ("db.example", 6432, "name")
    assert found.options == (("sslmode", "require"),)
    assert "p:w" not in repr(found)


def test_a_database_url_may_name_a_socket_folder(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres:///name?host=/run/postgresql")
    found = env.database_address("DATABASE_URL")
    assert (found.host, found.name) == ("/run/postgresql", "name")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ("dummy.EmailBackend", "", 25)),
        ("console:", ("console.EmailBackend", "", 25)),
        ("smtp://mail.example", ("smtp.EmailBackend", "mail.example", 25)),
        ("smtp+tls://u:p@mail.example", ("smtp.EmailBackend", "mail.example", 587)),
        ("smtps://mail.example:4650", ("smtp.EmailBackend", "mail.example", 4650)),
    ],
)
def test_a_mail_url_is_parsed(monkeypatch, url, expected):
    monkeypatch.setenv("EMAIL_URL", url)
    found = env.mail_address("EMAIL_URL")
    backend, host, port = expected
    assert found.backend.endswith(backend)
    assert (found.host, found.port) == (host, port)


def test_keychain_keys_keep_their_order():
    other = base64.b64encode(bytes([1]) * 32).decode()
    keys = env.keychain_keys("KEYCHAIN_KEYS", f"new:{other}, old:{KEY}")
    assert [key.partition(":")[0] for key in keys] == ["new", "old"]


@pytest.mark.system
def test_an_old_python_is_refused():
    source = Path(BASE / "manage.py").read_text()
    script = source.replace("sys.version_info < MIN_PYTHON_VERSION", "True")
    refused = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("notifyweb needs Python 3.11 or later")
