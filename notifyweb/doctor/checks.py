"""Every check of an installation. ``examine`` runs them in the order of their causes.

A check never changes anything and ends within seconds. Checks that need PostgreSQL or
Redis are left out, and listed as such, while it does not answer.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.core.mail import get_connection
from django.db import DatabaseError, OperationalError, connection
from django.db.models import Count
from django.db.models.functions import Left

from alerts.models import PushSubscription
from common import clock
from common.connections import shared_redis
from keychain.services import KeychainError
from keychain.webpush import has_application_server_key
from messaging.models import TopicSubscription
from messaging.shards import SHARD_DIGITS
from notifyweb import environment as env
from notifyweb import health, startup
from notifyweb.doctor import network
from notifyweb.doctor.findings import Finding, fault, ok, warning
from notifyweb.doctor.variables import unknown_variables
from notifyweb.embedded.redis import wheel_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest

MIN_POSTGRES_VERSION = 14
MIN_REDIS_VERSION = 6
MAX_CLOCK_DIFFERENCE_S = 2.0
# Signed requests (did-jwt, SIWE) are valid for minutes; a clock this wrong fails them.
MAX_TOLERATED_CLOCK_DIFFERENCE_S = 30.0
# Short of what PostgreSQL accepts, so that superusers and backups still connect.
MAX_CONNECTION_SHARE = 0.85
MAX_REDIS_MEMORY_SHARE = 0.85
FULL_SHARD_SHARE = 0.8
MIN_FREE_BYTES = 1 << 30
MIN_FREE_SHARE = 0.05
CRITICAL_FREE_BYTES = 200 << 20
MIN_SECRET_KEY_LENGTH = 50

# What to do when a component of ``/readyz`` is missing.
START = "start it (`make run`; on several machines the command in docs/deployment.md)"
COMPONENT_ADVICE = {
    "postgres": "start PostgreSQL, or correct DATABASE_URL",
    "redis": "start Redis, or correct REDIS_URL",
    "relay": f"{START}, or correct NOTIFYWEB_RELAY_HOST and NOTIFYWEB_RELAY_PORT",
    "gateway": f"{START}; its log names the reason if it runs",
    "worker": f"{START}; its log names the reason if it runs",
    "outbound": f"{START}; its log names the reason if it runs",
    "beat": f"{START}; without it nothing expires and nothing is retried",
    "writes": "free disk space for PostgreSQL, or end its read-only mode",
    "messages": "see the logs of gateway and worker; they work too slowly or not at all",
    "migrations": "run: python manage.py prepare",
    "keychain": "put the missing key back into KEYCHAIN_KEYS, behind the first",
}


def examine(request: HttpRequest | None = None) -> list[Finding]:
    """Run every check. Never raises because of what a check finds.

    ``request`` is the page's own, which shows what the proxies write.
    """
    components = health.readiness()
    found = [*_variables(), *_secrets(), *_storage(), *component_findings(components)]
    needs_postgres = (_sessions, _schema, _postgres, _push, _shards)
    for names, checks in (("postgres", needs_postgres), ("redis", (_redis,))):
        if components[names].ok:
            for check in checks:
                found += _guarded(check)
        else:
            skipped = ", ".join(check.__name__.strip("_") for check in checks)
            advice = f"check again when {names} answers"
            found.append(warning(names, f"not checked: {skipped}", advice))
    found += network.listening()
    found += network.proxy()
    if request is not None:
        found += network.proxy_of(request)
    found += network.certificates()
    found += network.public_addresses()
    found += network.other_servers()
    found += network.chain_endpoints()
    found += _mail()
    return found


def _guarded(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    name = check.__name__.strip("_")
    try:
        return list(check())
    except (DatabaseError, redis.RedisError) as error:
        text = str(error).partition("\n")[0]
        return [fault(name, f"the check failed: {text}", "see the server's log")]


def component_findings(components: dict[str, health.Component]) -> list[Finding]:
    return [
        ok(name, component.state)
        if component.ok
        else fault(name, component.state, COMPONENT_ADVICE[name])
        for name, component in components.items()
    ]


# --- settings and secrets ---------------------------------------------------------------


def _variables() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield ok("python", version)
    wrong = False
    for message in run_checks(tags=["notifyweb"]):
        wrong = True
        text = message.msg
        if message.level >= ERROR:
            yield fault("settings", text, "the text names the variable")
        elif message.level >= WARNING:
            yield warning("settings", text, "the text names the variable")
    unknown = unknown_variables()
    yield from unknown
    if not wrong and not unknown:
        given = sorted(name for name in env.names_read if env.text(name))
        listed = ", ".join(given) or "none, all defaults"
        yield ok("settings", f"{len(env.names_read)} variables; set: {listed}")
    if settings.DEBUG and not settings.PRODUCTION:
        yield warning("debug", "DEBUG=1 shows secrets on error pages", "set DEBUG=0")


def _secrets() -> Iterator[Finding]:
    if len(settings.SECRET_KEY) < MIN_SECRET_KEY_LENGTH:
        yield warning(
            "SECRET_KEY",
            f"has {len(settings.SECRET_KEY)} characters",
            f"use {MIN_SECRET_KEY_LENGTH} random ones (docs/settings.md)",
        )
    else:
        yield ok("SECRET_KEY", f"{len(settings.SECRET_KEY)} characters")
    ids = [key.partition(":")[0] for key in settings.KEYCHAIN_KEYS]
    yield ok("KEYCHAIN_KEYS", f"{ids[0]} seals; {', '.join(ids)} open")


def _push() -> Iterator[Finding]:
    try:
        made = has_application_server_key()
    except KeychainError as error:
        yield fault(
            "VAPID key",
            f"does not open ({error})",
            "put the key that sealed it back into KEYCHAIN_KEYS",
        )
        return
    yield ok("VAPID key", "opens" if made else "made when a browser first asks for it")
    if not settings.PUBLIC_HTTPS and settings.PRODUCTION:
        yield warning(
            "push",
            "NOTIFYWEB_PUBLIC_URL is not https: browsers offer no push there",
            "put a proxy with TLS in front (docs/deployment.md)",
        )
        return
    browsers = PushSubscription.objects.all()
    reasons = list(browsers.exclude(reason="").values_list("reason", flat=True)[:100])
    if reasons:
        reason, count = Counter(reasons).most_common(1)[0]
        yield warning(
            "push",
            f"the last push to {len(reasons)} browsers failed; {count} times: {reason}",
            "check the way to the push services from the outbound worker; browsers that "
            "no longer exist are removed by themselves",
        )
    else:
        yield ok("push", "the last push to each browser was accepted")


# --- storage ----------------------------------------------------------------------------


def _storage() -> Iterator[Finding]:
    folder: Path = settings.DATA_DIR
    if settings.EMBEDDED_POSTGRES or settings.EMBEDDED_REDIS:
        yield from _rights(folder)
        yield from _disk_space(folder)
    if not settings.DEBUG:
        storage = settings.STORAGES["staticfiles"]["BACKEND"]
        manifest = Path(settings.STATIC_ROOT) / "staticfiles.json"
        if storage == "notifyweb.static.HashedStorage" and not manifest.exists():
            yield fault(
                "static files",
                f"{manifest} is missing: pages have no styles",
                "run: python manage.py prepare",
            )
        else:
            yield ok("static files", "collected")


def _rights(folder: Path) -> Iterator[Finding]:
    wrong = False
    for path, allowed in (
        (folder, 0o700),
        (folder / "secret_key", 0o600),
        (folder / "keychain_keys", 0o600),
    ):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & ~allowed:
            wrong = True
            yield fault(
                "data directory",
                f"{path} has mode {mode:o}: other users may read it",
                f"run: chmod {allowed:o} {path}",
            )
        if found.st_uid != os.geteuid():
            wrong = True
            yield warning(
                "data directory",
                f"{path} belongs to user {found.st_uid}, this is {os.geteuid()}",
                "run every command as the user that runs the system",
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        wrong = True
        yield fault(
            "data directory", f"{folder} is not writable", f"run: chmod u+rwx {folder}"
        )
    if not wrong:
        yield ok("data directory", f"{folder} is private and writable")


def _disk_space(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    state = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free"
    advice = "free space, or move NOTIFYWEB_DATA_DIR to a larger disk"
    if usage.free < CRITICAL_FREE_BYTES:
        yield fault("disk space", state, advice)
    elif usage.free < max(MIN_FREE_BYTES, MIN_FREE_SHARE * usage.total):
        yield warning("disk space", state, advice)
    else:
        yield ok("disk space", state)


# --- PostgreSQL -------------------------------------------------------------------------


def _sessions() -> Iterator[Finding]:
    try:
        found = startup.shared_sessions()
    except OperationalError as error:
        found = str(error)
    if found:
        yield fault("pooler", found, "pool sessions, or connect without the pooler")
    else:
        yield ok("pooler", "none, or one that pools sessions")


def _schema() -> Iterator[Finding]:
    found = startup.newer_schema()
    # Before the migrations are applied the tables differ from the models.
    if not found and not startup.unapplied_migrations():
        found = startup.wrong_schema()
    if found:
        yield fault("schema", found, "see Trouble in docs/operations.md")
    else:
        yield ok("schema", "as this version's migrations make it")


def _postgres() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        before = clock.now_ms() / 1000
        cursor.execute(
            "SELECT current_setting('server_version_num')::int / 10000,"
            " current_setting('server_version'), pg_encoding_to_char(encoding),"
            " current_setting('max_connections')::int,"
            " (SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend'),"
            " extract(epoch FROM clock_timestamp())::float8,"
            " pg_database_size(oid), current_setting('fsync'),"
            " current_setting('full_page_writes'),"
            " current_setting('synchronous_commit')"
            " FROM pg_database WHERE datname = current_database()"
        )
        row = cursor.fetchone()
    major, version, encoding, max_connections, used, now_s, size = row[:7]
    fsync, full_pages, commits = row[7:]
    if major < MIN_POSTGRES_VERSION:
        yield fault(
            "postgres version", version, f"install {MIN_POSTGRES_VERSION} or newer"
        )
    else:
        yield ok("postgres version", version)
    if encoding != "UTF8":
        yield fault(
            "postgres encoding",
            f"the database's encoding is {encoding}",
            "create it with ENCODING 'UTF8'",
        )
    state = f"{used} of {max_connections} in use; {size / 2**20:.0f} MiB stored"
    if used > MAX_CONNECTION_SHARE * max_connections:
        yield warning(
            "postgres connections",
            state,
            "raise max_connections or lower NOTIFYWEB_DATABASE_POOL",
        )
    else:
        yield ok("postgres connections", state)
    unsafe = [
        name
        for name, is_on in (
            ("fsync", fsync == "on"),
            ("full_page_writes", full_pages == "on"),
            ("synchronous_commit", commits != "off"),
        )
        if not is_on
    ]
    if unsafe:
        yield fault(
            "postgres durability",
            f"{', '.join(unsafe)} is off: a crash loses messages that were acknowledged",
            "switch it on in postgresql.conf, and restart PostgreSQL",
        )
    else:
        yield ok("postgres durability", "commits reach the disk")
    yield from _clock("PostgreSQL", now_s - before)


def _shards() -> Iterator[Finding]:
    """Whether a relay client can have the topics of a shard, which cannot be split.

    Topics are hashes: honest ones fill the shards evenly (docs/messages.md has the figures).
    """
    most = settings.LIMITS.relay_topics_per_client * 9 // 10
    fullest = (
        TopicSubscription.objects.filter(state=TopicSubscription.State.WANTED)
        .values("party", shard=Left("topic", SHARD_DIGITS))
        .annotate(count=Count("pk"))
        .order_by("-count")
        .first()
    )
    if fullest is None or fullest["count"] <= most * FULL_SHARD_SHARE:
        yield ok("shards of topics", "each fits a relay client")
        return
    yield warning(
        "shards of topics",
        f"the {fullest['party']} has {fullest['count']} topics that begin with "
        f"{fullest['shard']}, and a relay client may have {most} of ours",
        "raise relay_topics_per_client in NOTIFYWEB_LIMITS here and at the relay; if there "
        "are far more of them than in other shards, somebody chose them: see the sync log",
    )


def _clock(server: str, difference_s: float) -> Iterator[Finding]:
    """``difference_s``: the server's clock minus ours."""
    size = abs(difference_s)
    direction = "ahead of" if difference_s > 0 else "behind"
    state = f"{server}'s clock is {size:.0f} s {direction} this machine's"
    advice = "synchronize the clocks of all machines (NTP, chrony, systemd-timesyncd)"
    if size > MAX_TOLERATED_CLOCK_DIFFERENCE_S:
        yield fault("clock", state, advice)
    elif size > MAX_CLOCK_DIFFERENCE_S:
        yield warning("clock", state, advice)
    else:
        yield ok("clock", f"agrees with {server}'s")


