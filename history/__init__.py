"""The History (Archive) Server, and our client of one."""
