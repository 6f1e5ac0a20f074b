"""The core's tests are many and small: few examples each, and no deadline on a busy machine.

`HYPOTHESIS_PROFILE=long` looks harder.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "core",
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", settings.get_profile("core"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "core"))
