"""The record of protocol runs, one row per step."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

TOPIC_LENGTH = 64


class StepRecord(models.Model):
    """One of the twenty steps as it was carried out here. Contains no secrets.

    ``run`` is the response topic, the only name that W1 and the Cast Server share. Each
    side records the steps that it carries out itself.
    """

    run = models.CharField(max_length=TOPIC_LENGTH)
    step = models.PositiveSmallIntegerField()
    actor = models.CharField(max_length=64, help_text="W1, Cast Server, Dapp, Wx")
    # Several devices may carry out steps 19 and 20.
    actor_key = models.CharField(max_length=64, blank=True)
    # Ids ascend with it, so old records are found without an index (``common.retention``).
    at = models.DateTimeField()
    wire = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "step", "actor_key"], name="step_record_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"step {self.step} of {self.run}"
