"""Messages in the forms of various providers, as LangChain passes them on."""

from collections.abc import Iterable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from dockrion.agents.chat_messages import MessageTranslator
from dockrion.agents.tool_calls import ToolCallTranslator
from dockrion.events import EventFilter
from dockrion.events.validation import from_mapping
from dockrion.runs.session import RunSession

SESSION = RunSession("run", EventFilter(), None)


def translated(messages: Iterable[AIMessage], allowed: Any = None) -> list[dict[str, Any]]:
    """Return the events of one message, whole or in chunks; each is a valid one."""
    translator = MessageTranslator(SESSION, EventFilter(allowed), ToolCallTranslator(SESSION))
    events = [event for message in messages for event in translator.translate(message, "key", source="a")]
    events += translator.close()
    for event in events:
        from_mapping(event)
    return events


def chunk(content: Any = "", provider: str | None = None, **fields: Any) -> AIMessageChunk:
    metadata = {"model_provider": provider} if provider else {}
    return AIMessageChunk(content=content, id="m", response_metadata=metadata, **fields)


LAST = AIMessageChunk(content="", id="lc_run--1", chunk_position="last")


@pytest.mark.parametrize(
    "pieces",
    [
        [chunk([{"type": "reasoning", "reasoning": text}]) for text in ("Let me ", "think.")],
        [
            chunk([{"type": "thinking", "thinking": text, "index": 0}], "anthropic")
            for text in ("Let me ", "think.")
        ],
        [
            chunk(
                [
                    {
                        "type": "reasoning",
                        "index": 0,
                        "summary": [{"type": "summary_text", "text": text, "index": 0}],
                    }
                ],
                "openai",
            )
            for text in ("Let me ", "think.")
        ],
        [chunk(additional_kwargs={"reasoning_content": text}) for text in ("Let me ", "think.")],
    ],
    ids=["standard", "anthropic", "openai", "deepseek"],
)
def test_reasoning_is_streamed_in_every_form(pieces: list[AIMessageChunk]) -> None:
    events = translated([*pieces, chunk("Yes."), LAST])
    said = [event for event in events if event["type"] == "reasoning"]
    assert "".join(event["content"] for event in said) == "Let me think."
    assert {(event["message_id"], event["source"]) for event in said} == {("m", "a")}
    assert [event["type"] for event in events if event["type"] != "reasoning"] == ["token", "token"]


def test_tools_of_the_provider_have_a_call_and_a_result() -> None:
    blocks: list[Any] = [
        {"type": "server_tool_call", "id": "s1", "name": "web_search", "args": {"q": "rain"}},
        {"type": "server_tool_result", "tool_call_id": "s1", "status": "success", "output": ["a"]},
        {"type": "text", "text": "It rains."},
    ]
    _, call, result = translated([AIMessage(content=blocks, id="m")])
    assert (call["type"], call["tool_call_id"], call["name"]) == ("tool_call", "s1", "web_search")
    assert (result["type"], result["tool_call_id"], result["is_error"]) == ("tool_result", "s1", False)


def test_citations_are_in_a_whole_message() -> None:
    cited = {
        "type": "text",
        "text": "Rain.",
        "annotations": [{"type": "citation", "url": "https://a.example"}],
    }
    token, message = translated([AIMessage(content=[cited], id="m")])
    assert (token["type"], token["content"]) == ("token", "Rain.")
    assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [cited])


def test_tool_call_without_an_id_gets_one() -> None:
    message = AIMessage(content="", tool_calls=[{"name": "look", "args": {}, "id": None}])
    [call] = translated([message])
    assert call["tool_call_id"]


def test_usage_of_a_message_without_end_is_counted() -> None:
    usage: Any = {"input_tokens": 3, "output_tokens": -1, "total_tokens": 2}
    [event] = translated([chunk(usage_metadata=usage)])
    assert (event["type"], event["input_tokens"], event["output_tokens"]) == ("usage", 3, 0)


def test_content_that_cannot_be_translated_loses_nothing_else() -> None:
    broken: Any = [{"type": "reasoning", "summary": 1}, {"type": "text", "text": "Yes."}]
    events = translated([chunk(broken, "openai"), LAST])
    assert [event["content"] for event in events if event["type"] == "token"] == ["Yes.", ""]


@pytest.mark.parametrize("form", [str, lambda text: [{"type": "text", "text": text, "index": 0}]])
def test_pieces_of_a_text_are_kept_as_text_until_the_message_is_whole(form: Any) -> None:
    translator = MessageTranslator(SESSION, EventFilter(["message"]), ToolCallTranslator(SESSION))
    for _ in range(100):
        list(translator.translate(chunk(form("word ")), "key"))
    assert translator._open["key"].parts.has_only_text
    [_, message] = translator.translate(LAST, "key")
    whole = form("word " * 100)
    assert message["content"] == whole


def test_blocks_of_a_text_keep_their_order_and_citations() -> None:
    def text(index: int, **block: Any) -> AIMessageChunk:
        return chunk([{"type": "text", "index": index, **block}])

    cited = {"type": "citation", "url": "https://a.example"}
    pieces = [
        *(text(0, text="It "), text(0, text="rains."), text(0, annotations=[cited])),
        *(text(1, text="And "), chunk([{"type": "image", "url": "https://b.example", "index": 2}]), LAST),
    ]
    [message] = [event for event in translated(pieces) if event["type"] == "message"]
    assert [(block.get("text"), block.get("annotations")) for block in message["content"]] == [
        ("It rains.", [cited]),
        ("And ", None),
        (None, None),
    ]
