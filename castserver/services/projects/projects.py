"""Projects: a dapp's keys, address, types and secrets.

Spec: servers/notify/notify-server-api.md, "Subscribe Topic" and "Authentication Key". The
keys are random and not derived from the project secret, so that the secret can be rotated
without changing did.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.text import slugify

from accounts.services import audit
from castserver.models import NotificationType, Project, ProjectSecret, SecretScope
from castserver.services.errors import Invalid, Missing, Taken, TooMany
from castserver.services.projects.members import lock_project, require_room_of_owner
from common import clock, entropy
from common.dapp_urls import NotAnAddress, parse_dapp_url
from common.links import NotALink, check_link
from keychain.services import Holder, put_key_pair, put_signing_key, token_digest
from messaging import outbox
from messaging.models import Party
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AppUrl
from walletconnect.json_values import has_control_characters
from walletconnect.notify.scope import require_scope_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from accounts.models import User

PREFIX_LENGTH: Final = 8
MAX_SECRET_LENGTH: Final = 256
# Otherwise every call would write a row.
LAST_USED_STEP: Final = timedelta(minutes=5)
# How long a replaced secret remains valid.
ROTATION_OVERLAP: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TypeDraft:
    """A notification type as its owner enters it; the name defaults to the id."""

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
    setup_step: str = "",
) -> tuple[Project, str]:
    """A new project and its first secret, which cannot be shown again.

    With ``setup_step``, the next step of the wizard, it has no secret yet.
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
        setup_step=setup_step,
        owner=owner,
        subscribe_topic=key_pair_x.topic,
        public_key_x=key_pair_x.public_key.hex(),
        authentication_did=authentication_key.did,
        last_modified=now,
        created_at=now,
    )
    with transaction.atomic():
        if owner is not None:
            require_room_of_owner(owner)
        if url is not None:
            _refuse_own_address(address)
        _require_free_address(project, address)
        project.save(force_insert=True)
        put_key_pair(Holder.CAST, key_pair_x)
        put_signing_key(Holder.CAST, authentication_key)
        _write_types(project, drafts)
        secret = "" if setup_step else add_secret(project)
        outbox.subscribe(Party.CAST, [project.subscribe_topic])
        audit("project.created", subject=project.id, detail=project.url, by_caller=True)
    return project, secret


# --- address --------------------------------------------------------------------------


def hosted_url(slug: str) -> str:
    return f"{settings.PUBLIC_URL}/dapps/{slug}"


def normalized_url(text: str) -> str:
    """The canonical URL of a dapp, from the address of any of its pages."""
    try:
        return str(parse_dapp_url(text))
    except NotAnAddress as error:
        raise Invalid(str(error).rstrip("."), field="url") from None


def _require_free_address(project: Project, url: str) -> None:
    """Refuse an address that another project has proven, or one of the same owner has.

    An unproven claim does not prevent others from the same one: see ``address_proof``.
    """
    others = Project.objects.filter(url=url).exclude(pk=project.pk)
    proven = Q(is_hosted=True) | Q(url_proven_at__isnull=False)
    if others.filter(proven | Q(owner=project.owner)).exists():
        raise Taken("another project has this address", field="url")


def _refuse_own_address(url: str) -> None:
    own = {AppUrl.parse(each).authority for each in settings.BROWSER_ORIGINS}
    if AppUrl.parse(url).authority in own:
        raise Taken(
            "this server's own addresses cannot be claimed; have the dapp hosted here "
            "instead",
            field="url",
        )


def set_url(project: Project, url: str) -> Project:
    """Change the dapp's address; its keys and subscribers stay."""
    address = normalized_url(url)
    if address == project.url:
        return project
    _refuse_own_address(address)
    with transaction.atomic():
        _require_free_address(project, address)
        _store_address(project, address, is_hosted=False)
    return project


def set_hosted(project: Project) -> Project:
    """Have the dapp hosted here; its keys and subscribers stay."""
    if project.is_hosted:
        return project
    _store_address(project, hosted_url(project.slug), is_hosted=True)
    return project


def _store_address(project: Project, address: str, *, is_hosted: bool) -> None:
    Project.objects.filter(pk=project.pk).update(
        url=address,
        is_hosted=is_hosted,
        url_proven_at=None,
        url_checked_at=None,
        last_modified=clock.now(),
    )
    audit("project.url-changed", subject=project.id, detail=address, by_caller=True)
    project.refresh_from_db()


