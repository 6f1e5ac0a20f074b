"""From the subscribe request to the stored subscription, and adoption from Sync."""
