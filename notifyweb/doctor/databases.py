"""Checks of PostgreSQL and Redis. Each raises what the server's client raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import Count
from django.db.models.functions import Left
from django.utils.translation import gettext as _

from common import clock
from common.connections import shared_redis
from messaging.models import TopicSubscription
from messaging.shards import SHARD_DIGITS
from notifyweb import startup
from notifyweb.doctor.findings import Finding, fault, ok, warning
from notifyweb.embedded.redis import wheel_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_POSTGRES_VERSION = 14
MIN_REDIS_VERSION = 6
MAX_CLOCK_DIFFERENCE_S = 2.0
# Signed requests (did-jwt, SIWE) are valid for minutes; a clock this wrong fails them.
MAX_TOLERATED_CLOCK_DIFFERENCE_S = 30.0
# Short of what PostgreSQL accepts, so that superusers and backups still connect.
MAX_CONNECTION_SHARE = 0.85
MAX_REDIS_MEMORY_SHARE = 0.85
FULL_SHARD_SHARE = 0.8


# --- PostgreSQL -------------------------------------------------------------------------


def sessions() -> Iterator[Finding]:
    try:
        found = startup.shared_sessions()
    except OperationalError as error:
        found = str(error)
    if found:
        yield fault("pooler", found, _("pool sessions, or connect without the pooler"))
    else:
        yield ok("pooler", _("none, or one that pools sessions"))


def schema() -> Iterator[Finding]:
    found = startup.newer_schema()
    # Before the migrations are applied the tables differ from the models.
    if not found and not startup.unapplied_migrations():
        found = startup.wrong_schema()
    if found:
        yield fault("schema", found, _("see Trouble in docs/operations.md"))
    else:
        yield ok("schema", _("as this version's migrations make it"))


def postgres() -> Iterator[Finding]:
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
            "postgres version",
            version,
            _("install %(version)s or newer") % {"version": MIN_POSTGRES_VERSION},
        )
    else:
        yield ok("postgres version", version)
    if encoding != "UTF8":
        yield fault(
            "postgres encoding",
            _("the database's encoding is %(encoding)s") % {"encoding": encoding},
            _("create it with ENCODING 'UTF8'"),
        )
    state = _("%(used)s of %(max_connections)s in use; %(size).0f MiB stored") % {
        "used": used,
        "max_connections": max_connections,
        "size": size / 2**20,
    }
    if used > MAX_CONNECTION_SHARE * max_connections:
        yield warning(
            "postgres connections",
            state,
            _("raise max_connections or lower NOTIFYWEB_DATABASE_POOL"),
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
            _("%(settings)s is off: a crash loses messages that were acknowledged")
            % {"settings": ", ".join(unsafe)},
            _("switch it on in postgresql.conf, and restart PostgreSQL"),
        )
    else:
        yield ok("postgres durability", _("commits reach the disk"))
    yield from _clock("PostgreSQL", now_s - before)


def shards() -> Iterator[Finding]:
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
        yield ok("shards of topics", _("each fits a relay client"))
        return
    yield warning(
        "shards of topics",
        _(
            "the %(party)s has %(count)s topics that begin with %(shard)s, and a relay client may have %(most)s of ours"
        )
        % {
            "party": fullest["party"],
            "count": fullest["count"],
            "shard": fullest["shard"],
            "most": most,
        },
        _(
            "raise relay_topics_per_client in NOTIFYWEB_LIMITS here and at the relay; if there are far more of them than in other shards, somebody chose them: see the sync log"
        ),
    )


def _clock(server: str, difference_s: float) -> Iterator[Finding]:
    """``difference_s``: the server's clock minus ours."""
    size = abs(difference_s)
    shown = {"server": server, "size": size}
    if difference_s > 0:
        state = _("the clock of %(server)s is %(size).0f s ahead of this machine's")
    else:
        state = _("the clock of %(server)s is %(size).0f s behind this machine's")
    state %= shown
    advice = _(
        "synchronize the clocks of all machines (NTP, chrony, systemd-timesyncd)"
    )
    if size > MAX_TOLERATED_CLOCK_DIFFERENCE_S:
        yield fault("clock", state, advice)
    elif size > MAX_CLOCK_DIFFERENCE_S:
        yield warning("clock", state, advice)
    else:
        yield ok("clock", _("agrees with %(server)s's") % {"server": server})


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


def redis() -> Iterator[Finding]:
    client = shared_redis()
    before = clock.now_ms() / 1000
    seconds, microseconds = client.time()
    info = client.info()
    version = str(info.get("redis_version", "0"))
    if int(version.partition(".")[0]) < MIN_REDIS_VERSION:
        yield fault(
            "redis version",
            version,
            _("install %(version)s or newer") % {"version": MIN_REDIS_VERSION},
        )
    else:
        yield ok("redis version", _server_of(info, version))
    # From INFO: hosted servers often forbid CONFIG.
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        yield warning(
            "redis policy",
            _("maxmemory-policy is %(policy)s: a full Redis drops queued tasks")
            % {"policy": policy},
            _("set maxmemory-policy noeviction (CONFIG SET, and redis.conf)"),
        )
    else:
        yield ok("redis policy", "noeviction")
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    shown = {"used": used / 2**20, "limit": limit / 2**20}
    if limit:
        state = _("%(used).1f of %(limit).0f MiB used") % shown
    else:
        state = _("%(used).1f MiB used, without a limit") % shown
    if limit and used > MAX_REDIS_MEMORY_SHARE * limit:
        yield warning("redis memory", state, _("raise maxmemory"))
    else:
        yield ok("redis memory", state)
    yield from _clock("Redis", seconds + microseconds / 1e6 - before)
