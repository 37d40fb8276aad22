"""The tokens that LangChain's models take, where their messages are not streamed."""

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from dockrion.agents import message_content
from dockrion.runs.session import RunSession


class UsageHandler(BaseCallbackHandler):
    """Reports the usage of every call of a chat model to a run.

    Args:
        session: The run.
    """

    run_inline = True  # LangChain would use a thread
    ignore_chain = ignore_retriever = ignore_agent = ignore_chat_model = True
    ignore_retry = ignore_custom_event = True

    def __init__(self, session: RunSession) -> None:
        self._session = session

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Report the usage of the message that a model has returned."""
        for generations in response.generations:
            generation = generations[0] if generations else None
            message = generation.message if isinstance(generation, ChatGeneration) else None
            if isinstance(message, AIMessage) and message.usage_metadata is not None:
                model = message_content.model_name(message)
                self._session.sync_emit_event(
                    message_content.usage_event(message.usage_metadata, model, None)
                )
