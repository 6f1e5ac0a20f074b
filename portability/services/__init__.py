"""Writing an export, importing one, and uploads that wait for their confirmation."""
