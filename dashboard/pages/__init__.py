"""What the pages show: reads over the apps below, as values for the templates."""
