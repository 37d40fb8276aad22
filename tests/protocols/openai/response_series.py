"""What OpenAI's own SDK expects of the events of a response."""

from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from dockrion.wire.sse import Message

_UNION = get_args(get_args(ResponseStreamEvent)[0])
_EVENTS: dict[str, Any] = {get_args(each.model_fields["type"].annotation)[0]: each for each in _UNION}
_ENDS = ("response.completed", "response.failed", "response.incomplete")


def check_series(messages: Sequence[Message], *, ended: bool) -> list[Any]:
    """Check a whole stream of a response, and return its events as the SDK's types.

    Args:
        messages: The stream's messages, from the first on.
        ended: Whether the response is over.
    """
    sdk: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    found = []
    for number, message in enumerate(messages):
        event = _EVENTS[message.event].model_validate(msgspec.json.decode(message.data))
        assert event.type == message.event
        assert event.sequence_number == number
        sdk.handle_event(event)
        found.append(event)
    _check_items(found)
    types = [event.type for event in found]
    assert types[0] == "response.created"
    assert "response.queued" not in types[2:]
    assert [name for name in types if name in _ENDS] == types[-1:] * ended
    return found


def _check_items(found: Sequence[Any]) -> None:
    """Check that items begin in order, are what their pieces were, and end before the response does."""
    texts: dict[str, str] = {}
    opened: dict[int, str] = {}
    done: dict[int, Any] = {}
    for event in found:
        if event.type == "response.output_item.added":
            assert event.output_index == len(opened) + len(done)
            opened[event.output_index] = event.item.id
            texts[event.item.id] = ""
        elif event.type == "response.output_item.done":
            assert opened.pop(event.output_index) == event.item.id
            assert _text_of(event.item) == texts[event.item.id]
            done[event.output_index] = event.item
        elif hasattr(event, "item_id"):
            assert opened[event.output_index] == event.item_id
            if event.type.endswith(".delta"):
                texts[event.item_id] += event.delta
            elif event.type.endswith(("text.done", "arguments.done")):
                assert (getattr(event, "text", None) or event.arguments) == texts[event.item_id]
        elif event.type in _ENDS:
            items = [done[index] for index in sorted(done)]
            assert event.response.output == items[len(items) - len(event.response.output) :]
            assert not opened


def _text_of(item: Any) -> str:
    if item.type == "message":
        return "".join(part.text for part in item.content)
    if item.type == "reasoning":
        return "".join(part.text for part in item.summary)
    return str(item.arguments)
