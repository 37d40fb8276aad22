"""What a description has to know of a route."""

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """One method of one path, and who may ask.

    Attributes:
        method: The HTTP method.
        path: The path's pattern.
        permission: What callers need who have to prove who they are, None for nothing more.
        asks_nobody: Everybody may.
        takes_run_token: A token for the run of the path will do.
        takes_producers: So will the token for pushing events.
    """

    method: str
    path: str
    permission: str | None
    asks_nobody: bool
    takes_run_token: bool
    takes_producers: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"
