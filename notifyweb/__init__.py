"""The Django project: settings, environment, addresses, tasks, embedded services."""
