"""The published npm packages, unchanged, against a running system."""
