"""Reasons of services, in the language of the page.

Services, the database, the APIs and the logs have them in English, the same for every reader.
Pages translate a reason by the template that it fits; a text without a template (such as
another server's) stays as it is. ``tests/dashboard/test_reasons.py`` compares the templates with
what the services raise.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

TEMPLATES: Final = (
    # Preferences and subscriptions
    _("This browser is not signed in with that account."),
    _("The dapp does not offer: %(names)s."),
    _("The types were changed elsewhere while you were choosing."),
    _("The account is subscribed to this dapp already."),
    _("You have blocked this dapp. Unblock it under Subscriptions first."),
    _("An account has preferences for at most %(most)s dapps."),
    _("That address is not reached: %(reason)s."),
    _("Your other checks are still running."),
    _("Too many domains are being checked at the moment."),
    _("An account has at most %(most)s subscriptions."),
    _("Too many subscribe requests today."),
    _(
        "The dapp's keys are not those it had before. Look at the change first, "
        "then subscribe again."
    ),
    _("The account is no longer subscribed to this dapp."),
    _("The key of this subscription is no longer in the keychain."),
    _("The dapp's own key is not known yet. Try again in a minute."),
    _(
        "A subscription has at most %(most)s types, and %(chosen)s are chosen. "
        "Switch %(surplus)s of them off."
    ),
    _("The dapp did not answer in time."),
    _("The dapp's documents could not be read in time."),
    _("The identity key is not registered yet."),
    _("No device of the account has a registered identity key."),
    _("the account has no registered identity key"),
    _("That address has more than %(most)s characters."),
    _("That is not the address of a dapp: its host name has no dot."),
    _(
        "That is not the address of a dapp: %(reason)s. Enter it as "
        "https://app.example, with at most a path."
    ),
    # Addresses
    _("it must be a text of at most %(most)s characters"),
    _("it has a space, a backslash or a control character"),
    _("it begins with neither https:// nor http://"),
    _("it has a user name"),
    _("port 0 cannot be reached"),
    _("its path has . or .. segments"),
    _("it has more than %(most)s characters"),
    _("it cannot be read"),
    _("the host name is missing"),
    _("the host name has more than %(most)s characters"),
    _("the host name has an empty label"),
    _("a label of the host name has more than %(most)s characters"),
    _(
        "a label of the host name has characters other than letters, digits and "
        "hyphens, or a hyphen at an end"
    ),
    _("the host is not a valid IPv6 address"),
    _("the host name is not a valid domain"),
    _("the host is not a valid IPv4 address"),
    _("a link has no spaces, quotation marks or backslashes"),
    _("a link must not carry a user name"),
    _("a link must begin with https://"),
    _("a link must be a complete address such as https://a.example/b"),
    # Calls of other servers
    _("the answer is in an encoding we did not ask for"),
    _("Unix sockets are not reached"),
    _("the host name has no address"),
    _("the host is not on the public Internet"),
    _("the host name cannot be resolved"),
    _("the host name was not resolved in time"),
    _("no whole answer within the deadline"),
    _("the answer's compression is broken"),
    _("the answer is longer than %(most)s bytes"),
    _("the URL has more than %(most)s characters"),
    _(
        "the URL is malformed: it has a space, a quotation mark, a backslash or a "
        "control character"
    ),
    _("the URL is malformed"),
    _("the URL does not begin with https://"),
    _("the URL carries a user name"),
    _("the URL has a fragment (#), which is never sent"),
    _("only https on port 443 is reached"),
    _("Connection refused"),
    _("Connection reset by peer"),
    _("No route to host"),
    _("Network is unreachable"),
    _("Server disconnected without sending a response."),
    _("ConnectTimeout"),
    _("answer %(status)s"),
    _("answered %(status)s"),
    _("the answer is %(status)s"),
    _("the receiver answered %(status)s"),
    _("the push service answered %(status)s"),
    _("the webhook's secret cannot be opened"),
    _("the webhook was disabled"),
    _("status %(status)s"),
    _("the receiver answered 410 Gone"),
    _("no event was delivered for %(days)s days"),
    # Reports on a dapp's documents
    _("its id is %(found)s; %(expected)s was expected"),
    _('Write "id": "%(id)s" into %(file)s.'),
    _(
        "List two JsonWebKey2020 methods, first X25519 (keyAgreement), then Ed25519"
        " (authentication), each with publicKeyJwk {kty: OKP, crv, x}, and refer to"
        " them in keyAgreement and authentication."
    ),
    _(
        'Add "types": [{"name": "updates", "description": "…"}]; a name, or the id '
        "if there is one, has up to 36 letters, digits and . / - _"
    ),
    _("%(names)s; %(count)s more cannot be offered"),
    _("Make %(url)s reachable from the internet."),
    _("Serve %(url)s over https on a public address, in at most %(most)s bytes."),
    _(
        "Answer GET %(url)s with status 200 and the JSON document; redirects are "
        "not followed."
    ),
    _("Serve valid JSON at %(url)s."),
    _("this is not a JSON object"),
    _("%(count)s bytes of JSON"),
    _("types lists nothing"),
    _("types lists none with a usable name"),
    _("%(role)s names no %(curve)s key"),
    _("malformed %(what)s"),
    _("%(what)s is too long"),
    _("the dapp's keys are not those that it had before"),
    _("it stopped for a reason of ours"),
    _("Try again."),
    _("did.json: %(reason)s"),
    _("wc-notify-config.json: %(reason)s"),
    # Sync and Keys Servers
    _(
        "This wallet signed the same text differently before. Its signatures are "
        "not deterministic, so they do not lead to the same shared store. Nothing "
        "was changed."
    ),
    _("An account has at most %(most)s epochs."),
    _(
        "This account already has an inbox of its own here. Sign in with it, or "
        "remove it there first."
    ),
    _("the History Server is too slow: not read within 9.5 minutes"),
    _("the store's key is no longer in the keychain"),
    _("its id is far ahead of the clock"),
    _("a Keys Server is not available"),
    _(
        "the sync signature must be 0x and 130 lower-case hex digits, s in the "
        "lower half, v 1b or 1c"
    ),
    _("the sync signature is not the account's"),
    _("sync needs an eip155 account"),
    _("signature does not fit"),
    # Projects and sending
    _("a project has at most %(most)s scheduled notifications"),
    _("no account is left to retry"),
    _("notification_id must be one line"),
    _("the project offers no type %(type)s"),
    _("a project has at most %(most)s lists; delete one first"),
    _(
        "the lists of all your projects may have at most %(most)s accounts together; "
        "delete one first"
    ),
    _("the file names no account"),
    _("%(text)s is not a CAIP-10 account"),
    _("a notification is still to be sent to this list; cancel it first"),
    _("line %(line)s: a list has at most %(most)s lines"),
    _("%(zone)s is not a time zone"),
    _("enter a local time, without an offset"),
    _("that year is out of range"),
    _("%(local)s does not exist in %(zone)s: clocks go forward then; %(shown)s does"),
    _("%(local)s in %(zone)s is past; it is %(now)s there now"),
    _("schedule at most %(days)s days ahead"),
    _("enter a date and a time such as 2027-03-28T09:30"),
    _("no value for the variable %(name)s"),
    _("no values for the variables %(names)s"),
    _("a template's name has 1 to 64 characters"),
    _("a template has a title and a text"),
    _("no template has this id"),
    _("write a variable as {{ name }}: small letters, digits and _, up to 32"),
    _("%(part)s has at most %(most)s characters"),
    _("another template has this name"),
    _("a project has at most %(most)s templates; delete one first"),
    _("another project has this address"),
    _("another project of this member has the same address"),
    _("one person has at most %(most)s projects; close one that is not needed"),
    _("the keys are being replaced already"),
    _("%(most)s previous pairs of keys are still accepted; end that first"),
    _("no keys are being replaced"),
    _("no previous keys are accepted"),
    # Signing in
    _(
        "This is not an Ethereum address, or it was mistyped: its checksum (the capital "
        "letters) is wrong."
    ),
    _(
        "This page was opened at an address that is not this server's. Open "
        "%(expected)s and sign in there."
    ),
    _("This message was not made here. Ask for a new one."),
    _("This message is more than ten minutes old. Make a new one."),
    _("This message was used to sign in already. Make a new one."),
    _("This message was made in another browser or session. Make a new one here."),
    _(
        "This is not a signature. A signature has 130 (or 128) hexadecimal digits, with "
        "or without 0x."
    ),
    _("This signature is from %(signer)s. Expected was %(expected)s."),
    _(
        "This signature is from %(signer)s. Expected was %(expected)s. If that is a "
        "smart-contract wallet: this server has no JSON-RPC endpoint for chain "
        "%(chain)s; its operator can add one with the setting NOTIFYWEB_RPC_URLS."
    ),
    _(
        "The wallet's contract on chain %(chain)s does not accept this signature, or "
        "the address belongs to a contract on another chain here. For a wallet on "
        "another chain, give the account with its chain, such as eip155:10:0x…"
    ),
    _(
        "Signatures of smart-contract wallets on this chain cannot be checked here: "
        "this server has no JSON-RPC endpoint for chain %(chain)s. Its operator can "
        "add one with the setting NOTIFYWEB_RPC_URLS."
    ),
    _(
        "The signature cannot be checked now: chain %(chain)s does not answer "
        "(%(reason)s). Try again in a minute."
    ),
    _("Windows line ends"),
    _("a line break at the end"),
    _("line breaks at the end"),
    _("a space at the end"),
    _("a line break at the beginning"),
    _("a space at the beginning"),
    # Alerts
    _("this server sends no mail: its operator has to set EMAIL_URL"),
    _("choose how often the digest is sent"),
    _("the hour is 0 to 23"),
    _("that is not a mail address"),
    _("too many mails to confirm an address were asked for; try tomorrow"),
    _("choose ntfy, Gotify or a webhook"),
    _("the token has at most %(count)s characters, ASCII only"),
    _("give the address with the topic, such as https://ntfy.sh/my-topic"),
    _("there can be at most %(count)s forwards"),
    _("quiet hours are two times such as 22:00"),
    _("quiet hours are local times, without an offset"),
    _("mute for one of %(names)s"),
    _("an account has at most %(count)s mutes"),
    _("a push subscription has an endpoint and keys"),
    _("the endpoint is a URL of at most 2048 characters"),
    _("the endpoint cannot be called: %(reason)s"),
    # Imports
    _("Line %(line)s: %(reason)s."),
    _("the line is too long"),
    _("something follows the end record"),
    _("this is not the kind of line that belongs here"),
    _("this topic occurs twice"),
    _("the end record is missing: the file is not complete"),
    _("the file has another number of lines than its end record"),
    _("this file is not an export of an account"),
    _("this server reads version %(version)s of the format only"),
    _("the file is empty"),
    _("the account %(account)s is not yours here; sign in with it first"),
    _("the passphrase does not open the sealed part"),
    _("Sync is on here with another shared store"),
    _("there are too many mutes"),
    _("its subscription is not in this inbox"),
    # Members
    _("choose owner, sender or viewer"),
    _("an invitation is valid for 1 to %(days)s days"),
    _("a name is one line of up to %(most)s characters"),
    _("%(most)s invitations are open already; withdraw one first"),
    _("there is no such invitation"),
    _("this invitation was used already; each is for one person"),
    _("this invitation was withdrawn"),
    _("this invitation has expired; ask for another"),
    _("you are a member of this project already"),
    _("there is no open invitation with this id"),
    _("the main owner cannot leave; hand the project over to another member first"),
    _("you are no member of this project"),
    _("only the main owner can hand the project over"),
    _("there is no such member"),
    _("a project has at most %(most)s members"),
    # Projects and their types
    _(
        "this server's own addresses cannot be claimed; have the dapp hosted here "
        "instead"
    ),
    _("a dapp offers 1 to %(most)s types"),
    _("a dapp offers each type once"),
    _("a secret has at least one scope"),
    _("a project has at most %(most)s secrets"),
    _("no active secret has this id"),
    _("this secret is being replaced already"),
    _("name has %(least)s to %(most)s characters"),
    _("description has %(least)s to %(most)s characters"),
    _("%(part)s has %(least)s to %(most)s characters"),
    _("name is text on one line"),
    _("description is text on one line"),
    _("%(part)s is text on one line"),
    _("an icon address has at most %(most)s characters"),
    _("a type's id has up to 36 letters, digits, and . / - _"),
    _("the name of type %(type)s is one line of up to %(most)s characters"),
    _("the description of type %(type)s is one line of up to %(most)s characters"),
    _("icon: %(reason)s"),
    _("the demo is switched off (NOTIFYWEB_DEMO)"),
    _("the project has no webhook with this id"),
    _("events must be %(names)s"),
    _("the range ends before it begins"),
    _("the webhook is paused; turn it on first"),
    _("states must be %(names)s"),
    _("a project has at most %(most)s webhooks"),
    _("the range has more than %(most)s events; choose a shorter one"),
    _("this project sends too often; try again in %(seconds)s seconds"),
    _("too many uploads; try again in %(seconds)s seconds"),
    _("title must have %(least)s to %(most)s characters"),
    _("body must have %(least)s to %(most)s characters"),
    _("%(part)s must have %(least)s to %(most)s characters"),
    _("an Idempotency-Key must be 1 to 255 visible ASCII characters"),
    _("this Idempotency-Key was used for another request"),
    _("the first call with this Idempotency-Key is still running"),
    _("nothing was stored: one line has no account"),
    _("nothing was stored: %(count)s lines have no account"),
    _("too many checks; try again in %(seconds)s seconds"),
    _("the project id and the secret do not match"),
    _("the %(part)s of type %(type)s is one line of up to %(most)s characters"),
    # Why an account gets nothing
    _("the account does not allow the other type"),
    _("the account does not allow notifications of this type"),
    _("the account got too many notifications from this app lately"),
    _("not a CAIP-10 account"),
    _("not an address: 0x and 40 hexadecimal digits"),
    _("the letter case of the address is not its checksum (EIP-55)"),
    _("not a subscriber"),
    _("the key of the subscription cannot be read"),
    _("no account in the column of accounts"),
    _("more than %(most)s bytes in one line"),
)
_PLACE = re.compile(r"%\((\w+)\)s")


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Those with the most letters of their own first: they fit the fewest reasons."""
    found = sorted(TEMPLATES, key=lambda each: -len(_PLACE.sub("", each)))
    return [(_pattern(each), each) for each in found if "%(" in each]


