"""Projects: a dapp's keys, address, types and secrets.

Spec: servers/notify/notify-server-api.md, "Subscribe Topic" and "Authentication Key";
protocol.md, sections 5.4 and 6. The keys X and authentication are random and stored, so
that a changed project secret changes no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from accounts.services import audit
from castserver.models import NotificationType, Project, ProjectSecret
from castserver.services.errors import Invalid, Missing, Taken, TooMany
from common import clock, entropy
from common.dapp_urls import NotAnAddress, parse_dapp_url
from common.links import NotALink, check_link
from keychain.services import Holder, put_key_pair, put_signing_key, token_digest
from messaging import outbox
from messaging.models import Party
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import has_control_characters
from walletconnect.notify.scope import require_scope_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from accounts.models import User

PREFIX_LENGTH: Final = 8
MAX_SECRET_LENGTH: Final = 256
# Writing "last used" at every call would make every call a write.
LAST_USED_STEP: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class TypeDraft:
    """A notification type as a dapp owner writes it; the name defaults to the id."""

    id: str
    description: str = ""
    name: str = ""
    icon: str = ""

    @classmethod
    def parse(cls, line: str) -> TypeDraft:
        """``id: description``, or with more parts ``id | name | description | icon``."""
        type_id, mark, _ = line.partition("|")
        if not mark or ":" in type_id:
            type_id, _, description = line.partition(":")
            return cls(type_id.strip(), description.strip())
        parts = [part.strip() for part in line.split("|", 3)]
        type_id, name, description, icon = parts + [""] * (4 - len(parts))
        return cls(type_id, description, name, icon)

    @classmethod
    def of(cls, row: NotificationType) -> TypeDraft:
        return cls(row.type_id, row.description, row.name, row.icon)

    def __str__(self) -> str:
        """The line that ``parse`` reads."""
        if self.icon or self.name not in ("", self.id):
            return f"{self.id} | {self.name} | {self.description} | {self.icon}"
        return f"{self.id}: {self.description}"


def create_project(
    name: str,
    *,
    url: str | None = None,
    types: Iterable[TypeDraft] = (),
    description: str = "",
    icon: str = "",
    owner: User | None = None,
    is_demo: bool = False,
) -> tuple[Project, str]:
    """A new project and its first secret, which is shown now and never again.

    Without ``url`` the dapp is hosted here, at ``<public url>/dapps/<slug>``.
    """
    name = _checked_text("name", name, least=1, most=64)
    drafts = list(types) or [TypeDraft("updates", f"News and updates from {name}")]
    slug = _free_slug(name)
    address = hosted_url(slug) if url is None else normalized_url(url)
    key_pair_x = KeyPair.from_private(entropy.key_bytes())
    authentication_key = IdentityKey.from_seed(entropy.key_bytes())
    now = clock.now()
    project = Project(
        id=entropy.token_hex(16),
        name=name,
        slug=slug,
        description=_checked_text("description", description, least=0, most=255),
        icon=_checked_icon(icon, field="icon"),
        url=address,
        is_hosted=url is None,
        is_demo=is_demo,
        owner=owner,
        subscribe_topic=key_pair_x.topic,
        public_key_x=key_pair_x.public_key.hex(),
        authentication_did=authentication_key.did,
        last_modified=now,
        created_at=now,
    )
    with transaction.atomic():
        _insert(project)
        put_key_pair(Holder.CAST, key_pair_x)
        put_signing_key(Holder.CAST, authentication_key)
        _write_types(project, drafts)
        secret = add_secret(project)
        outbox.subscribe(Party.CAST, [project.subscribe_topic])
        audit("project.created", subject=project.id, detail=project.url)
    return project, secret


def _insert(project: Project) -> None:
    try:
        with transaction.atomic():
            project.save(force_insert=True)
    except IntegrityError:
        raise Taken("another project has this address", field="url") from None


# --- address --------------------------------------------------------------------------


def hosted_url(slug: str) -> str:
    return f"{settings.PUBLIC_URL}/dapps/{slug}"


def normalized_url(text: str) -> str:
    """A dapp's URL in its one spelling, whatever page of it was pasted."""
    try:
        return str(parse_dapp_url(text))
    except NotAnAddress as error:
        raise Invalid(str(error).rstrip("."), field="url") from None


def set_url(project: Project, url: str) -> Project:
    """Give the dapp another address; its keys and subscribers stay."""
    address = normalized_url(url)
    if address == project.url:
        return project
    try:
        with transaction.atomic():
            Project.objects.filter(pk=project.pk).update(
                url=address, is_hosted=False, last_modified=clock.now()
            )
            audit("project.url-changed", subject=project.id, detail=address)
    except IntegrityError:
        raise Taken("another project has this address", field="url") from None
    project.refresh_from_db()
    return project


def set_domain(project: Project, domain: str) -> Project:
    """As ``set_url`` for the later generation, which names a dapp by its domain."""
    address = normalized_url(domain)
    if address.partition("://")[2] == project.url.partition("://")[2]:
        # The domain names no scheme: the one that is known stays.
        return project
    return set_url(project, address)


def _free_slug(name: str) -> str:
    base = slugify(name)[:48] or "dapp"
    taken = set(
        Project.objects.filter(slug__startswith=base).values_list("slug", flat=True)
    )
    if base not in taken:
        return base
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


_when_documents_change: list[Callable[[str], None]] = []


