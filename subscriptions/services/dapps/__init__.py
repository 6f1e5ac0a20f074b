"""Dapps: documents, their upkeep, domain checks, enrichment of subscriptions."""
