"""Who may do what: callers and how they prove who they are, without HTTP of the service's own."""
