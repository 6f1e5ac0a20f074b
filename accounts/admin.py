"""Users, accounts, devices and the audit log in the admin. No secret is shown.

Protocol rows are read-only everywhere in the admin: edited by hand they would contradict
what a wallet signed. Staff users can be changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.db.models.functions import Length
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from accounts import services
from accounts.models import (
    Account,
    AccountEvent,
    AccountTombstone,
    AuditEntry,
    Device,
    SignInRequest,
    User,
)
from common import limits
from common.problems import ProblemError
from common.public_api import too_many

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest

    ReadOnlyBase = admin.ModelAdmin[Model]
    BasePaginator = Paginator[Any]
else:
    BasePaginator = Paginator
    ReadOnlyBase = admin.ModelAdmin


class SignInForm(AdminAuthenticationForm):
    """Signing in to the admin: audited, and limited per user name as well as per client."""

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username", "")
        key = f"admin:{name}"
        # Asked before the password is hashed. One client alone cannot empty this bucket:
        # ``admin_sign_in`` allows it no more than what flows back.
        left = limits.consume("failed_sign_in", key, cost=0)
        if left.remaining < 1:
            refused = replace(left, allowed=False, retry_after=60)
            raise ProblemError(too_many(refused), headers=refused.headers())
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            limits.consume("failed_sign_in", key)
            services.audit("sign-in.failed", subject=name, detail="admin")
            raise
        services.audit("sign-in", actor=self.get_user(), detail="admin")
        return cleaned


admin.site.login_form = SignInForm


def _link(name: str) -> Callable[[Any], str]:
    """A column of a list: the row that ``name`` refers to, as a link to its page."""

    @admin.display(description=name.replace("_", " "), ordering=name)
    def linked(row: Any) -> str:
        target = getattr(row, name)
        if target is None:
            return "-"
        meta = target._meta
        try:
            url = reverse(
                f"admin:{meta.app_label}_{meta.model_name}_change", args=[target.pk]
            )
        except NoReverseMatch:
            return str(target)
        return format_html('<a href="{}">{}</a>', url, target)

    return linked


# Pages behind it are reached by searching.
MAX_COUNTED = 10_000


class EstimatedPaginator(BasePaginator):
    """Counts up to a bound: a list of a large table must not count all of it."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_COUNTED].count())


class ReadOnlyAdmin(ReadOnlyBase):
    """Read-only rows. ``hidden`` names columns that are not shown.

    A list that names no search fields, filters or related rows gets them from its model:
    keys and short texts are searched, choices and flags are filters, and references in
    the list are links that open the row of the other table.
    """

    hidden: ClassVar[tuple[str, ...]] = ()
    show_full_result_count = False
    paginator = EstimatedPaginator
    list_per_page = 50

    def get_search_fields(self, request: HttpRequest) -> Any:
        return super().get_search_fields(request) or self._searched()

    def _searched(self) -> list[str]:
        fields = [f for f in self.opts.concrete_fields if f.name not in self.hidden]
        exact = [
            f"={field.name}"
            for field in fields
            if isinstance(field, models.UUIDField | models.CharField)
            and not field.choices
        ]
        addresses = [
            f"={field.name}__address"
            for field in fields
            if field.related_model is Account
        ]
        if not exact and not addresses:
            exact = [f"={self.opts.pk.attname}"]
        return exact + addresses

    def get_list_filter(self, request: HttpRequest) -> Any:
        return super().get_list_filter(request) or [
            field.name
            for field in self.opts.concrete_fields
            if field.name not in self.hidden
            and (field.choices or isinstance(field, models.BooleanField))
        ]

    def get_list_display(self, request: HttpRequest) -> Any:
        references = {
            field.name
            for field in self.opts.concrete_fields
            if isinstance(field, models.ForeignKey)
        }
        return [
            _link(name) if name in references else name
            for name in super().get_list_display(request)
        ]

    def get_list_select_related(self, request: HttpRequest) -> Any:
        chosen = super().get_list_select_related(request)
        return chosen or [
            field.name
            for field in self.opts.concrete_fields
            if isinstance(field, models.ForeignKey) and field.name in self.list_display
        ]

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.hidden

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class SizedAdmin(ReadOnlyAdmin):
    """Shows the size of a message in place of the message."""

    hidden: ClassVar[tuple[str, ...]] = ("message",)
    readonly_fields = ("size",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).defer("message")
        sized: QuerySet[Any] = rows.annotate(message_size=Length("message"))
        return sized

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Staff may view; actions need the permission to change the rows."""
        user: Any = request.user
        permission = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return bool(user.has_perm(permission))

    @admin.display(description="message, bytes")
    def size(self, row: Any) -> int:
        return int(row.message_size)


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg] # not generic at run time
    list_display = ("username", "email", "is_staff", "is_active", "date_joined")
    ordering = ("-date_joined",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Removing an account notifies its dapps, which only the pages do.
        return False


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("address", "label", "user", "is_demo", "created_at")
    list_filter = ("is_demo",)
    search_fields = ("address", "label")


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = ("name", "user", "created_at", "last_seen_at", "revoked_at")
    search_fields = ("id", "name", "user__accounts__address")
    hidden = ("session_digest",)
    actions = ("sign_out",)

    @admin.action(description="Sign out: end the session, unregister the keys")
    def sign_out(self, request: HttpRequest, devices: QuerySet[Device]) -> None:
        if not request.user.has_perm("accounts.change_device"):
            return
        ids = list(devices.values_list("pk", flat=True))
        revoked = services.revoke_devices(ids, by=None)
        self.message_user(request, f"{len(revoked)} devices were signed out.")


@admin.register(SignInRequest)
class SignInRequestAdmin(ReadOnlyAdmin):
    list_display = ("address", "created_at", "expires_at", "used_at")
    search_fields = ("address",)
    hidden = ("session_digest", "nonce", "payload", "message")


@admin.register(AccountEvent)
class AccountEventAdmin(ReadOnlyAdmin):
    list_display = ("user", "sequence", "kind", "subject", "created_at")
    list_filter = ("kind",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "action", "actor", "account", "device", "subject", "detail")
    list_filter = ("action",)
    search_fields = ("actor", "subject", "account__address")
    date_hierarchy = "at"


@admin.register(AccountTombstone)
class AccountTombstoneAdmin(ReadOnlyAdmin):
    list_display = ("digest", "removed_at")
