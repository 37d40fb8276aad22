"""Commands that use a service from a terminal."""
