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
from typing import TYPE_CHECKING

import redis
from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.core.mail import get_connection
from django.db import DatabaseError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from alerts.models import PushSubscription
from keychain.services import KeychainError
from keychain.webpush import has_application_server_key
from notifyweb import environment as env
from notifyweb import health
from notifyweb.doctor import databases, network
from notifyweb.doctor.findings import Finding, fault, ok, warning
from notifyweb.doctor.variables import unknown_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest

MIN_FREE_BYTES = 1 << 30
MIN_FREE_SHARE = 0.05
CRITICAL_FREE_BYTES = 200 << 20
MIN_SECRET_KEY_LENGTH = 50

# What to do when a component of ``/readyz`` is missing.
START = gettext_noop(
    "start it (`make run`; on several machines the command in docs/deployment.md)"
)
COMPONENT_ADVICE = {
    "postgres": (gettext_noop("start PostgreSQL, or correct DATABASE_URL"),),
    "redis": (gettext_noop("start Redis, or correct REDIS_URL"),),
    "relay": (
        START,
        gettext_noop("or correct NOTIFYWEB_RELAY_HOST and NOTIFYWEB_RELAY_PORT"),
    ),
    "gateway": (START, gettext_noop("its log names the reason if it runs")),
    "worker": (START, gettext_noop("its log names the reason if it runs")),
    "outbound": (START, gettext_noop("its log names the reason if it runs")),
    "beat": (START, gettext_noop("without it nothing expires and nothing is retried")),
    "writes": (
        gettext_noop("free disk space for PostgreSQL, or end its read-only mode"),
    ),
    "messages": (
        gettext_noop(
            "see the logs of gateway and worker; they work too slowly or not at all"
        ),
    ),
    "migrations": (gettext_noop("run: python manage.py prepare"),),
    "keychain": (
        gettext_noop("put the missing key back into KEYCHAIN_KEYS, behind the first"),
    ),
}


def examine(request: HttpRequest | None = None) -> list[Finding]:
    """Run every check. Never raises because of what a check finds.

    ``request`` is the page's own, which shows what the proxies write.
    """
    components = health.readiness()
    found = [*_variables(), *_secrets(), *_storage(), *component_findings(components)]
    needs_postgres = (
        databases.sessions,
        databases.schema,
        databases.postgres,
        _push,
        databases.shards,
    )
    for names, checks in (("postgres", needs_postgres), ("redis", (databases.redis,))):
        if components[names].ok:
            for check in checks:
                found += _guarded(check)
        else:
            skipped = ", ".join(check.__name__.strip("_") for check in checks)
            advice = _("check again when %(component)s answers") % {"component": names}
            found.append(
                warning(
                    names, _("not checked: %(checks)s") % {"checks": skipped}, advice
                )
            )
    found += network.listening()
    found += network.proxy()
    if request is not None:
        found += network.proxy_of(request)
    found += network.certificates()
    found += network.public_addresses()
    found += network.hosted_dapps()
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
        return [
            fault(
                name,
                _("the check failed: %(text)s") % {"text": text},
                _("see the server's log"),
            )
        ]


