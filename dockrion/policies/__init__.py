"""What may get into an agent and out of it."""
