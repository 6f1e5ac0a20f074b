"""Forms of the console. The services validate all values again, as for the API."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import MaxValueValidator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from castserver.models import Role
from castserver.services.errors import Invalid
from castserver.services.notifications.templates import (
    check_variables,
    variables_of,
)
from castserver.services.notifications.templates import render as render_template
from castserver.services.projects.members import MAX_LABEL
from castserver.services.projects.projects import TypeDraft
from common.links import NotALink, check_link
from common.pasting import bare_text
from dashboard.reasons import sentence
from walletconnect.identity.did import with_chain
from walletconnect.notify.values import CONTENT_FIELDS, NotifyMessage

MAX_ACCOUNTS_TEXT = 120_000
# Fifteen types with all parts at their maximum length.
MAX_TYPES_TEXT = 10_000
AUDIENCES = (
    ("me", _("My own accounts")),
    ("everyone", _("Everyone who allows this type")),
    ("type", _("Of these, those who allow another type, too")),
    ("list", _("These accounts")),
    ("file", _("The accounts of a CSV file")),
)
MAX_VARIABLES = 20


class StyledForm(forms.Form):
    """Adds CSS classes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if not isinstance(
                field.widget, forms.RadioSelect | forms.CheckboxSelectMultiple
            ):
                field.widget.attrs.setdefault("class", "input")


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
        required=False,
        widget=forms.Textarea(
            attrs={
                "rows": 4,
                "class": "input input--mono",
                "placeholder": "updates: News and updates",
            }
        ),
        help_text=_(
            "One per line: id, a colon, what it is for. Users choose among them. "
            "With a name and an icon: id | name | description | icon address."
        ),
    )

    def clean_types(self) -> list[TypeDraft]:
        """None: the wizard asks for them later."""
        text: str = self.cleaned_data["types"]
        return parsed_types(text) if text.strip() else []


class DomainForm(StyledForm):
    place = forms.ChoiceField(
        label=_("Where are the two files?"),
        choices=[
            ("own", _("On my domain")),
            ("host", _("Host them here")),
        ],
        widget=forms.RadioSelect,
        initial="own",
    )
    url = forms.CharField(
        label=_("Domain"),
        max_length=2048,
        required=False,
        help_text=_("Where wallets find your dapp, such as https://app.example."),
        widget=forms.TextInput(
            attrs={"placeholder": "https://app.example", "inputmode": "url"}
        ),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("place") == "own" and not cleaned.get("url"):
            self.add_error("url", gettext("Enter the address of your dapp."))
        return cleaned


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


class InviteForm(StyledForm):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.VIEWER)
    label = forms.CharField(
        label=_("For whom"),
        max_length=MAX_LABEL,
        required=False,
        help_text=_(
            "A name or a mail address, so that you can distinguish invitations."
        ),
    )
    days = forms.IntegerField(label=_("Days until it expires"), min_value=1, initial=7)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        most = settings.LIMITS.invitation_days
        days = self.fields["days"]
        days.widget.attrs["max"] = most
        days.validators.append(MaxValueValidator(most))


def parsed_types(text: str) -> list[TypeDraft]:
    drafts = [TypeDraft.parse(line) for line in text.splitlines() if line.strip()]
    drafts = [draft for draft in drafts if draft.id]
    if not drafts:
        raise forms.ValidationError(gettext("Name at least one type."))
    return drafts


