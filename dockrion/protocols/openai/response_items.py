"""The output items of a response, and the frames that open, fill and close them."""

from collections.abc import Sequence

from dockrion.protocols.growing_text import Chain, values_of
from dockrion.protocols.openai.response_frames import Frames, delta_frame, in_json
from dockrion.protocols.openai.response_output import Call, Items, Text, ToolRequest
from dockrion.protocols.reply import MAX_OPEN_CALLS

_MESSAGE = b'{"type":"message",'
MAX_OPEN = 64  # texts, and calls; the oldest is closed before another one begins


class ItemsWriter:
    """Continues an output: writes the frames, and keeps what follows from them.

    Args:
        frames: Collects the frames.
        items: The output so far.
        run_id: Part of the items' ids.
        server: Who executes the tools, as JSON.
    """

    def __init__(self, frames: Frames, items: Items, run_id: str, server: bytes) -> None:
        self._frames = frames
        self._run_id = run_id.encode()
        self._server = server
        self._begun = items.begun
        self._texts = dict(items.texts)
        self._calls = dict(items.calls)
        self._client_calls = dict(items.client_calls)
        self._done = items.done
        self.replied = items.replied

    def items(self) -> Items:
        """Return the output as it is now."""
        calls, client_calls = self._calls.items(), self._client_calls.items()
        texts = dict(self._texts)
        return Items(self._begun, texts, tuple(calls), tuple(client_calls), self._done, self.replied)

    def write(self, key: str, pieces: Sequence[bytes], *, is_reasoning: bool) -> None:
        """Append to a message or to reasoning; what is open under the key is closed if it is the other.

        Args:
            key: What the text belongs to.
            pieces: The JSON of strings.
            is_reasoning: Whether they are reasoning.
        """
        text = self._texts.get(key)
        if text is None or text.is_reasoning != is_reasoning:
            self.close_text(key)
            text = self._open_text(is_reasoning=is_reasoning)
        grown = text.text.with_pieces(pieces)
        self._texts[key] = Text(text.index, is_reasoning, text.delta, grown)
        self._frames.add_deltas(text.delta, pieces)

    def is_message(self, key: str) -> bool:
        """Return whether a message is open under a key."""
        text = self._texts.get(key)
        return text is not None and not text.is_reasoning

    def close_text(self, key: str, status: bytes = b"completed") -> None:
        """Close the message or reasoning that is open under a key, if there is one."""
        text = self._texts.pop(key, None)
        if text is None:
            return
        add, whole = self._frames.add, text.text.json()
        place = self._place(text.index, text.prefix)
        if text.is_reasoning:
            place += b',"summary_index":0'
            add(b"response.reasoning_summary_text.done", b'%s,"text":%s' % (place, whole))
            add(b"response.reasoning_summary_part.done", b'%s,"part":%s' % (place, _summary(whole)))
        else:
            place += b',"content_index":0'
            add(b"response.output_text.done", b'%s,"text":%s,"logprobs":[]' % (place, whole))
            add(b"response.content_part.done", b'%s,"part":%s' % (place, _part(whole)))
        self._close(text.index, self._text_item(text, status, whole))
        self.replied = self.replied or not text.is_reasoning

    def request(self, call_id: str, request: ToolRequest, *, by_client: bool) -> None:
        """Begin the call of a tool.

        Args:
            call_id: The call.
            request: What it is.
            by_client: Whether the client has such a tool.
        """
        self.end_call(call_id, None)
        if by_client:
            self._client_calls = dict((*self._client_calls.items(), (call_id, request))[-MAX_OPEN_CALLS:])
        else:
            self._calls[call_id] = self._open_call(request)

    def end_call(self, call_id: str, result: bytes | None, *, is_error: bool = False) -> None:
        """Close a call, if it is open.

        Args:
            call_id: The call.
            result: What it returned, as JSON of a string; None if that is not known.
            is_error: Whether this is the message of an error.
        """
        request = self._client_calls.pop(call_id, None)
        if request is not None and result is not None:  # the agent, too, has a tool of this name
            self._calls[call_id] = self._open_call(request)
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        status = b"incomplete"
        if result is not None:
            status = b"failed" if is_error else b"completed"
            self._frames.add(b"response.mcp_call." + status, self._place(call.index, b"mcp"))
        self._close(call.index, self._call_item(call, status, result))

    def hand_over_calls(self) -> bool:
        """Write the calls that the client has to execute, and return whether there are any."""
        handed_over = bool(self._client_calls)
        for call_id, request in self._client_calls.items():
            index = self._begin()
            place, empty = self._place(index, b"fc"), ToolRequest(request.name, b'""')
            self._add_item(index, self._function_call(index, call_id, empty, b"in_progress"))
            add = self._frames.add
            add(b"response.function_call_arguments.delta", b'%s,"delta":%s' % (place, request.arguments))
            done = b'%s,"name":%s,"arguments":%s' % (place, request.name, request.arguments)
            add(b"response.function_call_arguments.done", done)
            self._close(index, self._function_call(index, call_id, request, b"completed"))
        self._client_calls.clear()
        return handed_over

    def close_all(self, status: bytes) -> None:
        """Close all that is open; messages and reasoning with this status."""
        for key in list(self._texts):
            self.close_text(key, status)
        for call_id in list(self._calls):
            self.end_call(call_id, None)

    def begin_again(self) -> None:
        """Close all that is open, and empty the output: another attempt of the agent writes it again."""
        self.close_all(b"incomplete")
        self._client_calls.clear()
        self._done, self.replied = (), False

    def output(self) -> bytes:
        """Return the JSON of all items so far, open ones as they are now."""
        found = dict(values_of(self._done))
        for text in self._texts.values():
            found[text.index] = self._text_item(text, b"in_progress", text.text.json())
        for call in self._calls.values():
            found[call.index] = self._call_item(call, b"in_progress")
        return b"[%s]" % b",".join(found[index] for index in sorted(found))

    def forget_messages(self) -> None:
        """Remove the messages that are complete, since not all of their text is known."""
        kept: Chain = ()
        for index, item in values_of(self._done):
            if not item.startswith(_MESSAGE):
                kept = (kept, (index, item))
        self._done, self.replied = kept, False

    def _open_text(self, *, is_reasoning: bool) -> Text:
        if len(self._texts) >= MAX_OPEN:
            self.close_text(next(iter(self._texts)))
        index, empty = self._begin(), b'""'
        if is_reasoning:
            place = self._place(index, b"rs") + b',"summary_index":0'
            delta = delta_frame(b"response.reasoning_summary_text.delta", place)
            event, part = b"response.reasoning_summary_part.added", _summary(empty)
        else:
            place = self._place(index, b"msg") + b',"content_index":0'
            delta = delta_frame(b"response.output_text.delta", place + b',"logprobs":[]')
            event, part = b"response.content_part.added", _part(empty)
        text = Text(index, is_reasoning, delta)
        self._add_item(index, self._text_item(text, b"in_progress"))
        self._frames.add(event, b'%s,"part":%s' % (place, part))
        return text

    def _open_call(self, request: ToolRequest) -> Call:
        if len(self._calls) >= MAX_OPEN:
            self.end_call(next(iter(self._calls)), None)
        index = self._begin()
        self._add_item(index, self._call_item(Call(request.name, b'""', index), b"in_progress"))
        add, place = self._frames.add, self._place(index, b"mcp")
        add(b"response.mcp_call.in_progress", place)
        add(b"response.mcp_call_arguments.delta", b'%s,"delta":%s' % (place, request.arguments))
        add(b"response.mcp_call_arguments.done", b'%s,"arguments":%s' % (place, request.arguments))
        return Call(request.name, request.arguments, index)

    def _begin(self) -> int:
        self._begun += 1
        return self._begun - 1

    def _add_item(self, index: int, item: bytes) -> None:
        self._frames.add(b"response.output_item.added", b'"output_index":%d,"item":%s' % (index, item))

    def _close(self, index: int, item: bytes) -> None:
        self._frames.add(b"response.output_item.done", b'"output_index":%d,"item":%s' % (index, item))
        self._done = (self._done, (index, item))

    def _place(self, index: int, prefix: bytes) -> bytes:
        return b'"item_id":"%s","output_index":%d' % (self._id(index, prefix), index)

    def _id(self, index: int, prefix: bytes) -> bytes:
        return b"%s_%s_%d" % (prefix, self._run_id, index)

    def _text_item(self, text: Text, status: bytes, whole: bytes | None = None) -> bytes:
        """Return the JSON of a message or of reasoning; without its text, as it begins."""
        item_id = self._id(text.index, text.prefix)
        if text.is_reasoning:
            parts = b"" if whole is None else _summary(whole)
            return b'{"type":"reasoning","id":"%s","status":"%s","summary":[%s]}' % (item_id, status, parts)
        parts = b"" if whole is None else _part(whole)
        message = b'%s"id":"%s","role":"assistant","status":"%s","content":[%s]}'
        return message % (_MESSAGE, item_id, status, parts)

    def _call_item(self, call: Call, status: bytes, result: bytes | None = None) -> bytes:
        output, error = b"null", b"null"
        if status == b"failed":
            content = b'[{"type":"text","text":%s}]' % (result or b'""')
            error = b'{"type":"mcp_tool_execution_error","content":%s}' % content
        elif result is not None:
            output = result
        return (
            b'{"type":"mcp_call","id":"%s","server_label":%s,"name":%s,"arguments":%s,"status":"%s",'
            b'"output":%s,"error":%s,"approval_request_id":null}'
        ) % (self._id(call.index, b"mcp"), self._server, call.name, call.arguments, status, output, error)

    def _function_call(self, index: int, call_id: str, request: ToolRequest, status: bytes) -> bytes:
        item = b'{"type":"function_call","id":"%s","call_id":%s,"name":%s,"arguments":%s,"status":"%s"}'
        return item % (self._id(index, b"fc"), in_json(call_id), request.name, request.arguments, status)


def _part(text: bytes) -> bytes:
    return b'{"type":"output_text","text":%s,"annotations":[],"logprobs":[]}' % text


def _summary(text: bytes) -> bytes:
    return b'{"type":"summary_text","text":%s}' % text
