"""Authentication, roles and rate limits, independent of how requests arrive.

`factory.create_authenticator` turns the Dockfile's `auth` section into an `Authenticator` (API keys,
JWT or OAuth 2.0 introspection), which maps a credential to a `Caller`. `events_tokens` signs the
tokens that open one run's stream, `rate_limits` counts requests per caller in the backend.

May import `dockfile`, `backends`, `http_client`, `logs`; never `web`, `runs` or `agents`.
"""
