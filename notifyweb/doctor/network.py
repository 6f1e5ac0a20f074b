"""Checks of ports, proxies, certificates and other servers, as seen from this machine."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from common import clock
from notifyweb import environment as env
from notifyweb.doctor.findings import Finding, fault, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

TIMEOUT_S = 3.0
OK = 200
DAY_S = 86_400
MIN_CERTIFICATE_DAYS = 14


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    answering = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        answering.request("GET", path)
        response = answering.getresponse()
        return response.status, response.read(4096)
    finally:
        answering.close()


def listening() -> Iterator[Finding]:
    """Whether our programs are what answers on the two ports."""
    for name, setting, port, path in (
        ("web port", "NOTIFYWEB_PORT", settings.PORT, "/healthz"),
        ("relay port", "NOTIFYWEB_RELAY_PORT", settings.RELAY_PORT, "/health"),
    ):
        if name == "relay port" and not settings.EMBEDDED_RELAY:
            continue
        host = env.local_host(settings.BIND)
        place = f"{env.url_host(host)}:{port}"
        try:
            status, body = _get(host, port, path)
        except http.client.HTTPException:
            status, body = 0, b""
        except OSError as error:
            # In production a port may belong to another machine.
            level = warning if settings.PRODUCTION else fault
            yield level(
                name,
                f"nothing answers on {place} ({error.strerror or error})",
                f"start the process, or set {setting} to its port",
            )
            continue
        if status == OK and (path == "/health" or _is_our_health(body)):
            yield ok(name, f"{place} answers")
        else:
            yield fault(
                name,
                f"another program answers on {place}",
                f"stop it, or set {setting} to a free port",
            )


def _is_our_health(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["status"] == "ok")
    except (ValueError, KeyError, TypeError):
        return False


def proxy() -> Iterator[Finding]:
    proxies: int = settings.TRUSTED_PROXIES
    if settings.PUBLIC_HTTPS and not proxies:
        yield warning(
            "proxy headers",
            "NOTIFYWEB_PUBLIC_URL is https, which a proxy must provide, but "
            "NOTIFYWEB_TRUSTED_PROXIES is 0: every caller has the proxy's address and "
            "shares its limits",
            "set NOTIFYWEB_TRUSTED_PROXIES to the number of proxies in front",
        )
    elif proxies and not settings.PUBLIC_HTTPS:
        yield warning(
            "proxy headers",
            f"{proxies} proxies are trusted although NOTIFYWEB_PUBLIC_URL is http: "
            "without a proxy, callers choose their own address",
            "set NOTIFYWEB_TRUSTED_PROXIES=0, or NOTIFYWEB_PUBLIC_URL to the https URL",
        )
    elif proxies:
        yield ok("proxy headers", f"{proxies} proxies are trusted")
    else:
        yield ok("proxy headers", "ignored: no proxy in front")
    host = settings.PUBLIC_HOST
    if host not in settings.ALLOWED_HOSTS and "*" not in settings.ALLOWED_HOSTS:
        yield fault(
            "ALLOWED_HOSTS",
            f"lacks {host}, the host of NOTIFYWEB_PUBLIC_URL: pages answer 400",
            f"add {host} to ALLOWED_HOSTS",
        )


def certificates() -> Iterator[Finding]:
    """The certificates that callers of our two public URLs are shown."""
    addresses = {"NOTIFYWEB_PUBLIC_URL": settings.PUBLIC_URL}
    if settings.EMBEDDED_RELAY:
        addresses["NOTIFYWEB_RELAY_PUBLIC_URL"] = settings.RELAY_PUBLIC_URL
    seen = set()
    for name, url in addresses.items():
        parts = urlsplit(url)
        port = parts.port or env.DEFAULT_PORTS[parts.scheme]
        if (parts.hostname, port) in seen:
            continue
        seen.add((parts.hostname, port))
        if parts.scheme in {"https", "wss"}:
            yield _certificate(name, parts, port)
        elif not settings.PRODUCTION:
            yield ok("TLS", f"{name} is {parts.scheme}: for this machine only")
        # In production ``check_addresses`` warns.


def _certificate(setting: str, parts: SplitResult, port: int) -> Finding:
    host = parts.hostname or ""
    place = f"{setting} ({env.url_host(host)}:{port})"
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return fault(
            "TLS",
            f"{place}: the certificate is refused: {error.verify_message}",
            "install the full chain of a certificate for this host on the proxy",
        )
    except (OSError, ValueError) as error:
        return fault(
            "TLS",
            f"{place} cannot be reached from here: {error}",
            "check DNS, the proxy and its port",
        )
    expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    days = int((expires - clock.now_s()) / DAY_S)
    if days < MIN_CERTIFICATE_DAYS:
        return warning(
            "TLS", f"{place}: the certificate expires in {days} days", "renew it"
        )
    return ok("TLS", f"{place}: valid for {days} days")


def other_servers() -> Iterator[Finding]:
    """Servers of others that we were set up with."""
    servers = {}
    if not settings.EMBEDDED_RELAY:
        servers["RELAY_URL"] = settings.RELAY_URL
    if not settings.KEYS_SERVER_IS_OURS:
        servers["KEYS_SERVER_URL"] = settings.KEYS_SERVER_URL
    if not settings.HISTORY_SERVER_IS_OURS:
        servers["HISTORY_SERVER_URL"] = settings.HISTORY_SERVER_URL
    if settings.CAST_SERVER_URL != settings.PUBLIC_URL:
        servers["CAST_SERVER_URL"] = settings.CAST_SERVER_URL
    for name, url in servers.items():
        parts = urlsplit(url)
        port = parts.port or env.DEFAULT_PORTS[parts.scheme]
        try:
            socket.create_connection((parts.hostname or "", port), TIMEOUT_S).close()
        except OSError as error:
            yield fault(
                name,
                f"{parts.hostname}:{port} cannot be reached: {error}",
                f"check the network from here, and {name}",
            )
        else:
            yield ok(name, f"{parts.hostname}:{port} accepts connections")
