"""Handlers with types, in the forms that annotations have."""

import asyncio
import dataclasses
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic

from dockrion import StreamContext

# ruff: noqa: ARG001  what is not used is what is tested

T = TypeVar("T")


class Question(msgspec.Struct):
    """What a caller asks."""

    text: Annotated[str, msgspec.Meta(min_length=1)]
    since: datetime | None = None
    related: "list[Question]" = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

    def __post_init__(self) -> None:
        if self.x == self.y == 13:
            raise ValueError("13 is unlucky, see /etc/passwd")
        if self.x == 99:
            raise ValueError("no" * 100_000)
        if self.x == 66:
            raise KeyError("/etc/shadow")


@dataclasses.dataclass
class Circle:
    center: Point
    radius: float


class Options(TypedDict):
    depth: int
    style: NotRequired[Literal["short", "long"]]


class Answer(msgspec.Struct):
    text: str


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    item_name: str = pydantic.Field(alias="itemName", min_length=1)
    due: datetime | None = None
    price: float = float("inf")

    @pydantic.field_validator("item_name")
    @classmethod
    def check_name(cls, name: str) -> str:
        if name == "nothing":
            raise ValueError("must be something")
        if name == "broken":
            raise RuntimeError("the catalogue /var/lib/items is gone")
        return name


class Plain:
    """A class of which neither msgspec nor pydantic can make a schema."""


async def answer(payload: Question, context: StreamContext) -> Answer:
    await context.emit_token(type(payload).__name__)
    return Answer(f"{payload.text} {payload.since!r} {[each.text for each in payload.related]}")


def answer_in_thread(context: StreamContext, payload: Question) -> Answer:
    return Answer(payload.text)


def point(payload: Point) -> dict[str, Any]:
    return {"type": type(payload).__name__, "x": payload.x, "y": payload.y}


def options(payload: Options) -> str:
    return f"{payload['depth']} {payload.get('style')}"


def order(payload: Order) -> Order:
    assert isinstance(payload, Order)
    return payload


def shape(payload: Point | Circle) -> str:
    return type(payload).__name__


def text(payload: str) -> int:
    return len(payload)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return call


@traced
def decorated(payload: Point, *, context: StreamContext) -> Answer:
    return Answer(str(payload.x))


def configured(prefix: str, payload: Point, context: StreamContext) -> Answer:
    return Answer(f"{prefix}{payload.x}")


partial = functools.partial(configured, ">")


class Callable_:  # noqa: N801
    async def __call__(self, payload: Point) -> Answer:
        return Answer(str(payload.x))


instance = Callable_()


class Service:
    def invoke(self, payload: Question) -> Answer:
        return Answer(payload.text)

    async def astream(self, payload: Question) -> AsyncIterator[str | Answer]:
        yield payload.text
        yield Answer(payload.text.upper())


def create() -> Service:
    return Service()


may_load = threading.Event()


def create_slowly() -> Service:
    assert may_load.wait(10)
    return Service()


class Threaded(msgspec.Struct):
    """Remembers the thread in which it was made."""

    text: str
    thread: str = ""

    def __post_init__(self) -> None:
        self.thread = threading.current_thread().name


def thread(payload: Threaded) -> str:
    return payload.thread


def unlike_its_type(payload: Point) -> Answer:
    return {"text": payload.x}  # type: ignore[return-value]


def words(payload: str) -> Iterator[str]:
    yield from payload.split()


def any_object(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


def pet(payload: Cat | Dog) -> str:
    return type(payload).__name__


def plain(payload: Plain) -> Any:
    return payload


class Raising(msgspec.Struct):
    """Raises what `except Exception` does not catch."""

    what: str

    def __post_init__(self) -> None:
        if self.what.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt
        if self.what.startswith("CancelledError"):
            raise asyncio.CancelledError
        if self.what.startswith("GeneratorExit"):
            raise GeneratorExit
        if self.what.startswith("BaseExceptionGroup"):
            raise BaseExceptionGroup("several", [SystemExit(1), KeyboardInterrupt()])


def raising(payload: Raising) -> str:
    return payload.what
