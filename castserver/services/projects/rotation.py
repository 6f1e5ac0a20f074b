"""Replacing a dapp's keys without losing subscribers.

Subscriptions depend on key P of their topic only, which stays. The keys of did.json are used
in two places: wallets encrypt subscribe requests to X, and check that the authentication key
signed what they receive. Since they read did.json at different times (hosted documents may
be cached for minutes, our own inbox keeps them for a day), both old and new keys are accepted
for ``rotated_keys_days``: a request is answered with the keys that it names. Notifications
are signed with the keys in use.

A hosted dapp changes its keys at once. The domain of any other has to publish the new did.json
first; when the check of the address has read it there, the new keys are used.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import audit
from castserver.models import Project, ProjectKeys
from castserver.services.errors import Missing, Taken, TooMany
from castserver.services.projects.members import lock_project
from castserver.services.projects.projects import documents_changed
from common import clock, entropy
from keychain.services import (
    Holder,
    forget,
    put_key_pair,
    put_signing_key,
    signing_key,
)
from messaging import outbox
from messaging.models import Party
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey
from walletconnect.notify.handover import sign_handover

if TYPE_CHECKING:
    from datetime import datetime

    from accounts.models import User

NEXT: Final = ProjectKeys.State.NEXT
PREVIOUS: Final = ProjectKeys.State.PREVIOUS
# did.json lists them, and every one is a topic to listen on.
MAX_PREVIOUS: Final = 3


@transaction.atomic
def begin_rotation(project: Project, *, by: User | None = None) -> ProjectKeys | None:
    """Make new keys. Returns them if the domain has to publish them first.

    Then the caller has the address checked soon.
    """
    row = lock_project(project)
    if row.other_keys.filter(state=NEXT).exists():
        raise Taken("the keys are being replaced already")
    if row.other_keys.filter(state=PREVIOUS).count() >= MAX_PREVIOUS:
        raise TooMany(
            f"{MAX_PREVIOUS} previous pairs of keys are still accepted; end that first"
        )
    key_pair_x = KeyPair.from_private(entropy.key_bytes())
    authentication_key = IdentityKey.from_seed(entropy.key_bytes())
    put_key_pair(Holder.CAST, key_pair_x)
    put_signing_key(Holder.CAST, authentication_key)
    made = ProjectKeys.objects.create(
        project=row,
        state=NEXT,
        subscribe_topic=key_pair_x.topic,
        public_key_x=key_pair_x.public_key.hex(),
        authentication_did=authentication_key.did,
        created_at=clock.now(),
    )
    # Before anyone can read them: the first request may come at once.
    outbox.subscribe(Party.CAST, [made.subscribe_topic])
    audit(
        "project.keys-made",
        actor=by,
        subject=row.pk,
        detail=made.authentication_did,
    )
    if row.is_hosted:
        _use(row, made)
        return None
    # The file that the owner publishes has what the keys in use sign about the new ones.
    until = clock.now() + timedelta(days=settings.LIMITS.rotated_keys_days)
    made.handover = _handover(row.authentication_did, made, until)
    made.save(update_fields=["handover"])
    _sign_handovers(row, made)
    return made


@transaction.atomic
def use_published_keys(project: Project, authentication_did: str) -> bool:
    """Use the next keys if they are these, which the domain publishes."""
    row = lock_project(project)
    found = row.other_keys.filter(
        state=NEXT, authentication_did=authentication_did
    ).first()
    if found is not None:
        _use(row, found)
    return found is not None


@transaction.atomic
def cancel_rotation(project: Project, *, by: User | None = None) -> None:
    """Keep the keys in use. The new ones count as previous ones from now on.

    The domain may have published them since its last check. Wallets that read them there
    pinned them, and are brought back by what they sign about the keys in use.
    """
    row = lock_project(project)
    found = row.other_keys.filter(state=NEXT).first()
    if found is None:
        raise Missing("no keys are being replaced")
    audit(
        "project.keys-dropped",
        actor=by,
        subject=row.pk,
        detail=found.authentication_did,
    )
    now = clock.now()
    found.state = PREVIOUS
    found.created_at = now
    found.valid_until = now + timedelta(days=settings.LIMITS.rotated_keys_days)
    found.save(update_fields=["state", "created_at", "valid_until"])
    # The tokens of previous keys named those that are given up.
    _sign_handovers(row, row)
    _changed(row)


@transaction.atomic
def end_overlap(project: Project, *, by: User | None = None) -> None:
    """Accept the previous keys no longer, because they have leaked."""
    row = lock_project(project)
    found = list(row.other_keys.filter(state=PREVIOUS))
    if not found:
        raise Missing("no previous keys are accepted")
    audit("project.keys-ended", actor=by, subject=row.pk, detail=str(len(found)))
    _drop(found)
    _changed(row)


@transaction.atomic
def use_keys_if_hosted(project: Project) -> None:
    """A dapp that is hosted here from now on need not wait for a domain."""
    row = lock_project(project)
    found = row.other_keys.filter(state=NEXT).first()
    if row.is_hosted and found is not None:
        _use(row, found)


def drop_expired_keys() -> int:
    """Drop previous keys whose time is over; returns how many."""
    with transaction.atomic():
        found = list(
            ProjectKeys.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("project")
            .filter(state=PREVIOUS, valid_until__lte=clock.now())[:100]
        )
        _drop(found)
        for project in {each.project for each in found}:
            _changed(project)
    return len(found)


def _use(project: Project, made: ProjectKeys) -> None:
    now = clock.now()
    replaced = ProjectKeys(
        project=project,
        state=PREVIOUS,
        subscribe_topic=project.subscribe_topic,
        public_key_x=project.public_key_x,
        authentication_did=project.authentication_did,
        # As published, if the domain had to publish it first.
        handover=made.handover,
        created_at=now,
        valid_until=now + timedelta(days=settings.LIMITS.rotated_keys_days),
    )
    project.subscribe_topic = made.subscribe_topic
    project.public_key_x = made.public_key_x
    project.authentication_did = made.authentication_did
    made.delete()
    replaced.save(force_insert=True)
    project.save(
        update_fields=["subscribe_topic", "public_key_x", "authentication_did"]
    )
    if not replaced.handover:
        _sign_handovers(project, project)
    audit(
        "project.keys-replaced",
        subject=project.pk,
        detail=made.authentication_did,
        by_caller=True,
    )
    _changed(project)


def _sign_handovers(project: Project, new: Project | ProjectKeys) -> None:
    """Have every previous key sign which keys are to be used now."""
    for each in project.other_keys.filter(state=PREVIOUS):
        if each.valid_until is not None:
            each.handover = _handover(each.authentication_did, new, each.valid_until)
            each.save(update_fields=["handover"])


def _handover(previous: str, new: Project | ProjectKeys, until: datetime) -> str:
    return sign_handover(
        signing_key(Holder.CAST, previous),
        authentication=new.authentication_did,
        key_agreement=new.public_key_x,
        now=clock.now_s(),
        expires_at=int(until.timestamp()),
    )


def _drop(rows: list[ProjectKeys]) -> None:
    if rows:
        topics = [each.subscribe_topic for each in rows]
        outbox.unsubscribe(Party.CAST, topics)
        forget(Holder.CAST, topics + [each.authentication_did for each in rows])
        ProjectKeys.objects.filter(pk__in=[each.pk for each in rows]).delete()


def _changed(project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(last_modified=clock.now())
    documents_changed(project)