# --- Redis ------------------------------------------------------------------------------


def _server_of(info: dict[str, Any], version: str) -> str:
    """The version, and of an embedded server whether it is the wheel's or the system's."""
    if "valkey_version" in info:
        # Its own version, beside that of the Redis that it is compatible with.
        version = f"Valkey {info['valkey_version']}"
    if not settings.EMBEDDED_REDIS:
        return version
    program = str(info.get("executable", ""))
    where = "of the wheel" if program == str(wheel_binary()) else program
    return f"{version}, {where}"


def _redis() -> Iterator[Finding]:
    client = shared_redis()
    before = clock.now_ms() / 1000
    seconds, microseconds = client.time()
    info = client.info()
    version = str(info.get("redis_version", "0"))
    if int(version.partition(".")[0]) < MIN_REDIS_VERSION:
        yield fault("redis version", version, f"install {MIN_REDIS_VERSION} or newer")
    else:
        yield ok("redis version", _server_of(info, version))
    # From INFO: hosted servers often forbid CONFIG.
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        yield warning(
            "redis policy",
            f"maxmemory-policy is {policy}: a full Redis drops queued tasks",
            "set maxmemory-policy noeviction (CONFIG SET, and redis.conf)",
        )
    else:
        yield ok("redis policy", "noeviction")
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    bound = f"of {limit / 2**20:.0f} MiB" if limit else "without a limit"
    state = f"{used / 2**20:.1f} MiB used {bound}"
    if limit and used > MAX_REDIS_MEMORY_SHARE * limit:
        yield warning("redis memory", state, "raise maxmemory")
    else:
        yield ok("redis memory", state)
    yield from _clock("Redis", seconds + microseconds / 1e6 - before)


# --- mail -------------------------------------------------------------------------------


def _mail() -> Iterator[Finding]:
    kind = settings.EMAIL_BACKEND.split(".")[-2]
    if kind == "smtp":
        backend = get_connection(fail_silently=False, timeout=network.TIMEOUT_S)
        place = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
        try:
            backend.open()
            backend.close()
        except OSError as error:  # smtplib's errors are OSErrors
            reason = str(error) or type(error).__name__
            yield fault(
                "mail",
                f"{place} accepts no mail from us: {reason}",
                "correct EMAIL_URL (scheme, host, port, user, password)",
            )
            return
        yield ok("mail", f"{place} accepts connections")
    elif kind == "console" and settings.PRODUCTION:
        yield warning("mail", "mails go to the log only", "set EMAIL_URL to a server")
    elif kind == "dummy":
        yield ok("mail", "off: EMAIL_URL is empty, digests cannot be ordered")
    else:
        yield ok("mail", f"backend {kind}")
