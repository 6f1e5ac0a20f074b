"""``REDIS_URL``, parsed once for three clients that parse such URLs differently."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode

from notifyweb.environment import FALSE, TRUE, SettingError, split_url, url_host

if TYPE_CHECKING:
    from urllib.parse import SplitResult

CERT_REQS = "ssl_cert_reqs"
CHECK_HOSTNAME = "ssl_check_hostname"
REDIS_TLS_FILES = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
REDIS_TLS_OPTIONS = REDIS_TLS_FILES | {CERT_REQS, CHECK_HOSTNAME}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Redis's address in the forms that its clients accept.

    redis-py and channels_redis use ``url``, Celery uses ``celery_url`` with ``celery_tls``.
    Their URL parsers differ: Celery checks no certificate of ``rediss://``, and ``?db=`` is
    read by one and ignored by another.
    """

    host: str = ""
    port: int = 6379
    path: str = ""
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: tuple[tuple[str, str], ...] | None = None

    @property
    def url(self) -> str:
        query = {"db": str(self.database), **dict(self.tls or ())}
        scheme = "unix" if self.path else "redis" if self.tls is None else "rediss"
        location = quote(self.path) if self.path else self._host_and_port
        return f"{scheme}://{self._credentials}{location}?{urlencode(query)}"

    @property
    def celery_url(self) -> str:
        if self.path:
            return (
                f"redis+socket://{self._credentials}{quote(self.path)}"
                f"?virtual_host={self.database}"
            )
        return f"redis://{self._credentials}{self._host_and_port}/{self.database}"

    @property
    def celery_tls(self) -> dict[str, str | bool] | None:
        if self.tls is None:
            return None
        checks = {name: value for name, value in self.tls if name != CHECK_HOSTNAME}
        checks_name = dict(self.tls).get(CHECK_HOSTNAME, "true") == "true"
        return {**checks, CHECK_HOSTNAME: checks_name}

    @property
    def _credentials(self) -> str:
        if not self.user and not self.password:
            return ""
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@"

    @property
    def _host_and_port(self) -> str:
        return f"{url_host(self.host)}:{self.port}"


def redis_address(name: str, value: str) -> RedisAddress | None:
    """``redis://user:password@host:port/0``, ``rediss://…`` or ``unix:///path?db=0``.

    None if empty. An option that only some of the three clients support is refused.
    """
    if not value:
        return None
    parts = split_url(name, value, ("redis", "rediss", "unix", "redis+socket"))
    if "#" in value:
        raise SettingError(f"{name} has a #; write %23 where it belongs to a password.")
    query = _redis_query(name, parts)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme in {"unix", "redis+socket"}:
        if parts.hostname or not parts.path.strip("/"):
            raise SettingError(
                f"{name} names no socket; write unix:///path with three slashes."
            )
        database = _redis_database(name, query.pop("db", query.pop("virtual_host", "")))
        return RedisAddress(
            path=unquote(parts.path), database=database, user=user, password=password
        )
    in_path = unquote(parts.path).strip("/")
    in_query = query.pop("db", "")
    if in_path and in_query and in_path != in_query:
        raise SettingError(f"{name} names two databases, {in_path} and {in_query}.")
    return RedisAddress(
        host=unquote(parts.hostname or "localhost"),
        port=parts.port or 6379,
        database=_redis_database(name, in_path or in_query),
        user=user,
        password=password,
        tls=_redis_tls(name, query) if parts.scheme == "rediss" else None,
    )


def _redis_query(name: str, parts: SplitResult) -> dict[str, str]:
    allowed = {"db"}
    if parts.scheme == "rediss":
        allowed |= REDIS_TLS_OPTIONS
    if parts.scheme == "redis+socket":
        allowed |= {"virtual_host"}
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    for key, _ in pairs:
        if key not in allowed:
            raise SettingError(
                f"{name} has the option {key!r}; of {parts.scheme}:// only "
                f"{', '.join(sorted(allowed))} can be set."
            )
    if len(dict(pairs)) < len(pairs):
        raise SettingError(f"{name} sets one option twice.")
    return dict(pairs)


def _redis_database(name: str, value: str) -> int:
    if value and not (value.isascii() and value.isdecimal()):
        raise SettingError(f"{name}: the database {value!r} is not a whole number.")
    return int(value or "0")


def _redis_tls(name: str, query: dict[str, str]) -> tuple[tuple[str, str], ...]:
    given = query.get(CERT_REQS, "required")
    # Celery's own form, CERT_REQUIRED, is accepted, too.
    required = given.lower().removeprefix("cert_")
    if required not in {"required", "optional", "none"}:
        raise SettingError(
            f"{name}: {CERT_REQS} is {given!r}; write required, optional or none."
        )
    checks_name = query.get(CHECK_HOSTNAME, "true").lower()
    if checks_name not in TRUE | FALSE:
        raise SettingError(f"{name}: {CHECK_HOSTNAME} is not true or false.")
    files = {key: query[key] for key in sorted(REDIS_TLS_FILES & query.keys())}
    for key, path in files.items():
        if not os.access(path, os.R_OK) or not Path(path).is_file():
            raise SettingError(f"{name}: {key} names {path}, which cannot be read.")
    return (
        (CERT_REQS, required),
        (CHECK_HOSTNAME, "true" if checks_name in TRUE else "false"),
        *files.items(),
    )
