"""Fuzzing: ``make fuzz`` for minutes, a small share of it in every test run."""
