"""Typed readers of environment variables, and the secrets stored beside the data.

A wrong value raises ``SettingError``: one sentence with the variable, its value and a valid
one. Commands print it and exit with code 2.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import idna
import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
MAX_PORT = 65535
MAX_DIGITS = 16
MAX_CHAIN_ID = 2**53 - 1
KEY_LENGTH = 32
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


LOOPBACK = ("localhost", "127.0.0.1", "::1")
OUTBOUND_ALLOW = "NOTIFYWEB_OUTBOUND_ALLOW"
OUTBOUND_ALLOW_AGAIN = "NOTIFYWEB_OUTBOUND_ALLOW_IN_PRODUCTION"


class SettingError(Exception):
    """A wrong setting, described in one sentence for the operator."""


# Every variable that was asked for; ``manage.py doctor`` finds misspelled ones by it.
names_read: set[str] = set()


def text(name: str, default: str = "") -> str:
    names_read.add(name)
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise SettingError(f"{name} is {value!r}; write 1 or 0.")


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise SettingError(f"{name} is {value!r}; write {' or '.join(allowed)}.")
    return value


def integer(name: str, default: int, *, lowest: int = 0, highest: int = 2**31) -> int:
    value = text(name)
    if not value:
        return default
    if not value.isdecimal() or not lowest <= int(value) <= highest:
        raise SettingError(
            f"{name} is {value!r}; write a whole number from {lowest} to {highest}."
        )
    return int(value)


def port(name: str, default: int) -> int:
    return integer(name, default, lowest=1, highest=MAX_PORT)


def names(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """A comma-separated list."""
    value = text(name)
    if not value:
        return list(default)
    return [part.strip() for part in value.split(",") if part.strip()]


def outbound_allow(bound: str, *, is_embedded: bool) -> list[str]:
    """``NOTIFYWEB_OUTBOUND_ALLOW``: an empty value allows nothing.

    Unset, a developer's machine allows its own dapps. A server that others reach must not
    fetch from its own loopback addresses whatever its users enter.
    """
    is_local = bound in LOOPBACK
    given = os.environ.get(OUTBOUND_ALLOW)
    if given is None:
        return list(LOOPBACK) if is_embedded and is_local else []
    allowed = [part.strip() for part in given.split(",") if part.strip()]
    loopback = sorted(each for each in allowed if _is_loopback(each))
    if loopback and not is_local and set(allowed) != set(names(OUTBOUND_ALLOW_AGAIN)):
        raise SettingError(
            f"{OUTBOUND_ALLOW} allows {', '.join(loopback)} while NOTIFYWEB_BIND is "
            f"{bound}, so that strangers could reach services of this machine; remove "
            f"it, or repeat the list in {OUTBOUND_ALLOW_AGAIN} if that is meant."
        )
    return allowed


def _is_loopback(host: str) -> bool:
    name = host.strip("[]").lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def address(name: str, default: str = "", *, schemes: tuple[str, ...]) -> str:
    """A URL of one of the given schemes, written as a browser writes it.

    Scheme and host in lower case, an international name as punycode, no default port, no
    slash at the end. Peers compare these URLs as text, so each has one form.
    """
    return _normalized(name, text(name, default), schemes)


def addresses(
    name: str, default: tuple[str, ...], *, schemes: tuple[str, ...]
) -> list[str]:
    """A comma-separated list of URLs, each normalized as by ``address``."""
    return [_normalized(name, value, schemes) for value in names(name, default)]


def origin(name: str, default: str, *, schemes: tuple[str, ...]) -> str:
    """A normalized URL without a path, because we serve from the root of a host."""
    value = address(name, default, schemes=schemes)
    if urlsplit(value).path:
        raise SettingError(
            f"{name} has a path; pages are served from the root of a host only."
        )
    return value


def _normalized(name: str, value: str, schemes: tuple[str, ...]) -> str:
    if not value:
        return ""
    parts = split_url(name, value, schemes)
    for part, found in (
        ("a user or password", "@" in parts.netloc),
        ("a query", "?" in value),
        ("a fragment", "#" in value),
    ):
        if found:
            raise SettingError(f"{name} has {part}; write scheme, host and port only.")
    if not parts.hostname:
        raise SettingError(f"{name} names no host.")
    if any(not char.isprintable() or char in " \\" for char in value):
        raise SettingError(f"{name} is not a URL: it has characters that no URL has.")
    try:
        host = url_host(str(ipaddress.ip_address(parts.hostname)))
    except ValueError:
        if "[" in parts.netloc:
            raise SettingError(f"{name} has no IPv6 address in its brackets.") from None
        try:
            host = idna.encode(parts.hostname.rstrip("."), uts46=True).decode("ascii")
        except idna.IDNAError:
            raise SettingError(
                f"{name} has a host that is not a domain name."
            ) from None
    port = "" if parts.port in {None, DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def url_host(host: str) -> str:
    """A host as written in URLs: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def bind(name: str, default: str) -> str:
    """An address to listen on; an IPv6 address loses its brackets."""
    value = text(name, default)
    host = value[1:-1] if value[0] == "[" and value[-1] == "]" else value
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if ":" in host or not HOST_NAME.fullmatch(host):
            raise SettingError(
                f"{name} is {value!r}; write an address of this machine such as "
                "127.0.0.1, ::1, 0.0.0.0 or ::."
            ) from None
    return host


