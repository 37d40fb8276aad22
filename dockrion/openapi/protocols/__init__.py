"""Descriptions of the endpoints of other protocols; a module is imported only if its protocol is served."""
