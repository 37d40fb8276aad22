"""The `ScriptedModel` of the OpenAI Agents SDK, whose texts are streamed in pieces."""

from collections.abc import AsyncIterator
from typing import Any

from agents import Usage, set_tracing_disabled
from agents.models.interface import Model
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from openai.types import responses
from openai.types.responses.response_reasoning_item import Summary
from openai_agents_agent import agent, answer

from tests.frameworks.fakes import FOREVER, REASONING, TEXT, endless

__all__ = ["answer"]


class FakeModel(Model):
    async def get_response(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    async def stream_response(
        self, instructions: Any, messages: Any, *arguments: Any, **options: Any
    ) -> AsyncIterator[Any]:
        last = messages[-1]
        forever = last.get("content") == FOREVER
        step = ModelStep(_output(last), Usage(input_tokens=50, output_tokens=5, total_tokens=55))
        script = ScriptedModel([step])
        async for event in script.stream_response(instructions, messages, *arguments, **options):
            match event:
                case responses.ResponseTextDeltaEvent() if forever:
                    async for word in endless():
                        yield event.model_copy(update={"delta": word})
                case responses.ResponseTextDeltaEvent():
                    for text in TEXT:
                        yield event.model_copy(update={"delta": text})
                case responses.ResponseReasoningSummaryTextDeltaEvent():
                    for text in REASONING:
                        yield event.model_copy(update={"delta": text})
                case _:
                    yield event


def _output(last: dict[str, Any]) -> list[Any]:
    if last.get("type") == "function_call_output" or last.get("content") == FOREVER:
        return [assistant_message("".join(TEXT))]
    thought = Summary(text="".join(REASONING), type="summary_text")
    return [
        responses.ResponseReasoningItem(id="thought-1", summary=[thought], type="reasoning"),
        function_call("weather", {"city": "Rome"}, call_id="call-1"),
    ]


set_tracing_disabled(True)
agent.model = FakeModel()
