"""The agent: a chain. The tokens of its model reach callers at once, without a line for it here."""

from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate


def make():
    prompt = ChatPromptTemplate.from_template("Write a line about {topic}.")
    # A model that needs no key, and always says the same. For a real one:
    #   from langchain.chat_models import init_chat_model
    #   model = init_chat_model("openai:gpt-4.1-mini")  # with OPENAI_API_KEY in a file .env, beside this one
    model = FakeListChatModel(responses=["It falls, it runs, it is gone."], sleep=0.01)
    return prompt | model | StrOutputParser()
