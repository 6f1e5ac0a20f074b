"""Forms of ``/ops``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dashboard.forms import TimeRangeForm
from notifyweb.operations.replays import Replay, replays


class ReplayForm(TimeRangeForm):
    """What to do again, of which time."""

    what = forms.ChoiceField(label=_("What"))
    field_order = ("what",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._replays = {each.name: each for each in replays()}
        what = self.fields["what"]
        what.choices = [(each.name, each.label) for each in self._replays.values()]  # type: ignore[attr-defined]

    @property
    def chosen(self) -> Replay:
        return self._replays[self.cleaned_data["what"]]

    def clean(self) -> dict[str, Any]:
        entered: dict[str, Any] = super().clean() or self.cleaned_data
        since, until = entered.get("since"), entered.get("until")
        if since and until and since >= until:
            self.add_error("until", gettext("The range ends before it begins."))
        return entered
