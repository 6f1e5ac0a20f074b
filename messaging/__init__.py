"""The relay, our clients of it, and the way of a message in and out."""
