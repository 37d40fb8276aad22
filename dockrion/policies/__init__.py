"""What may go in and out of an agent, and what it may use: `policies` of the Dockfile."""
