"""A `BaseLlm` of the Agent Development Kit, which streams as Gemini does: pieces, then the whole."""

from collections.abc import AsyncIterator

from adk_agent import agent, answer
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.genai import types

from tests.frameworks.fakes import FOREVER, REASONING, TEXT, endless

__all__ = ["answer"]


class FakeModel(BaseLlm):
    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncIterator[LlmResponse]:
        last = llm_request.contents[-1].parts[-1]
        if last.text == FOREVER:
            async for word in endless():
                yield _response(types.Part(text=word), partial=True)
        elif last.function_response:
            for text in TEXT:
                yield _response(types.Part(text=text), partial=True)
            yield _response(types.Part(text="".join(TEXT)))
        else:
            for text in REASONING:
                yield _response(types.Part(text=text, thought=True), partial=True)
            call = types.FunctionCall(id="call-1", name="weather", args={"city": "Rome"})
            yield _response(types.Part(text="".join(REASONING), thought=True), types.Part(function_call=call))


def _response(*parts: types.Part, partial: bool = False) -> LlmResponse:
    return LlmResponse(
        content=types.ModelContent(list(parts)),
        partial=partial,
        model_version="fake",
        usage_metadata=types.GenerateContentResponseUsageMetadata(
            prompt_token_count=50, candidates_token_count=5
        ),
    )


agent.model = FakeModel(model="fake")
