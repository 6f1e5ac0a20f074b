"""Storage: statements on PostgreSQL, in batches."""
