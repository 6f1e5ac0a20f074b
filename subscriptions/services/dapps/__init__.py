"""What the wallet side knows of dapps: documents, directory, enrichment."""