def _pattern(template: str) -> re.Pattern[str]:
    parts = _PLACE.split(template)
    names, texts = parts[1::2], map(re.escape, parts[0::2])
    first = next(texts)
    rest = (f"(?P<{name}>.+){text}" for name, text in zip(names, texts, strict=True))
    return re.compile(first + "".join(rest), re.DOTALL)


@functools.cache
def _exact() -> frozenset[str]:
    return frozenset(each for each in TEMPLATES if "%(" not in each)


def template_of(reason: str) -> tuple[str, dict[str, str]] | None:
    """The template that a reason fits, and what it has in its places."""
    if reason in _exact():
        return reason, {}
    for pattern, template in _patterns():
        if match := pattern.fullmatch(reason):
            return template, match.groupdict()
    return None


def translate_reason(reason: object) -> str:
    """``reason`` in the active language; reasons within it, too."""
    text = str(reason)
    if (get_language() or "en").startswith("en"):
        return text
    # The Cast Server's reasons have no full stop, also where they quote a sentence.
    found = template_of(text) or template_of(f"{text}.")
    if found is None:
        return text
    template, places = found
    if not places:
        return gettext(template)
    return gettext(template) % {
        name: translate_reason(value) for name, value in places.items()
    }


def sentence(reason: object) -> str:
    """A reason as a sentence: services raise them in lower case without a full stop."""
    text = translate_reason(reason)
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
