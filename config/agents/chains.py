"""A LangChain chain. The model is a fake; replace it with yours."""

from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

model = FakeListChatModel(responses=["It falls, it runs, it is gone."])


def make() -> Runnable[dict[str, Any], str]:
    return ChatPromptTemplate.from_template("Write about {word}.") | model | StrOutputParser()
