"""Nothing that a graph streams is lost: where each piece of information goes, item by item.

in the graph's own stream                             in the events of the run
----------------------------------------------------  ------------------------------------------
messages: text of a chunk                             `token`: content
messages: finish reason in a chunk's metadata         `token`: finish_reason
messages: reasoning block of a chunk                  `reasoning`: content
messages: tool call chunks                            `tool_call`, one per call, arguments whole
messages: invalid tool call                           `tool_call`, `tool_result` with is_error
messages: usage of a chunk                            `usage`, one per message
messages: model name in a chunk's metadata            `usage`: model
messages: other content blocks (an image)             `message`, once the message is whole
messages: id of a message                             message_id of all of these
messages: whole message that a node wrote             `message`: role, content, name
messages: tool message                                `tool_result`: result, is_error, name
messages: namespace and node, agent name in metadata  source of all of these
updates: node that has finished, and its keys         `step`: node_name, source, output_keys
updates: values that the node wrote                   `custom:values`, if asked for; the output
custom: what a node writes                            the event that it names, or `custom:stream`
"""

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode

from dockrion.agents import langgraph
from dockrion.dockfile.agent_structs import ArgumentsSpec
from tests.agents.graphs import Model, State, calls_tools, says, thinks, used, with_id
from tests.agents.harness import Ended, bench

IMAGE = {"type": "image", "url": "https://example.com/a.png"}
Item = tuple[Any, ...]


@tool
async def weather(place: str) -> str:
    """Tell the weather."""
    if place == "Atlantis":
        raise LookupError("no such place")
    return f"rain in {place}"


def made() -> Any:
    """Return a graph with a bit of everything."""
    planning = Model(
        pieces=[
            with_id(
                "m1",
                [
                    thinks("Which "),
                    thinks("places?"),
                    *says("Let me ", "look.", reason="length")[:2],
                    *calls_tools(
                        ("weather", '{"place": "Rome"}'),
                        ("weather", '{"place": "Atlantis"}'),
                        ("weather", "no JSON"),
                    ),
                    used(7, 5, "gpt", input_token_details={"cache_read": 4}),
                ],
            )
        ]
    )
    writing = Model(
        pieces=[
            with_id("m2", [*says("Rain."), AIMessageChunk(content=[IMAGE]), used(2, 1, "gpt"), used(0, 3)]),
        ]
    )

    async def plan(_state: State) -> State:
        get_stream_writer()({"type": "progress", "step": "plan", "progress": 0.5})
        return {"messages": [await planning.ainvoke("plan")]}

    async def write(_state: State) -> State:
        get_stream_writer()({"mood": "wet"})
        said = await writing.ainvoke("write")
        return {"messages": [said, AIMessage("By hand.", id="h1", name="writer")], "word": "rain"}

    def check(_state: State) -> State:
        return {"messages": [HumanMessage("Really?", id="h2")], "seen": ["check"]}

    team: Any = StateGraph(State)
    team.add_node("write", write)
    team.add_node("check", check)
    team.add_edge(START, "write")
    team.add_edge("write", "check")
    graph: Any = StateGraph(State)
    graph.add_node("plan", plan)
    graph.add_node("tools", ToolNode([weather], handle_tool_errors=True))
    graph.add_node("team", team.compile())
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "tools")
    graph.add_edge("tools", "team")
    return graph.compile()