def set_domain(project: Project, domain: str) -> Project:
    """As ``set_url``, for callers that send a domain without a scheme."""
    address = normalized_url(domain)
    if address.partition("://")[2] == project.url.partition("://")[2]:
        # Keep http of a development host: the domain does not name a scheme.
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
    """Register a callback for changes of a hosted dapp's documents.

    It gets the dapp's address and runs in the transaction of the change. The dashboard
    uses it, which may not be imported here.
    """
    if function not in _when_documents_change:
        _when_documents_change.append(function)


def documents_changed(project: Project) -> None:
    if project.is_hosted:
        for function in _when_documents_change:
            function(project.url)


# --- content of the documents ---------------------------------------------------------


def describe(
    project: Project, *, name: str, description: str = "", icon: str = ""
) -> Project:
    """Change name, description and icon."""
    project.name = _checked_text("name", name, least=1, most=64)
    project.description = _checked_text("description", description, least=0, most=255)
    project.icon = _checked_icon(icon, field="icon")
    project.last_modified = clock.now()
    with transaction.atomic():
        project.save(update_fields=["name", "description", "icon", "last_modified"])
        documents_changed(project)
    return project


def set_types(project: Project, types: Sequence[TypeDraft]) -> list[NotificationType]:
    """Replace the types. Subscribers keep the scope they chose."""
    with transaction.atomic():
        lock_project(project)
        _write_types(project, types)
        project.last_modified = clock.now()
        project.save(update_fields=["last_modified"])
        audit("project.types-changed", subject=project.id, by_caller=True)
        documents_changed(project)
    return list(project.types.all())


def _write_types(project: Project, types: Sequence[TypeDraft]) -> None:
    # A subscription must be able to enable all of them.
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


# --- secrets --------------------------------------------------------------------------


@transaction.atomic
def add_secret(
    project: Project, *, name: str = "", scopes: Iterable[str] = tuple(SecretScope)
) -> str:
    """Add a secret with these scopes; it cannot be shown again."""
    name = _checked_text("name", name, least=0, most=64)
    wanted = [each.value for each in SecretScope if each.value in set(scopes)]
    if not wanted:
        raise Invalid("a secret has at least one scope", field="scopes")
    # The lock keeps calls at the same time within the limit.
    lock_project(project)
    # A secret that is being replaced will expire: it takes no place.
    active = project.secrets.filter(revoked_at=None, expires_at=None)
    if active.count() >= settings.LIMITS.secrets_per_project:
        raise TooMany(
            f"a project has at most {settings.LIMITS.secrets_per_project} secrets"
        )
    secret = entropy.token_hex(32)
    ProjectSecret.objects.create(
        project=project,
        digest=token_digest(secret),
        prefix=secret[:PREFIX_LENGTH],
        name=name,
        scopes=wanted,
        created_at=clock.now(),
    )
    audit(
        "project.secret-added",
        subject=project.id,
        detail=f"{secret[:PREFIX_LENGTH]}…",
        by_caller=True,
    )
    return secret


@transaction.atomic
def replace_secret(project: Project, secret_pk: int) -> str:
    """Add a secret that replaces another one, which stays valid for ``ROTATION_OVERLAP``."""
    old = project.secrets.select_for_update().active().filter(pk=secret_pk).first()
    if old is None:
        raise Missing("no active secret has this id")
    if old.expires_at is not None:
        raise Taken("this secret is being replaced already")
    old.expires_at = clock.now() + ROTATION_OVERLAP
    old.save(update_fields=["expires_at"])
    audit("project.secret-rotated", subject=project.id, detail=str(old), by_caller=True)
    return add_secret(project, name=old.name, scopes=old.scopes)


def revoke_secret(project: Project, secret_pk: int) -> None:
    changed = (
        project.secrets.active().filter(pk=secret_pk).update(revoked_at=clock.now())
    )
    if not changed:
        raise Missing("no active secret has this id")
    audit(
        "project.secret-revoked",
        subject=project.id,
        detail=str(secret_pk),
        by_caller=True,
    )


def find_secret(secret: str, *, project_id: str | None = None) -> ProjectSecret:
    """The row of a bearer secret, with its project.

    A wrong secret and a wrong project id are not distinguished.
    """
    unknown = Missing("the project id and the secret do not match")
    if not secret or len(secret) > MAX_SECRET_LENGTH:
        raise unknown
    found = (
        ProjectSecret.objects.active()
        .select_related("project")
        .filter(digest=token_digest(secret))
        .first()
    )
    if found is None:
        raise unknown
    if project_id not in (None, found.project_id):
        audit("project.refused", subject=found.project_id, detail=project_id or "")
        raise unknown
    now = clock.now()
    if found.last_used_at is None or now - found.last_used_at > LAST_USED_STEP:
        ProjectSecret.objects.filter(pk=found.pk).update(last_used_at=now)
    return found


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
