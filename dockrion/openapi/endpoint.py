"""What a description has to know of a route."""

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """One method of one path, and who may ask.

    Attributes:
        method: The HTTP method.
        path: The path's pattern.
        permission: What callers need who have to prove who they are, None for nothing more.
        public: Everybody may.
        accepts_run_token: A token for the run of the path will do.
        accepts_ingest_token: So will the token for pushing events.
    """

    method: str
    path: str
    permission: str | None
    public: bool
    accepts_run_token: bool
    accepts_ingest_token: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"