class Expected:
    """The items of the graph's own stream."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._whole: dict[str, AIMessageChunk] = {}

    def add(self, namespace: tuple[str, ...], mode: str, data: Any) -> None:
        path = [task.partition(":")[0] for task in namespace]
        if mode == "messages":
            message, metadata = data
            node = metadata["langgraph_node"]
            if isinstance(message, AIMessageChunk):
                self._chunk(message, node, "/".join([*path, node]))
            else:
                self._message(message, "/".join([*path, node]))
        elif mode == "updates":
            for node, update in data.items():
                self.items.append(("step", "/".join([*path, node]), node, sorted(update)))
        else:
            known = {"type": "progress", "step": "plan", "progress": 0.5, "message": None}
            self.items.append(
                ("custom", known if "type" in data else {"type": "custom:stream", "data": data})
            )

    def _message(self, message: BaseMessage, source: str) -> None:
        if isinstance(message, ToolMessage):
            is_error = message.status == "error"
            self.items.append(("result", message.tool_call_id, message.name, message.content, is_error))
        else:
            role = "user" if message.type == "human" else "assistant"
            self.items.append(("message", message.id, source, role, message.name, message.content))

    def _chunk(self, chunk: AIMessageChunk, node: str, source: str) -> None:
        before = self._whole.get(node)
        whole = self._whole[node] = chunk if before is None else before + chunk
        if chunk.text:
            self.items.append(("text", whole.id, source, str(chunk.text)))
        if reason := chunk.response_metadata.get("finish_reason"):
            self.items.append(("reason", whole.id, source, reason))
        self.items += [
            ("reasoning", whole.id, source, block["reasoning"])
            for block in chunk.content_blocks
            if block["type"] == "reasoning"
        ]
        if chunk.chunk_position == "last":  # it has another id than the others
            self._model_message(whole, source)

    def _model_message(self, whole: AIMessageChunk, source: str) -> None:
        for call in whole.tool_calls:
            self.items.append(("call", whole.id, source, call["id"], call["name"], call["args"]))
        for invalid in whole.invalid_tool_calls:
            self.items.append(("call", whole.id, source, invalid["id"], invalid["name"], invalid["args"]))
            error = "the arguments are not a JSON object"
            self.items.append(("result", invalid["id"], invalid["name"], error, True))
        if whole.usage_metadata:
            usage: dict[str, Any] = {**whole.usage_metadata}
            counts = [usage.pop(f"{name}_tokens") for name in ("input", "output", "total")]
            self.items.append(("usage", source, "gpt", counts, usage or None))
        if images := [block for block in whole.content_blocks if block["type"] == "image"]:
            content = [{"type": "text", "text": str(whole.text)}, *images]
            self.items.append(("message", whole.id, source, "assistant", None, content))


def received(ended: Ended) -> list[Item]:
    """Return the items in the events of a run."""
    items: list[Item] = []
    for event in ended.own:
        message_id, source = event.get("message_id"), event.get("source")
        match event["type"]:
            case "token":
                items += [("text", message_id, source, event["content"])] if event["content"] else []
                if event["finish_reason"]:
                    items.append(("reason", message_id, source, event["finish_reason"]))
            case "reasoning":
                items.append(("reasoning", message_id, source, event["content"]))
            case "tool_call":
                call = event["tool_call_id"], event["name"], event["arguments"]
                items.append(("call", message_id, source, *call))
            case "tool_result":
                result = event["name"], event["result"], event["is_error"]
                items.append(("result", event["tool_call_id"], *result))
            case "usage":
                counts = [event[f"{name}_tokens"] for name in ("input", "output", "total")]
                items.append(("usage", source, event["model"], counts, event["details"]))
            case "message":
                said = event["role"], event["name"], event["content"]
                items.append(("message", message_id, source, *said))
            case "step":
                items.append(("step", source, event["node_name"], sorted(event["output_keys"])))
            case "custom:values":
                pass
            case _:
                items.append(("custom", event))
    return items


async def test_everything_that_the_graph_streams_is_in_the_events_once() -> None:
    expected = Expected()
    modes = ["messages", "updates", "custom"]
    async for part in made().astream({"word": "rain"}, stream_mode=modes, subgraphs=True):
        expected.add(*part)
    agent = langgraph.create_agent(made(), {}, threads=8, arguments=ArgumentsSpec(stream_values=True))
    async with bench(agent) as runs:
        ended = await runs.run({"word": "rain"})
    by_text = sorted(expected.items, key=repr)
    assert sorted(received(ended), key=repr) == by_text
    assert {item[0] for item in by_text} == {
        *("text", "reason", "reasoning", "call", "result", "usage", "message", "step", "custom")
    }
    values = [event for event in ended.own if event["type"] == "custom:values"]
    assert values[-1]["data"] == ended.output
    assert {event.get("source") for event in values} == {None, "team"}
    assert ended.terminal["metadata"]["usage"] == {
        "gpt": {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}
    }
