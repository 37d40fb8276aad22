"""Push notifications: changes of a task's state, told to a URL that the client has named.

They are webhooks to callers' URLs. What their body and headers need is kept in the URL's fragment, which is
never sent, and which no caller can write: the service refuses URLs with one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

import msgspec
from msgspec import Meta

from dockrion.events import Entry
from dockrion.protocols.a2a.encoder import TaskEncoder
from dockrion.protocols.a2a.objects import ENDED, Object, TaskIds, Version, Writer
from dockrion.protocols.a2a.updates import StreamState, UpdateOptions

_MARK = "#a2a="
_NOTIFICATION_HEADER = "X-A2A-Notification-Token"
_Visible = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[!-~]+\Z")]
_Credentials = Annotated[str, Meta(max_length=4096, pattern=r"^[ -~]*\Z")]


class Authentication(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the receiver knows the service: one scheme; version 0.3 has a list, of which the first is taken."""

    scheme: _Visible | None = None
    schemes: Annotated[list[_Visible], Meta(max_length=16)] = []
    credentials: _Credentials | None = None


class PushConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a client wants to be told of a task."""

    url: Annotated[str, Meta(min_length=1)]
    id: Annotated[str, Meta(max_length=128)] = ""
    token: _Visible | None = None
    authentication: Authentication | None = None


class Push(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a notification needs besides the event.

    Attributes:
        config: What the client has said.
        version: The version in which it speaks.
        context_id: The task's, None for the default one.
        output_path: `agent.chat.output`.
    """

    config: PushConfig
    version: Version
    context_id: str | None = None
    output_path: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of its requests."""
        headers = {} if self.config.token is None else {_NOTIFICATION_HEADER: self.config.token}
        if (how := self.config.authentication) is not None and how.credentials:
            scheme = how.scheme or next(iter(how.schemes), "Bearer")
            headers["Authorization"] = f"{scheme} {how.credentials}"
        return headers

    def body(self, task_id: str, entry: Entry) -> bytes:
        """Return the body that tells the state of a task after an event, by that event alone."""
        writer = Writer(self.version, TaskIds(task_id, self.context_id or task_id))
        encoder = TaskEncoder(UpdateOptions(task_id, self.output_path))
        start = msgspec.structs.replace(encoder.start(), stream=StreamState(incomplete=True))
        _, task = encoder.encode(start, (entry,))
        if self.version == "0.3":
            return msgspec.json.encode(writer.result(task.task(writer)))
        if task.status.state in ENDED:
            return msgspec.json.encode({"task": task.task(writer)})
        return msgspec.json.encode({"statusUpdate": writer.update_of(task.status)})

    def written(self, task_id: str, version: Version) -> Object:
        """Return the configuration as clients of a version read it, without credentials."""
        config: Object = {"id": self.config.id or task_id, "url": self.config.url}
        config |= {} if self.config.token is None else {"token": self.config.token}
        return {"taskId": task_id} | (config if version == "1.0" else {"pushNotificationConfig": config})


def marked_url(push: Push) -> str:
    """Return the URL of a webhook that is a push notification."""
    return push.config.url + _MARK + urlsafe_b64encode(msgspec.json.encode(push)).decode()


def push_of(url: str | None) -> Push | None:
    """Return what the notifications to a webhook's URL need, None if it is a webhook like all others."""
    _, mark, encoded = (url or "").partition(_MARK)
    return msgspec.json.decode(urlsafe_b64decode(encoded), type=Push) if mark else None
