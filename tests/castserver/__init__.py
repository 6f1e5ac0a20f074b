"""Tests of the dapp side."""