class ContentForm(StyledForm):
    """A notification's content, which may have variables."""

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
    icon = forms.CharField(
        label=_("Icon address"),
        max_length=255,
        required=False,
        help_text=_("https; other wallets show it."),
    )

    def __init__(self, *args: Any, types: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["type"].choices = types  # type: ignore[attr-defined]

    def content(self) -> NotifyMessage:
        return NotifyMessage(
            **{name: self.cleaned_data.get(name, "") for name in CONTENT_FIELDS}
        )

    def check_rendered(self, message: NotifyMessage) -> None:
        """Report at its field what no dapp may send."""
        for name in ("title", "body"):
            most = self.fields[name].max_length  # type: ignore[attr-defined]
            if len(getattr(message, name)) > most:
                self.add_error(
                    name,
                    gettext("With its variables it has more than %(most)d characters.")
                    % {"most": most},
                )
        for name in ("url", "icon"):
            try:
                if link := getattr(message, name):
                    check_link(link)
            except NotALink as error:
                self.add_error(name, sentence(error))


class TemplateForm(ContentForm):
    name = forms.CharField(
        label=_("Name of the template"),
        max_length=64,
        help_text=_("For you and your colleagues; subscribers do not see it."),
    )
    field_order = ("name",)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        message = self.content()
        try:
            check_variables(message)
        except Invalid as error:
            self.add_error(error.field, sentence(error))
        else:
            # A link with a variable is checked when the variable has a value.
            for name in ("url", "icon"):
                if "{{" in getattr(message, name):
                    cleared: dict[str, Any] = {name: ""}
                    message = replace(message, **cleared)
            self.check_rendered(message)
        return cleaned


class WelcomeForm(ContentForm):
    enabled = forms.BooleanField(
        label=_("Send it to every new subscriber"), required=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["icon"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.check_rendered(self.content())
        return cleaned


class SendForm(ContentForm):
    audience = forms.ChoiceField(
        choices=AUDIENCES,
        widget=forms.RadioSelect,
        initial="me",
        label=_("Who gets it"),
    )
    also_type = forms.ChoiceField(label=_("Type that they allow, too"), required=False)
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
    recipients = forms.ChoiceField(label=_("Uploaded list"), required=False)
    at = forms.CharField(
        label=_("Date and time"),
        max_length=32,
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    time_zone = forms.CharField(
        label=_("Time zone"),
        max_length=64,
        required=False,
        widget=forms.TextInput(attrs={"list": "zones"}),
    )

    def __init__(
        self,
        *args: Any,
        types: list[tuple[str, str]],
        lists: list[tuple[str, str]],
        may_choose: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, types=types, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["also_type"].choices = types
        fields["recipients"].choices = [("", "—"), *lists]
        if not may_choose:
            fields["audience"].choices = AUDIENCES[:1]
            for name in ("also_type", "accounts", "recipients", "at", "time_zone"):
                del fields[name]
        # One field for each variable of the texts as they were entered.
        entered: dict[str, Any] = {
            name: str(self.data.get(name) or self.initial.get(name) or "")
            for name in CONTENT_FIELDS
        }
        self.variables = variables_of(NotifyMessage(**entered))[:MAX_VARIABLES]
        for name in self.variables:
            self.fields[f"var_{name}"] = forms.CharField(
                label=name,
                max_length=255,
                error_messages={
                    "required": gettext("Enter a value for %(name)s.") % {"name": name}
                },
                widget=forms.TextInput(attrs={"class": "input", "data-variable": name}),
            )
        self.message: NotifyMessage | None = None

    def variable_fields(self) -> list[forms.BoundField]:
        return [self[f"var_{name}"] for name in self.variables]

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
        if cleaned.get("audience") == "file" and not cleaned.get("recipients"):
            self.add_error("recipients", gettext("Upload a file, or choose a list."))
        if cleaned.get("audience") == "type" and not cleaned.get("also_type"):
            self.add_error("also_type", gettext("Choose a type."))
        values = {name: cleaned.get(f"var_{name}", "") for name in self.variables}
        message = self.content()
        try:
            check_variables(message)
            if all(values.values()):
                self.message = render_template(message, values)
                self.check_rendered(self.message)
        except Invalid as error:
            self.add_error(error.field, sentence(error))
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


class TimeRangeForm(StyledForm):
    """A time range in the user's time zone."""

    since = forms.DateTimeField(
        label=_("From"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    until = forms.DateTimeField(
        label=_("Until"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )


class ReplayForm(TimeRangeForm):
    """Which events of a webhook to send again."""

    states = forms.MultipleChoiceField(
        label=_("Which"),
        choices=[
            ("failed", _("failed")),
            ("cancelled", _("cancelled, because the webhook was paused")),
            ("delivered", _("delivered")),
        ],
        initial=["failed", "cancelled"],
        widget=forms.CheckboxSelectMultiple,
    )
