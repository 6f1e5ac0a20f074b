"""A browser session without a browser: the forms and pages of a device, over HTTP.

For tests that need one more device of an account beside real wallets, or the owner of a
dapp at the console. It sees what a person sees (pages, redirects, texts to sign) and
nothing else.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx

from walletconnect.crypto.ethereum import sign_eip191

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

TITLE = re.compile(
    r'<a class="row__link message__title[^>]* href="(/inbox/\d+)[^"]*">([^<]*)</a>'
)
FORM_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
# A dapp that could not be reached is asked again after two minutes.
PATIENCE_S = 180.0
POLL_S = 0.1


def wait_for(what: str, see: Callable[[], object]) -> None:
    """Look until ``see()`` is true; after a while give up on ``what``."""
    deadline = time.monotonic() + PATIENCE_S
    while not see():
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up waiting for {what}")
        time.sleep(POLL_S)


@dataclass(frozen=True)
class OwnDapp:
    """A project as its owner gets to know it when it is made."""

    project_id: str
    secret: str
    slug: str
    url: str


class BrowserDevice:
    """One signed-in session. ``private_key`` is the wallet's, 32 bytes."""

    def __init__(
        self,
        base_url: str,
        account: str,
        private_key: bytes,
        *,
        host: str = "",
        trust: ssl.SSLContext | bool = True,
    ) -> None:
        """``host`` is the public one, where ``base_url`` is behind a proxy. ``trust``
        has certificates of a test."""
        self.account = account
        self._private_key = private_key
        self._client = httpx.Client(
            base_url=base_url,
            follow_redirects=True,
            timeout=30,
            trust_env=False,
            verify=trust,
            headers={"Host": host} if host else {},
            # A kept connection would end with a web process that a test kills.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def __enter__(self) -> BrowserDevice:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    @property
    def cookies(self) -> str:
        """The header that a browser would send with its socket."""
        return "; ".join(
            f"{name}={text}" for name, text in self._client.cookies.items()
        )

    def client_copy(self) -> httpx.Client:
        """A client with the same session, for another thread; errors are not raised."""
        return httpx.Client(
            base_url=self._client.base_url,
            cookies=dict(self._client.cookies),
            headers={"Accept": "text/html"},
            timeout=30,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    # Signing in -----------------------------------------------------------

    def sign_in(self) -> BrowserDevice:
        """Both signatures: the login with the identity key, then Sync."""
        self._get("/signin")
        self._post("/signin/begin", signer="elsewhere", address=self.account)
        shared = self._post("/signin/prove", signature=self._sign("/signin/text/1"))
        account_pk = shared.url.params["account"]
        text = f"/signin/text/2?account={account_pk}"
        self._post(f"/signin/share?account={account_pk}", signature=self._sign(text))
        self.account_pk = account_pk
        return self

    def _sign(self, path: str) -> str:
        return sign_eip191(self._get(path).text, self._private_key)

    # What a person does ---------------------------------------------------

    def look_up(self, dapp_url: str) -> httpx.Response:
        """Enter the address of a dapp; the page on which that ends."""
        return self._get(f"/discover/dapp?{urlencode({'url': dapp_url})}")

    def page(self, path: str) -> str:
        return self._get(path).text

    def post(self, path: str, **fields: object) -> None:
        """Submit a form of the page that was read last."""
        self._post(path, **fields)

    def found(self, pattern: str, path: str) -> str:
        """What ``pattern`` captures in a page."""
        return _found(pattern, self.page(path))

    def subscribe(self, dapp_url: str, types: list[str]) -> str:
        """Press Subscribe; the path of the attempt's page."""
        page = self._post(
            "/discover/subscribe", url=dapp_url, account=self.account_pk, type=types
        )
        return page.url.path

    def update(self, topic: str, types: list[str]) -> None:
        self._post(f"/subscriptions/{topic}/update", type=types)

    def unsubscribe(self, topic: str) -> None:
        self._post(f"/subscriptions/{topic}/delete")

    def read(self, title: str) -> None:
        """Open the newest notification of that title."""
        self._get(self._messages("all")[title])

    def export_account(self, passphrase: str) -> bytes:
        self._get("/settings/data")
        return self._post(
            "/settings/data/export", passphrase=passphrase, again=passphrase
        ).content

    def import_account(self, content: bytes, passphrase: str) -> str:
        """Upload the file and confirm the preview; the preview."""
        self._get("/settings/data")
        form = {"csrfmiddlewaretoken": self._token, "passphrase": passphrase}
        preview = self._read(
            self._client.post(
                "/settings/data/import",
                data=form,
                files={"file": ("account.jsonl", content)},
                headers={"Referer": str(self._client.base_url)},
            )
        )
        self._post(preview.url.path, act="import")
        return unescape(preview.text)

    # What a person sees ---------------------------------------------------

    def topics(self) -> set[str]:
        """The subscriptions on the list, by topic."""
        page = self._get("/subscriptions").text
        return set(re.findall(r"/subscriptions/([0-9a-f]{64})\b", page))

    def inbox(self) -> str:
        return unescape(self._get("/inbox?tab=all").text)

    def titles(self) -> set[str]:
        """The titles in the inbox, as far as one page goes."""
        return set(self._messages("all"))

    def unread_titles(self) -> set[str]:
        return set(self._messages("unread"))

    def _messages(self, tab: str) -> dict[str, str]:
        """The address of each notification, by title."""
        page = self._get(f"/inbox?tab={tab}").text
        return {unescape(title): path for path, title in reversed(TITLE.findall(page))}

    def enabled_types(self, topic: str) -> set[str]:
        page = self._get(f"/subscriptions/{topic}").text
        return {
            name
            for box in re.findall(r"<input[^>]+>", page)
            if 'name="type"' in box and re.search(r"\bchecked\b", box)
            for name in re.findall(r'value="([^"]+)"', box)
        }

    # At the console -------------------------------------------------------

    def make_dapp(self, name: str, types: dict[str, str]) -> OwnDapp:
        """Create a project that is hosted here; the secret is on this page only."""
        lines = "\n".join(f"{name}: {text}" for name, text in types.items())
        page = self._post("/console/project/new", name=name, types=lines).text
        slug = _found(r'/console/([^/"]+)/send', page)
        return OwnDapp(
            project_id=_found(r"<dt>Project id</dt><dd[^>]*>(\w+)<", page),
            secret=_found(r'id="project-secret"[^>]*>(\w+)<', page),
            slug=slug,
            url=f"{str(self._client.base_url).rstrip('/')}/dapps/{slug}",
        )

    def receipts(self, slug: str) -> int:
        """How many messages of a dapp were acknowledged, as its overview says."""
        page = self._get(f"/console/{slug}").text
        return int(_found(r"<b>(\d+)</b><span[^>]*>received by a wallet", page))

    # HTTP -----------------------------------------------------------------

    def _get(self, path: str) -> httpx.Response:
        return self._read(self._client.get(path))

    def _post(self, path: str, **fields: object) -> httpx.Response:
        form = {"csrfmiddlewaretoken": self._token, **fields}
        headers = {"Referer": str(self._client.base_url)}
        return self._read(self._client.post(path, data=form, headers=headers))

    def _read(self, page: httpx.Response) -> httpx.Response:
        page.raise_for_status()
        if token := FORM_TOKEN.search(page.text):
            self._token = token.group(1)
        return page


def _found(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    assert found is not None, f"no {pattern} on the page:\n{page}"
    return unescape(found.group(1))
