"""A wallet as the published clients are one, and a way to the Cast Server and back.

Messages go in through the inbox and come out of the outbox, as they do in the running
system; only the relay between is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings

from common import clock, entropy
from identity.services import keys_server
from messaging import services as messaging
from messaging.models import InboxMessage, OutboxMessage, Party
from tests.cacaos import identity_payload
from walletconnect.crypto.envelope import open_envelope
from walletconnect.crypto.ethereum import address_of, sign_eip191
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.cacao import Cacao, build_message
from walletconnect.identity.did import AccountId, DidWebDocument
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.delete import request_delete
from walletconnect.notify.parties import WalletIdentity
from walletconnect.notify.scope import NotificationType, ScopeMap
from walletconnect.notify.subscribe import request_subscription, settle_subscription
from walletconnect.notify.update import request_update
from walletconnect.notify.values import Metadata
from walletconnect.relay.rpc import parse


def document_of(project) -> DidWebDocument:
    from castserver.services.projects.documents import did_document

    return DidWebDocument.from_value(did_document(project))


def scope_of(project) -> ScopeMap:
    return ScopeMap.of_types(
        NotificationType(each.name, each.description, each.type_id)
        for each in project.types.all()
    )


def metadata_of(project) -> Metadata:
    return Metadata(project.name, project.description, project.url)


@dataclass
class Wallet:
    """One device of one account, registered at our Keys Server."""

    name: str
    device: str = "phone"
    statement: str = ""
    domain: str | None = None
    # How long the account lets this device speak for it, seconds; None: without end.
    life: int | None = None
    chain: str = "1"
    account: AccountId = field(init=False)

    def __post_init__(self):
        self.private_key = (self.name * 32).encode()[:32]
        self.account = AccountId("eip155", self.chain, address_of(self.private_key))
        self.key = IdentityKey.from_seed(
            f"{self.name} {self.device}".encode()[:32].ljust(32)
        )
        self.identity = WalletIdentity(self.account, self.key, settings.KEYS_SERVER_URL)

    def register(self):
        import dataclasses

        payload = identity_payload(
            self.account,
            identity_key=self.key.did,
            keys_server_url=settings.KEYS_SERVER_URL,
            nonce=entropy.token_hex(16),
            now=clock.now_s(),
        )
        changes = {"statement": self.statement} if self.statement else {}
        if self.domain:
            changes["domain"] = self.domain
        if self.life is not None:
            end = clock.now() + timedelta(seconds=self.life)
            changes["exp"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        payload = dataclasses.replace(payload, **changes)
        signature = sign_eip191(build_message(payload), self.private_key)
        if self.statement:
            keep_directly(Cacao.signed(payload, signature))
        else:
            keys_server.register(Cacao.signed(payload, signature).to_value())
        return self

    def request(self, project, *, key_pair_y=None, app=None, **changes):
        """A subscribe request (steps 2 to 7), and the key pair Y."""
        import dataclasses

        key_pair_y = key_pair_y or KeyPair.from_private(entropy.key_bytes())
        metadata = metadata_of(project)
        if app is not None:
            metadata = dataclasses.replace(metadata, url=app)
        arguments = {
            "metadata": metadata,
            "scope": scope_of(project),
            "request_id": clock.payload_id(),
            "iv": entropy.iv(),
            "now": clock.now_s(),
        }
        made = request_subscription(
            document_of(project),
            self.identity,
            key_pair_y=key_pair_y,
            **(arguments | changes),
        )
        return made, key_pair_y

    def subscribe(self, project, **changes):
        """All of it; the wallet's ``NotifySubscription``."""
        made, key_pair_y = self.request(project, **changes)
        deliver(made.publish)
        answer = parse(open_last(made.sym_key_s))
        return settle_subscription(
            made.pending, answer, key_pair_y=key_pair_y, now=clock.now_s()
        ).subscription

    def update(self, project, subscription, enabled, **changes):
        arguments = {
            "enabled": enabled,
            "dapp_did": project.authentication_did,
            "request_id": clock.payload_id(),
            "iv": entropy.iv(),
            "now": clock.now_s(),
        }
        made = request_update(subscription, self.identity, **(arguments | changes))
        deliver(made.publish)
        return made

    def delete(self, project, subscription, **changes):
        arguments = {
            "dapp_did": project.authentication_did,
            "request_id": clock.payload_id(),
            "update_id": clock.payload_id(),
            "iv": entropy.iv(),
            "now": clock.now_s(),
        }
        made = request_delete(subscription, self.identity, **(arguments | changes))
        deliver(made.publish)
        return made


def keep_directly(cacao: Cacao):
    """Put a CACAO into the Keys Server that a later client would have registered."""
    keys_server.register(cacao.to_value())


# --- in and out -----------------------------------------------------------------------


def deliver(*publications, handle=True) -> list[InboxMessage]:
    """What the relay would hand to the Cast Server; handled at once."""
    pks = messaging.receive(
        Party.CAST,
        [
            messaging.Received(each.topic, each.message, int(each.tag), clock.now_ms())
            for each in publications
        ],
    )
    if handle:
        assert messaging.handle_due(20.0) is False
    return list(InboxMessage.objects.filter(pk__in=pks).order_by("pk"))


def deliver_again(*publications) -> None:
    """The same messages once more, as after a crash before they were marked."""
    for each in publications:
        InboxMessage.objects.filter(
            topic=each.topic, message_id=each.message_id
        ).update(
            message=each.message, state="due", next_attempt_at=clock.now(), attempts=0
        )
    assert messaging.handle_due(20.0) is False


def sent(topic=None, tag=None) -> list[OutboxMessage]:
    """What the Cast Server has put in its outbox, in order."""
    rows = OutboxMessage.objects.filter(party=Party.CAST).order_by("pk")
    if topic is not None:
        rows = rows.filter(topic=str(topic))
    if tag is not None:
        rows = rows.filter(tag=int(tag))
    return list(rows)


def open_last(sym_key: SymKey, tag=None) -> str:
    """The plaintext of the last message on the topic of a key."""
    found = sent(sym_key.topic, tag)
    assert found, "nothing was sent on this topic"
    return open_envelope(found[-1].message, sym_key)


def open_all(sym_key: SymKey, tag=None) -> list:
    return [
        parse(open_envelope(row.message, sym_key)) for row in sent(sym_key.topic, tag)
    ]


def claims_of(token: str) -> dict:
    return DidJwt.parse(token).claims


def counts() -> dict[str, int]:
    """How many rows of everything that a refusal must not make."""
    from castserver import models
    from keychain.models import KeyPairEntry, SymKeyEntry
    from messaging.models import TopicSubscription
    from runlog.models import StepRecord

    return {
        model.__name__: model.objects.count()
        for model in (
            models.Subscriber,
            models.Answer,
            models.Delivery,
            models.Notification,
            models.WebhookDelivery,
            models.Watcher,
            models.ChangedSubscriptions,
            SymKeyEntry,
            KeyPairEntry,
            TopicSubscription,
            StepRecord,
        )
    }