def when_documents_change(function: Callable[[str], None]) -> None:
    """Call ``function`` with the address of a dapp hosted here whose documents changed.

    It runs in the transaction of the change.
    """
    if function not in _when_documents_change:
        _when_documents_change.append(function)


def _documents_changed(project: Project) -> None:
    if project.is_hosted:
        for function in _when_documents_change:
            function(project.url)


# --- what the documents say -----------------------------------------------------------


def describe(
    project: Project, *, name: str, description: str = "", icon: str = ""
) -> Project:
    """Change the texts that wallets show."""
    project.name = _checked_text("name", name, least=1, most=64)
    project.description = _checked_text("description", description, least=0, most=255)
    project.icon = _checked_icon(icon, field="icon")
    project.last_modified = clock.now()
    with transaction.atomic():
        project.save(update_fields=["name", "description", "icon", "last_modified"])
        _documents_changed(project)
    return project


def set_types(project: Project, types: Sequence[TypeDraft]) -> list[NotificationType]:
    """Offer exactly these types, in this order. Subscribers keep the scope they chose."""
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        _write_types(project, types)
        project.last_modified = clock.now()
        project.save(update_fields=["last_modified"])
        audit("project.types-changed", subject=project.id)
        _documents_changed(project)
    return list(project.types.all())


def _write_types(project: Project, types: Sequence[TypeDraft]) -> None:
    _check_types(types)
    project.types.exclude(type_id__in=[draft.id for draft in types]).delete()
    NotificationType.objects.bulk_create(
        [
            NotificationType(
                project=project,
                type_id=draft.id,
                name=draft.name.strip() or draft.id,
                description=draft.description.strip(),
                icon=draft.icon.strip(),
                position=position,
            )
            for position, draft in enumerate(types)
        ],
        update_conflicts=True,
        unique_fields=["project", "type_id"],
        update_fields=["name", "description", "icon", "position"],
    )


def _check_types(types: Sequence[TypeDraft]) -> None:
    # No more than a subscription may enable.
    most = settings.LIMITS.scopes_per_subscription
    if not 1 <= len(types) <= most:
        raise Invalid(f"a dapp offers 1 to {most} types", field="types")
    if len({draft.id for draft in types}) != len(types):
        raise Invalid("a dapp offers each type once", field="types")
    for draft in types:
        try:
            require_scope_name(draft.id)
        except RemoteProtocolError:
            raise Invalid(
                "a type's id has up to 36 letters, digits, and . / - _", field="types"
            ) from None
        _checked_icon(draft.icon, field="types")
        for part, most in (("name", 64), ("description", 255)):
            text = getattr(draft, part).strip()
            if len(text) > most or has_control_characters(text):
                raise Invalid(
                    f"the {part} of type {draft.id} is one line of up to {most} "
                    "characters",
                    field="types",
                )


# --- secrets --------------------------------------------------------------------------


def add_secret(project: Project) -> str:
    """A further secret: make one, move the dapp to it, revoke the one before."""
    open_ones = project.secrets.filter(revoked_at=None)
    if open_ones.count() >= settings.LIMITS.secrets_per_project:
        raise TooMany(
            f"a project has at most {settings.LIMITS.secrets_per_project} secrets"
        )
    secret = entropy.token_hex(32)
    ProjectSecret.objects.create(
        project=project,
        digest=token_digest(secret),
        prefix=secret[:PREFIX_LENGTH],
        created_at=clock.now(),
    )
    audit(
        "project.secret-added", subject=project.id, detail=f"{secret[:PREFIX_LENGTH]}…"
    )
    return secret


def revoke_secret(project: Project, secret_pk: int) -> None:
    now = clock.now()
    changed = project.secrets.filter(pk=secret_pk, revoked_at=None).update(
        revoked_at=now
    )
    if not changed:
        raise Missing("there is no such secret")
    audit("project.secret-revoked", subject=project.id, detail=str(secret_pk))


def project_of_secret(secret: str, *, project_id: str | None = None) -> Project:
    """The project that a bearer secret opens. A wrong secret and a wrong id look alike."""
    unknown = Missing("the project id and the secret do not fit together")
    if not secret or len(secret) > MAX_SECRET_LENGTH:
        raise unknown
    found = (
        ProjectSecret.objects.select_related("project")
        .filter(digest=token_digest(secret), revoked_at=None)
        .first()
    )
    if found is None:
        raise unknown
    if project_id not in (None, found.project_id):
        audit("project.refused", subject=found.project_id, detail=project_id or "")
        raise unknown
    _note_use(found)
    return found.project


def _note_use(secret: ProjectSecret) -> None:
    now = clock.now()
    if secret.last_used_at is None or now - secret.last_used_at > LAST_USED_STEP:
        ProjectSecret.objects.filter(pk=secret.pk).update(last_used_at=now)


def _checked_text(name: str, text: str, *, least: int, most: int) -> str:
    text = text.strip()
    if not least <= len(text) <= most:
        raise Invalid(f"{name} has {least} to {most} characters", field=name)
    if not text.isprintable():
        raise Invalid(f"{name} is text on one line", field=name)
    return text


def _checked_icon(icon: str, *, field: str) -> str:
    icon = icon.strip()
    if len(icon) > settings.LIMITS.icon_chars:
        raise Invalid(
            f"an icon address has at most {settings.LIMITS.icon_chars} characters",
            field=field,
        )
    if icon:
        try:
            check_link(icon)
        except NotALink as error:
            raise Invalid(f"icon: {error}", field=field) from None
    return icon
