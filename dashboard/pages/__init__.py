"""Read models: database queries of the pages, as values for the templates."""
