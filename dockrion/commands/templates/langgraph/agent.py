"""The agent: a graph. What its nodes and models do reaches callers at once, without a line for it here."""

import re

from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph


class State(MessagesState):
    topic: str


def find_topic(state: State) -> dict:
    # Besides its own events, a node can write any others.
    get_stream_writer()({"type": "progress", "step": "find_topic", "progress": 0.5})
    words = re.findall(r"\w+", state["messages"][-1].text)
    return {"topic": max(words, key=len, default="nothing")}


async def answer(state: State) -> dict:
    # A model that needs no key, and says what it is told. For a real one:
    #   from langchain.chat_models import init_chat_model
    #   model = init_chat_model("openai:gpt-4.1-mini")  # with OPENAI_API_KEY in a file .env, beside this one
    model = FakeListChatModel(responses=[f"Tell me more about {state['topic']}."], sleep=0.01)
    return {"messages": [await model.ainvoke(state["messages"])]}


def make():
    graph = StateGraph(State)
    graph.add_node("find_topic", find_topic)
    graph.add_node("answer", answer)
    graph.add_edge(START, "find_topic")
    graph.add_edge("find_topic", "answer")
    # The checkpointer keeps each thread's conversation, here in memory.
    return graph.compile(checkpointer=InMemorySaver())
