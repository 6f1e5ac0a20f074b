"""Faults of the running system: kills, hangs and outages, and what must hold afterwards.

``python -m tests.faults`` (``make faults``) starts one deployment as ``make run`` does and
breaks it from outside, fault by fault. ``docs/reliability.md`` lists the promises behind it.
"""
