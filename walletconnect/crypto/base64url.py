"""base64url without padding, in its one canonical text.

Spec: RFC 4648, section 5. A text with stray bits, padding or foreign letters is refused:
otherwise one signed token would have several texts.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from walletconnect.json_values import malformed

# `str.replace` twice is several times faster than any translation table.


def encode_base64url(content: bytes) -> str:
    text = b2a_base64(content, newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def decode_base64url(text: str) -> bytes:
    if "+" in text or "/" in text or "=" in text:
        raise malformed("base64url")
    tail = len(text) % 4
    padding = "=" * (-tail % 4)
    try:
        content = a2b_base64(
            text.replace("-", "+").replace("_", "/") + padding, strict_mode=True
        )
    except ValueError:
        raise malformed("base64url") from None
    # Only the last quantum can hold stray bits.
    if tail and encode_base64url(content[len(content) // 3 * 3 :]) != text[-tail:]:
        raise malformed("base64url")
    return content
