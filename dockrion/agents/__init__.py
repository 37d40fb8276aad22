"""The kinds of agents, none knowing the HTTP side."""
