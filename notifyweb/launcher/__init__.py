"""``manage.py run``: every process of the system on one machine, kept alive.

Plain asyncio without Django: it starts fast, stays small and outlives whatever its
children do.
"""