def local_host(bound: str) -> str:
    """The address on which local programs reach a server bound to ``bound``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)  # noqa: S104


def split_url(name: str, value: str, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(value)
        port_number = parts.port
    except ValueError:
        raise SettingError(f"{name} is not a URL.") from None
    if parts.scheme not in schemes:
        wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
        raise SettingError(f"{name} is not a URL of the form {wanted}.")
    if not parts.netloc and not parts.path:
        raise SettingError(f"{name} names no host.")
    if port_number == 0:
        raise SettingError(f"{name} names port 0; write one from 1 to {MAX_PORT}.")
    return parts


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """PostgreSQL's address. ``host`` is a folder for a Unix socket."""

    name: str
    host: str
    port: int
    user: str
    password: str
    options: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"DatabaseAddress({self.name!r} on {self.host!r})"


def database_address(name: str) -> DatabaseAddress | None:
    """``postgres://user:password@host:port/name?sslmode=require``, or None if empty."""
    value = text(name)
    if not value:
        return None
    parts = split_url(name, value, ("postgres", "postgresql"))
    if "#" in value:
        raise SettingError(f"{name} has a #; write %23 where it belongs to a password.")
    query = dict(parse_qsl(parts.query))
    try:
        make_conninfo(**query)
    except psycopg.ProgrammingError:
        raise SettingError(f"{name} has an option that libpq does not have.") from None
    port_in_query = query.pop("port", "5432")
    if not port_in_query.isdecimal() or not 0 < int(port_in_query) <= MAX_PORT:
        raise SettingError(f"{name} names a port that is not one.")
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise SettingError(f"{name} names no database after the host.")
    return DatabaseAddress(
        name=database,
        host=query.pop("host", unquote(parts.hostname or "")),
        port=parts.port or int(port_in_query),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        options=tuple(query.items()),
    )


def forget_libpq_variables() -> None:
    """Keep ``PGHOSTADDR``, ``PGSERVICE`` and the like from the embedded PostgreSQL.

    libpq reads them for every connection. They are in a shell because of another
    database, and some lead elsewhere whatever host a connection names.
    """
    defaults = pq.Conninfo.get_defaults()
    for name in {option.envvar.decode() for option in defaults if option.envvar}:
        os.environ.pop(name, None)
    for name in ("PGDATESTYLE", "PGTZ", "PGGEQO"):
        os.environ.pop(name, None)


@dataclass(frozen=True, slots=True)
class MailAddress:
    """Where mail is sent: ``smtp[s]://user:password@host:port`` or ``console:``."""

    backend: str
    host: str = ""
    port: int = 25
    user: str = ""
    password: str = ""
    tls: bool = False
    ssl: bool = False

    def __repr__(self) -> str:
        return f"MailAddress({self.backend!r}, {self.host!r})"


