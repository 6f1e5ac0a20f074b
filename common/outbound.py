"""The only HTTP client of the project, guarded against server-side request forgery.

Documents, Keys Servers and webhooks are at addresses that strangers chose. So: https
on port 443, public addresses only, resolved once and connected to exactly the checked
addresses, no redirects, no cookies, no proxy variables, one deadline over everything and
a cap on the length of the answer, counted after decompression. The hosts of
``settings.OUTBOUND_ALLOW`` may be private, plain http and on any port.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json as json_module
import queue
import re
import socket
import ssl
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import certifi
import httpcore

from common import clock
from common.addresses import is_public
from common.outbound_urls import (
    OutboundError,
    OutboundFailed,
    OutboundRefused,
    Target,
    check_url,
    is_exempt,
    target_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from common.addresses import Address

__all__ = [
    "OutboundError",
    "OutboundFailed",
    "OutboundRefused",
    "Response",
    "check_url",
    "fetch",
    "is_exempt",
]

USER_AGENT = "notifyweb"
MAX_ADDRESSES = 8
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
# Set by this module only; callers cannot override them.
OWN_HEADERS = frozenset(
    {
        "host",
        "cookie",
        "accept-encoding",
        "connection",
        "content-length",
        "transfer-encoding",
    }
)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> object:
        """The body as JSON; ``ValueError`` if it is none."""
        return json_module.loads(self.body)


def fetch(
    method: str,
    url: str,
    *,
    max_bytes: int,
    deadline: float,
    json: object = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    truncate: bool = False,
) -> Response:
    """One request, one whole answer, all within ``deadline`` seconds.

    An answer longer than ``max_bytes`` is refused, or cut there with ``truncate``. A
    redirect is returned like any other answer, never followed.
    """
    target = target_of(url)
    until = clock.monotonic() + deadline
    if json is not None:
        content = json_module.dumps(json, separators=(",", ":")).encode()
    sent = {
        "host": target.host_header,
        "user-agent": USER_AGENT,
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "connection": "close",
    }
    if content is not None:
        sent["content-length"] = str(len(content))
    if json is not None:
        sent["content-type"] = "application/json"
    for name, value in (headers or {}).items():
        if name.lower() not in OWN_HEADERS:
            sent[name.lower()] = value
    request = httpcore.Request(
        method,
        httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        ),
        headers=[
            (name.encode("ascii"), value.encode("ascii"))
            for name, value in sent.items()
        ],
        content=content,
    )
    backend = _GuardedBackend(target, until)
    with (
        _our_errors(),
        httpcore.ConnectionPool(
            ssl_context=_tls_context(), network_backend=backend
        ) as pool,
    ):
        answer = pool.handle_request(request)
        try:
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in answer.headers
            }
            body = bytearray()
            for chunk in _decoded(answer.iter_stream(), found, max_bytes + 1):
                body += chunk
                if len(body) > max_bytes and not truncate:
                    raise OutboundRefused(
                        f"the answer is longer than {max_bytes} bytes"
                    )
                if len(body) > max_bytes:
                    break
        finally:
            answer.close()
    return Response(answer.status, found, bytes(body[:max_bytes]))


@contextlib.contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except OutboundError:
        raise
    except httpcore.TimeoutException:
        raise OutboundFailed("no whole answer within the deadline") from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise OutboundFailed(_without_number(error) or type(error).__name__) from None
    except (OSError, ssl.SSLError) as error:
        raise OutboundFailed(_without_number(error)) from None


def _without_number(error: Exception) -> str:
    """The text of an error of the operating system: pages show it."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))


def _decoded(
    chunks: Iterable[bytes], headers: Mapping[str, str], max_bytes: int
) -> Iterator[bytes]:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        yield from chunks
        return
    if coding not in {"gzip", "x-gzip", "deflate"}:
        raise OutboundRefused("the answer is in an encoding we did not ask for")
    inflate = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        for chunk in chunks:
            # Never more at once than may be kept: a small answer can unfold to
            # gigabytes.
            yield inflate.decompress(chunk, max_bytes)
            while inflate.unconsumed_tail:
                yield inflate.decompress(inflate.unconsumed_tail, max_bytes)
    except zlib.error:
        raise OutboundFailed("the answer's compression is broken") from None


@functools.cache
def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to the checked addresses only."""

    def __init__(self, target: Target, until: float) -> None:
        self._target = target
        self._until = until
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = checked_addresses(
            host, port, exempt=self._target.exempt, until=self._until
        )
        failure: Exception = httpcore.ConnectError("no address")
        for position, address in enumerate(addresses):
            left = _left(self._until) / (len(addresses) - position)
            try:
                stream = self._tcp.connect_tcp(
                    str(address),
                    port,
                    timeout=left,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._until)
        raise failure

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise OutboundRefused("Unix sockets are not reached")


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the request's own deadline."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=_left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(
            ssl_context, server_hostname, timeout=_left(self._until)
        )
        return _DeadlineStream(stream, self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - clock.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return left


def checked_addresses(
    host: str, port: int, *, exempt: bool, until: float
) -> Sequence[Address]:
    """Every address of ``host``; refused as a whole if one of them is not public."""
    addresses = _resolve(host, port, until)[:MAX_ADDRESSES]
    if not addresses:
        raise OutboundFailed("the host name has no address")
    if not exempt and not all(is_public(address) for address in addresses):
        raise OutboundRefused("the host is not on the public Internet")
    return addresses


def _resolve(host: str, port: int, until: float) -> list[Address]:
    with contextlib.suppress(ValueError):
        return [ipaddress.ip_address(host)]
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            unique = dict.fromkeys(str(entry[4][0]).split("%")[0] for entry in found)
            answers.put([ipaddress.ip_address(text) for text in unique])
        except OSError as error:
            answers.put(error)
        except ValueError as error:
            answers.put(OSError(str(error)))

    # getaddrinfo takes no time limit, so it runs in a thread that may outlive the deadline.
    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        answer = answers.get(timeout=_left(until))
    except queue.Empty:
        raise OutboundFailed("the host name was not resolved in time") from None
    if isinstance(answer, OSError):
        raise OutboundFailed("the host name cannot be resolved") from None
    return answer
