"""`dockrion load`: virtual users who load a service, and check what it promises."""