def mail_address(name: str) -> MailAddress:
    backends = "django.core.mail.backends"
    value = text(name)
    if not value:
        return MailAddress(f"{backends}.dummy.EmailBackend")
    if value.rstrip("/") == "console:":
        return MailAddress(f"{backends}.console.EmailBackend")
    parts = split_url(name, value, ("smtp", "smtp+tls", "smtps"))
    usual = {"smtp": 25, "smtp+tls": 587, "smtps": 465}[parts.scheme]
    return MailAddress(
        backend=f"{backends}.smtp.EmailBackend",
        host=parts.hostname or "localhost",
        port=parts.port or usual,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=parts.scheme == "smtp+tls",
        ssl=parts.scheme == "smtps",
    )


def folder(name: str, default: Path) -> Path:
    return Path(text(name, str(default))).expanduser().absolute()


def private_folder(path: Path) -> Path:
    """Create ``path`` with mode 0700; raise ``SettingError`` if that is impossible."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
        writable = os.access(path, os.W_OK | os.X_OK)
    except (OSError, NotADirectoryError) as error:
        raise SettingError(
            f"The data directory {path} cannot be made or closed to other users "
            f"({error.strerror}); set NOTIFYWEB_DATA_DIR to one that can."
        ) from None
    if not writable:
        raise SettingError(
            f"The data directory {path} is not writable for this user; "
            "set NOTIFYWEB_DATA_DIR to one that is."
        )
    return path


def kept_secret(path: Path, fresh: str) -> str:
    """Return the secret stored in ``path``; store ``fresh`` there if it is missing."""
    if not path.exists():
        _write_once(path, fresh)
    if path.stat().st_mode & 0o077:
        raise SettingError(
            f"{path} can be read by other users of this machine; run chmod 600 {path}."
        )
    try:
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(
            f"{path} contains other characters than ASCII; restore it from a backup."
        ) from None
    if not secret:
        raise SettingError(f"{path} is empty; restore it from a backup.")
    return secret


def _write_once(path: Path, content: str) -> None:
    # Two commands may start at once on a new directory. A hard link is created by only
    # one of them, and the file is complete when it gets its name.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror}.") from None


def rpc_urls(name: str) -> dict[int, str]:
    """Parse comma-separated ``chain id=URL`` pairs.

    Errors give the position and not the URL: its path or query is often an API key.
    """
    found: dict[int, str] = {}
    for position, part in enumerate(names(name), start=1):
        chain, equals, url = (each.strip() for each in part.partition("="))
        entry = f"{name}: entry number {position}"
        is_chain = chain.isascii() and chain.isdecimal() and len(chain) <= MAX_DIGITS
        if not equals or not is_chain or not 0 < int(chain) <= MAX_CHAIN_ID:
            raise SettingError(
                f"{entry} is not of the form 1=https://…, a chain id and the URL of a "
                "JSON-RPC endpoint; write a comma within a URL as %2C."
            )
        if int(chain) in found:
            raise SettingError(f"{name} has two URLs for chain {int(chain)}.")
        parts = split_url(entry, url, ("http", "https"))
        if not parts.hostname:
            raise SettingError(f"{entry} names no host.")
        found[int(chain)] = url
    return found


def fresh_secret_key() -> str:
    return secrets.token_urlsafe(50)


def fresh_keychain_keys() -> str:
    return "k1:" + base64.b64encode(secrets.token_bytes(KEY_LENGTH)).decode("ascii")


def keychain_keys(name: str, value: str) -> list[str]:
    """Parse comma-separated ``id:base64`` pairs and check the length of each key."""
    keys = [part.strip() for part in value.split(",") if part.strip()]
    seen: set[str] = set()
    for position, key in enumerate(keys, start=1):
        key_id, _, encoded = key.partition(":")
        try:
            length = len(base64.b64decode(encoded, validate=True))
        except ValueError:
            length = -1
        if not key_id or length != KEY_LENGTH:
            raise SettingError(
                f"{name}: key number {position} is not of the form id:base64 "
                f"of {KEY_LENGTH} bytes."
            )
        if key_id in seen:
            raise SettingError(f"{name} has two keys with the id {key_id!r}.")
        seen.add(key_id)
    if not keys:
        raise SettingError(f"{name} holds no key.")
    return keys
