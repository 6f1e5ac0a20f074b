"""The Notify API: subscribe, message, update, delete, and the rebuild of a device."""