def component_findings(components: dict[str, health.Component]) -> list[Finding]:
    return [
        ok(name, component.localized)
        if component.ok
        else fault(name, component.localized, "; ".join(map(_, COMPONENT_ADVICE[name])))
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
            yield fault("settings", text, _("the text names the variable"))
        elif message.level >= WARNING:
            yield warning("settings", text, _("the text names the variable"))
    unknown = unknown_variables()
    yield from unknown
    if not wrong and not unknown:
        given = sorted(name for name in env.names_read if env.text(name))
        listed = ", ".join(given) or _("none, all defaults")
        yield ok(
            "settings",
            _("%(count)s variables; set: %(listed)s")
            % {"count": len(env.names_read), "listed": listed},
        )
    if settings.DEBUG and not settings.PRODUCTION:
        yield warning(
            "debug", _("DEBUG=1 shows secrets on error pages"), _("set DEBUG=0")
        )


def _secrets() -> Iterator[Finding]:
    if len(settings.SECRET_KEY) < MIN_SECRET_KEY_LENGTH:
        yield warning(
            "SECRET_KEY",
            _("has %(count)s characters") % {"count": len(settings.SECRET_KEY)},
            _("use %(count)s random ones (docs/settings.md)")
            % {"count": MIN_SECRET_KEY_LENGTH},
        )
    else:
        yield ok(
            "SECRET_KEY",
            _("%(count)s characters") % {"count": len(settings.SECRET_KEY)},
        )
    ids = [key.partition(":")[0] for key in settings.KEYCHAIN_KEYS]
    yield ok(
        "KEYCHAIN_KEYS",
        _("%(first)s seals; %(all)s open") % {"first": ids[0], "all": ", ".join(ids)},
    )


def _push() -> Iterator[Finding]:
    try:
        made = has_application_server_key()
    except KeychainError as error:
        yield fault(
            "VAPID key",
            _("does not open (%(error)s)") % {"error": error},
            _("put the key that sealed it back into KEYCHAIN_KEYS"),
        )
        return
    yield ok(
        "VAPID key", _("opens") if made else _("made when a browser first asks for it")
    )
    if not settings.PUBLIC_HTTPS and settings.PRODUCTION:
        yield warning(
            "push",
            _("NOTIFYWEB_PUBLIC_URL is not https: browsers offer no push there"),
            _("put a proxy with TLS in front (docs/deployment.md)"),
        )
        return
    browsers = PushSubscription.objects.all()
    reasons = list(browsers.exclude(reason="").values_list("reason", flat=True)[:100])
    if reasons:
        reason, count = Counter(reasons).most_common(1)[0]
        yield warning(
            "push",
            _(
                "the last push to %(browsers)s browsers failed; %(count)s times: %(reason)s"
            )
            % {"browsers": len(reasons), "count": count, "reason": reason},
            _(
                "check the way to the push services from the outbound worker; browsers that no longer exist are removed by themselves"
            ),
        )
    else:
        yield ok("push", _("the last push to each browser was accepted"))


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
                _("%(manifest)s is missing: pages have no styles")
                % {"manifest": manifest},
                _("run: python manage.py prepare"),
            )
        else:
            yield ok("static files", _("collected"))


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
                _("%(path)s has mode %(mode)o: other users may read it")
                % {"path": path, "mode": mode},
                _("run: chmod %(allowed)o %(path)s")
                % {"allowed": allowed, "path": path},
            )
        if found.st_uid != os.geteuid():
            wrong = True
            yield warning(
                "data directory",
                _("%(path)s belongs to user %(owner)s, this is %(own)s")
                % {"path": path, "owner": found.st_uid, "own": os.geteuid()},
                _("run every command as the user that runs the system"),
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        wrong = True
        yield fault(
            "data directory",
            _("%(folder)s is not writable") % {"folder": folder},
            _("run: chmod u+rwx %(folder)s") % {"folder": folder},
        )
    if not wrong:
        yield ok(
            "data directory",
            _("%(folder)s is private and writable") % {"folder": folder},
        )


def _disk_space(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    state = _("%(free).1f of %(total).1f GiB free") % {
        "free": usage.free / 2**30,
        "total": usage.total / 2**30,
    }
    advice = _("free space, or move NOTIFYWEB_DATA_DIR to a larger disk")
    if usage.free < CRITICAL_FREE_BYTES:
        yield fault("disk space", state, advice)
    elif usage.free < max(MIN_FREE_BYTES, MIN_FREE_SHARE * usage.total):
        yield warning("disk space", state, advice)
    else:
        yield ok("disk space", state)


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
                _("%(place)s accepts no mail from us: %(reason)s")
                % {"place": place, "reason": reason},
                _("correct EMAIL_URL (scheme, host, port, user, password)"),
            )
            return
        yield ok("mail", _("%(place)s accepts connections") % {"place": place})
    elif kind == "console" and settings.PRODUCTION:
        yield warning(
            "mail", _("mails go to the log only"), _("set EMAIL_URL to a server")
        )
    elif kind == "dummy":
        yield ok("mail", _("off: EMAIL_URL is empty, digests cannot be ordered"))
    else:
        yield ok("mail", _("backend %(kind)s") % {"kind": kind})
