"""The Keys Server, and the identity keys of our devices."""
