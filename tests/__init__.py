"""The tests; docs/architecture.md, "Tests", says how they are cut."""
