"""The tests; CONTRIBUTING.md explains how to run and write them."""
