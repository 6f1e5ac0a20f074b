"""The address of a dapp, normalised from what people, wallets and documents write.

Spec: RFC 3986, section 6; the did:web method.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.web_host import normalize_host

DID_WEB: Final = "did:web:"

MAX_URL: Final = 2048
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
# Browsers leave these as they are in a path; everything else is percent-encoded.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=-._~[]|^{}`"
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")


def _malformed(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED, f"malformed app url: {reason}")


@dataclass(frozen=True, slots=True)
class AppUrl:
    """A dapp's URL in normal form: `https://host[:port][/path]`."""

    scheme: str
    authority: str
    path: str

    @classmethod
    def parse(cls, url: object) -> AppUrl:
        """The dapp at `url`, which may be any page address as a browser shows it.

        Query, fragment, default port and trailing slashes are dropped; scheme and host are
        in lower case, other letters in punycode and percent-encoding.
        """
        if not isinstance(url, str) or len(url) > MAX_URL:
            raise _malformed(f"it must be a text of at most {MAX_URL} characters")
        text = url.strip(" ")
        if not text.isprintable() or " " in text or "\\" in text:
            raise _malformed("it has a space, a backslash or a control character")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise _malformed("it cannot be read") from None
        if parts.scheme not in _DEFAULT_PORTS:
            raise _malformed("it begins with neither https:// nor http://")
        if "@" in parts.netloc:
            raise _malformed("it has a user name")
        if port == 0:
            raise _malformed("port 0 cannot be reached")
        try:
            host = normalize_host(parts.hostname or "")
        except ValueError as error:
            raise _malformed(str(error)) from None
        # RFC 3986, section 6.2.2: escapes are compared in upper case.
        path = quote(parts.path, safe=_PATH_CHARACTERS)
        path = _ESCAPE.sub(lambda match: match[0].upper(), path).rstrip("/")
        if {".", ".."} & set(unquote(path).split("/")):
            raise _malformed("its path has . or .. segments")
        host = f"[{host}]" if ":" in host else host
        is_default = port in (None, _DEFAULT_PORTS[parts.scheme])
        found = cls(parts.scheme, host if is_default else f"{host}:{port}", path)
        if len(str(found)) > MAX_URL:
            raise _malformed(f"it has more than {MAX_URL} characters")
        return found

    @classmethod
    def of_did(cls, did: str) -> AppUrl:
        """The app that a did:web names; loopback hosts have no certificates."""
        domain = _did_web_domain(did)
        local = re.fullmatch(r"localhost(:\d+)?(/.*)?", domain) is not None
        return cls.parse(f"{'http' if local else 'https'}://{domain}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def domain(self) -> str:
        """The authority with its path: what `appDomain` and did:web name."""
        return self.authority + self.path

    @property
    def host(self) -> str:
        """The host name or address, without brackets and port."""
        return urlsplit(str(self)).hostname or ""

    @property
    def did(self) -> str:
        """The did:web of the app.

        The port keeps its plain colon, against the did:web method, because the client of
        v1 builds it like that and compares the text.
        """
        return DID_WEB + self.domain

    def well_known(self, name: str) -> str:
        return f"{self}/.well-known/{name}"

    def is_named_by(self, app: str) -> bool:
        """Whether the claim `app` means this app: its URL, a page below it, or did:web."""
        try:
            if is_did_web(app):
                return AppUrl.of_did(app).domain == self.domain
            named = AppUrl.parse(app)
        except RemoteProtocolError:
            return False
        below = f"{named.path}/".startswith(f"{self.path}/")
        return named.authority == self.authority and below


def is_did_web(app: str) -> bool:
    return app.startswith(DID_WEB)


def _did_web_domain(did: str) -> str:
    """The domain in a did:web, as the method or the released client writes it.

    The method writes `host%3A8000:path:more`, the client `host:8000/path/more`.
    """
    text = did[len(DID_WEB) :].rstrip("/")
    if text.startswith("["):
        # An IPv6 address: its colons are no separators.
        address, bracket, text = text.partition("]")
        return address + bracket + unquote(text)
    segments = text.split(":")
    host = unquote(segments[0])
    rest = [unquote(segment) for segment in segments[1:]]
    if rest and rest[0].split("/")[0].isdigit():
        host = f"{host}:{rest.pop(0)}"
    return "/".join([host, *rest])
