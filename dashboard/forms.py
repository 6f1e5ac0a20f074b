"""Forms of the console. The services validate all values again, as for the API."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from castserver.services.projects.projects import TypeDraft
from common.pasting import bare_text
from walletconnect.identity.did import with_chain

MAX_ACCOUNTS_TEXT = 120_000
# Fifteen types with all parts at their maximum length.
MAX_TYPES_TEXT = 10_000
AUDIENCES = (
    ("me", _("My own accounts")),
    ("everyone", _("Everyone who allows this type")),
    ("list", _("These accounts")),
)
MAX_TYPE_ROWS = 15


class StyledForm(forms.Form):
    """Adds CSS classes, and connects hints and errors to fields for screen readers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if isinstance(
                field.widget, forms.RadioSelect | forms.CheckboxSelectMultiple
            ):
                continue
            field.widget.attrs.setdefault("class", "input")
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"id_{name}_hint"

    def full_clean(self) -> None:
        super().full_clean()
        for name in self.errors:
            if name in self.fields:
                attributes = self.fields[name].widget.attrs
                hint = attributes.get("aria-describedby", "")
                attributes["aria-invalid"] = "true"
                attributes["aria-describedby"] = f"{hint} id_{name}_error".strip()


class ProjectForm(StyledForm):
    name = forms.CharField(
        label=_("Name"), max_length=64, help_text=_("What users see, such as Acme DAO.")
    )
    description = forms.CharField(
        label=_("Description"),
        max_length=255,
        required=False,
        help_text=_("One sentence about what you send."),
    )
    url = forms.CharField(
        label=_("Domain"),
        max_length=2048,
        required=False,
        help_text=_("Leave it empty to have the two documents hosted here."),
        widget=forms.TextInput(
            attrs={"placeholder": "https://app.example", "inputmode": "url"}
        ),
    )
    types = forms.CharField(
        label=_("Notification types"),
        max_length=MAX_TYPES_TEXT,
        widget=forms.Textarea(attrs={"rows": 4, "class": "input input--mono"}),
        initial="updates: News and updates\nalerts: Something urgent",
        help_text=_(
            "One per line: id, a colon, what it is for. Users choose among them. "
            "With a name and an icon: id | name | description | icon address."
        ),
    )

    def clean_types(self) -> list[TypeDraft]:
        return parsed_types(self.cleaned_data["types"])


class TypesForm(StyledForm):
    types = forms.CharField(
        label=_("Notification types"),
        max_length=MAX_TYPES_TEXT,
        widget=forms.Textarea(attrs={"rows": 6, "class": "input input--mono"}),
        help_text=_(
            "One per line: id: description, or id | name | description | icon address. "
            "Notifications carry the id. Subscribers keep their choices; a new type is "
            "off until they turn it on."
        ),
    )

    def clean_types(self) -> list[TypeDraft]:
        return parsed_types(self.cleaned_data["types"])


class DescribeForm(StyledForm):
    name = forms.CharField(label=_("Name"), max_length=64)
    description = forms.CharField(
        label=_("Description"), max_length=255, required=False
    )
    icon = forms.CharField(
        label=_("Icon address"),
        max_length=255,
        required=False,
        help_text=_("https; other wallets show it."),
    )


def parsed_types(text: str) -> list[TypeDraft]:
    drafts = [TypeDraft.parse(line) for line in text.splitlines() if line.strip()]
    drafts = [draft for draft in drafts if draft.id]
    if not drafts:
        raise forms.ValidationError(gettext("Name at least one type."))
    return drafts


class SendForm(StyledForm):
    type = forms.ChoiceField(label=_("Type"))
    title = forms.CharField(label=_("Title"), max_length=64)
    body = forms.CharField(
        label=_("Text"),
        max_length=255,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    url = forms.CharField(
        label=_("Link"),
        max_length=255,
        required=False,
        help_text=_("Opens when users press the notification. https only."),
        widget=forms.TextInput(attrs={"inputmode": "url"}),
    )
    icon = forms.CharField(label=_("Icon address"), max_length=255, required=False)
    audience = forms.ChoiceField(
        choices=AUDIENCES,
        widget=forms.RadioSelect,
        initial="me",
        label=_("Who gets it"),
    )
    accounts = forms.CharField(
        label=_("Accounts"),
        required=False,
        max_length=MAX_ACCOUNTS_TEXT,
        widget=forms.Textarea(attrs={"rows": 3, "class": "input input--mono"}),
        help_text=_(
            "Addresses such as 0x…, or CAIP-10 such as eip155:1:0x…; one per line or "
            "separated by commas."
        ),
    )

    def __init__(
        self,
        *args: Any,
        types: list[tuple[str, str]],
        may_choose: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["type"].choices = types  # type: ignore[attr-defined]
        if not may_choose:
            self.fields["audience"].choices = AUDIENCES[:1]  # type: ignore[attr-defined]
            del self.fields["accounts"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("audience") == "list":
            accounts = split_accounts(cleaned.get("accounts", ""))
            limit = settings.LIMITS.notify_accounts
            if not accounts:
                self.add_error("accounts", gettext("Name at least one account."))
            elif len(accounts) > limit:
                self.add_error(
                    "accounts",
                    gettext("At most %(limit)d accounts at once.") % {"limit": limit},
                )
            cleaned["accounts"] = accounts
        return cleaned


def split_accounts(text: str) -> list[str]:
    """Accounts from pasted text: one per line, a table row, a JSON array."""
    parts = (bare_text(part) for part in re.split(r"[\s,;\[\]]+", text))
    return list(dict.fromkeys(with_chain(part) for part in parts if part))


class WebhookForm(StyledForm):
    url = forms.CharField(
        label=_("Address"),
        max_length=2048,
        widget=forms.TextInput(
            attrs={"placeholder": "https://app.example/hooks", "inputmode": "url"}
        ),
        help_text=_("https; this server posts signed events there."),
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[
            ("subscribed", _("subscribed")),
            ("unsubscribed", _("unsubscribed")),
        ],
        initial=["subscribed", "unsubscribed"],
        widget=forms.CheckboxSelectMultiple,
    )
