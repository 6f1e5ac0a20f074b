"""Checks of ports, proxies, certificates and other servers, as seen from this machine."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from common import clock, outbound
from common.clients import client_address
from identity.services import endpoint_fault
from notifyweb import environment as env
from notifyweb.doctor.findings import Finding, fault, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

    from django.http import HttpRequest

TIMEOUT_S = 3.0
OK = 200
SWITCHING = 101
BAD_GATEWAY = frozenset({502, 503, 504})
# Accepted, or refused by our socket, because it has no session.
SOCKET_STATES = frozenset({SWITCHING, 403})
# An endpoint answers three questions of the doctor, and two for a sign-in.
MAX_ENDPOINT_S = 3.0
MAX_ENDPOINTS_AT_ONCE = 16
DAY_S = 86_400
MIN_CERTIFICATE_DAYS = 14
MAX_DOCUMENT_BYTES = 64 << 10


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
                _("nothing answers on %(place)s (%(error)s)")
                % {"place": place, "error": error.strerror or error},
                _("start the process, or set %(setting)s to its port")
                % {"setting": setting},
            )
            continue
        if status == OK and (path == "/health" or _is_our_health(body)):
            yield ok(name, _("%(place)s answers") % {"place": place})
        else:
            yield fault(
                name,
                _("another program answers on %(place)s") % {"place": place},
                _("stop it, or set %(setting)s to a free port") % {"setting": setting},
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
            _(
                "NOTIFYWEB_PUBLIC_URL is https, which a proxy must provide, but NOTIFYWEB_TRUSTED_PROXIES is 0: every caller has the proxy's address and shares its limits"
            ),
            _("set NOTIFYWEB_TRUSTED_PROXIES to the number of proxies in front"),
        )
    elif proxies and not settings.PUBLIC_HTTPS:
        yield warning(
            "proxy headers",
            _(
                "%(proxies)s proxies are trusted although NOTIFYWEB_PUBLIC_URL is http: without a proxy, callers choose their own address"
            )
            % {"proxies": proxies},
            _(
                "set NOTIFYWEB_TRUSTED_PROXIES=0, or NOTIFYWEB_PUBLIC_URL to the https URL"
            ),
        )
    elif proxies:
        yield ok(
            "proxy headers", _("%(proxies)s proxies are trusted") % {"proxies": proxies}
        )
    else:
        yield ok("proxy headers", _("ignored: no proxy in front"))
    host = settings.PUBLIC_HOST
    if host not in settings.ALLOWED_HOSTS and "*" not in settings.ALLOWED_HOSTS:
        yield fault(
            "ALLOWED_HOSTS",
            _("lacks %(host)s, the host of NOTIFYWEB_PUBLIC_URL: pages answer 400")
            % {"host": host},
            _("add %(host)s to ALLOWED_HOSTS") % {"host": host},
        )


def proxy_of(request: HttpRequest) -> Iterator[Finding]:
    """Whether this request passed the proxies that are trusted; for the page."""
    proxies: int = settings.TRUSTED_PROXIES
    header = request.headers.get("X-Forwarded-For", "")
    hops = len([hop for hop in header.split(",") if hop.strip()])
    found = f"came with {hops} addresses in X-Forwarded-For; {proxies} are trusted"
    if hops and not proxies:
        yield warning(
            "this request",
            found,
            _(
                "set NOTIFYWEB_TRUSTED_PROXIES to the number of your proxies: now every caller has the address of the last one and shares its limits"
            ),
        )
    elif hops < proxies:
        yield fault(
            "this request",
            found,
            _(
                "let each proxy add the caller's address to X-Forwarded-For, and close the way past them (NOTIFYWEB_BIND)"
            ),
        )
    else:
        # More than trusted ones were written by the caller; they are ignored.
        yield ok(
            "this request",
            _("came from %(address)s") % {"address": client_address(request)},
        )
    if settings.PUBLIC_HTTPS and not request.is_secure():
        yield fault(
            "this request",
            _("came without https, as far as its headers show"),
            _("let the proxy set X-Forwarded-Proto to https"),
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
            yield ok(
                "TLS",
                _("%(name)s is %(scheme)s: for this machine only")
                % {"name": name, "scheme": parts.scheme},
            )
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
            _("%(place)s: the certificate is refused: %(reason)s")
            % {"place": place, "reason": error.verify_message},
            _("install the full chain of a certificate for this host on the proxy"),
        )
    except (OSError, ValueError) as error:
        return fault(
            "TLS",
            _("%(place)s cannot be reached from here: %(error)s")
            % {"place": place, "error": error},
            _("check DNS, the proxy and its port"),
        )
    expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    days = int((expires - clock.now_s()) / DAY_S)
    if days < MIN_CERTIFICATE_DAYS:
        return warning(
            "TLS",
            _("%(place)s: the certificate expires in %(days)s days")
            % {"place": place, "days": days},
            _("renew it"),
        )
    return ok(
        "TLS", _("%(place)s: valid for %(days)s days") % {"place": place, "days": days}
    )


def public_addresses() -> Iterator[Finding]:
    """Whether our programs are behind the public URLs, and browsers get their sockets."""
    if not settings.PRODUCTION and not settings.PUBLIC_HTTPS:
        return  # the ports of this machine, which are checked
    addresses = {"NOTIFYWEB_PUBLIC_URL": (settings.PUBLIC_URL, "/healthz")}
    if settings.EMBEDDED_RELAY:
        relay = settings.RELAY_PUBLIC_URL, "/health"
        addresses["NOTIFYWEB_RELAY_PUBLIC_URL"] = relay
    for name, (url, path) in addresses.items():
        try:
            status, body = _request(url, path)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # From inside, a public address is not always reachable.
            yield warning(
                "public URL",
                _("%(name)s does not answer from here: %(reason)s")
                % {"name": name, "reason": str(error) or type(error).__name__},
                _("open it in a browser elsewhere; check DNS, the proxy and its port"),
            )
            continue
        if status in BAD_GATEWAY:
            yield fault(
                "public URL",
                _("%(name)s: the proxy answers %(status)s")
                % {"name": name, "status": status},
                _("start our process, and give the proxy its address and port"),
            )
        elif status != OK or (path == "/healthz" and not _is_our_health(body)):
            yield fault(
                "public URL",
                _("%(name)s: another program answers (%(path)s: %(status)s)")
                % {"name": name, "path": path, "status": status},
                _("let the proxy pass the whole host to our process"),
            )
        else:
            yield ok("public URL", _("%(name)s answers") % {"name": name})
            if path == "/healthz":
                yield from _browser_sockets(url)


def _browser_sockets(url: str) -> Iterator[Finding]:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Origin": settings.PUBLIC_URL,
    }
    try:
        status, _body = _request(url, "/ws/device/", headers)
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield warning(
            "browser sockets",
            _("no answer: %(error)s") % {"error": error},
            _("see the proxy's log"),
        )
        return
    # A page of ours answers 404 where the headers of a WebSocket are missing.
    if status in SOCKET_STATES:
        yield ok("browser sockets", _("the proxy passes WebSockets"))
    else:
        yield fault(
            "browser sockets",
            _("a WebSocket is answered with %(status)s: pages update only by polling")
            % {"status": status},
            _(
                "let the proxy pass the headers Upgrade, Connection and Host (deploy/nginx.conf)"
            ),
        )


def _request(
    url: str, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or env.DEFAULT_PORTS[parts.scheme]
    is_secure = parts.scheme in {"https", "wss"}
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    asking = kind(host, port, timeout=TIMEOUT_S)
    try:
        asking.request("GET", path, headers=dict(headers or {}))
        answer = asking.getresponse()
        # A socket that was accepted stays open.
        body = b"" if answer.status == SWITCHING else answer.read(4096)
        return answer.status, body
    finally:
        asking.close()


def hosted_dapps() -> Iterator[Finding]:
    """Whether our own reader, with its rules, reads what is hosted here: then the users
    of this server can subscribe to its dapps."""
    url = f"{settings.PUBLIC_URL}/.well-known/did.json"
    try:
        outbound.fetch("GET", url, max_bytes=MAX_DOCUMENT_BYTES, deadline=TIMEOUT_S)
    except outbound.OutboundRefused as error:
        yield warning(
            "hosted dapps",
            _("users of this server cannot subscribe to them; %(url)s: %(error)s")
            % {"url": settings.PUBLIC_URL, "error": error},
            _(
                "use https on port 443 and a public address, or name %(host)s in %(setting)s (docs/settings.md)"
            )
            % {"host": settings.PUBLIC_HOST, "setting": env.OUTBOUND_ALLOW},
        )
    except outbound.OutboundFailed as error:
        yield warning(
            "hosted dapps",
            _("cannot be read at %(url)s from here: %(error)s")
            % {"url": settings.PUBLIC_URL, "error": error},
            _(
                "let this machine reach its own public URL, with a certificate that it trusts"
            ),
        )
    else:
        yield ok("hosted dapps", _("can be read at the public URL"))


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
    if dsn := env.text("SENTRY_DSN"):
        servers["SENTRY_DSN"] = dsn
    for name, url in servers.items():
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or env.DEFAULT_PORTS[parts.scheme]
        place = f"{env.url_host(host)}:{port}"
        try:
            with socket.create_connection((host, port), TIMEOUT_S) as plain:
                if parts.scheme in {"https", "wss"}:
                    context = ssl.create_default_context()
                    context.wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            yield fault(
                name,
                _("%(place)s: its certificate is refused: %(reason)s")
                % {"place": place, "reason": error.verify_message},
                _("correct %(name)s, or report it to the owner of that server")
                % {"name": name},
            )
        except (OSError, ValueError) as error:
            yield fault(
                name,
                _("%(place)s cannot be reached: %(error)s")
                % {"place": place, "error": error},
                _("check the network from here, and %(name)s") % {"name": name},
            )
        else:
            yield ok(name, _("%(place)s accepts connections") % {"place": place})


def chain_endpoints() -> Iterator[Finding]:
    """Whether each JSON-RPC endpoint is of its chain, fast enough, and truthful."""
    chains = sorted(settings.RPC_URLS)
    if not chains:
        yield ok(
            "RPC endpoints",
            _("none: smart-contract wallets cannot sign in (NOTIFYWEB_RPC_URLS)"),
        )
        return
    with ThreadPoolExecutor(min(len(chains), MAX_ENDPOINTS_AT_ONCE)) as threads:
        answers = threads.map(_examined, chains)
        for chain_id, (wrong, seconds) in zip(chains, answers, strict=True):
            # Without the path and the query, which often contain a key.
            parts = urlsplit(settings.RPC_URLS[chain_id])
            place = f"chain {chain_id} ({parts.hostname})"
            if wrong:
                yield fault(
                    "RPC endpoints",
                    f"{place}: {wrong}",
                    _(
                        "correct the URL of chain %(chain)s in NOTIFYWEB_RPC_URLS, or choose another provider; until then wallets of that chain cannot sign in"
                    )
                    % {"chain": chain_id},
                )
            elif seconds > MAX_ENDPOINT_S:
                yield warning(
                    "RPC endpoints",
                    _(
                        "%(place)s: answers after %(seconds).1f s, and sign-ins wait for it"
                    )
                    % {"place": place, "seconds": seconds},
                    _("choose a faster or nearer provider in NOTIFYWEB_RPC_URLS"),
                )
            else:
                yield ok(
                    "RPC endpoints",
                    _("%(place)s answers truthfully") % {"place": place},
                )


def _examined(chain_id: int) -> tuple[str, float]:
    began = clock.monotonic()
    wrong = endpoint_fault(chain_id)
    return wrong, clock.monotonic() - began
