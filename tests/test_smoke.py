from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data, sequences


async def test_both_patterns(serve: Serve) -> None:
    async def agent(payload: dict[str, object], context: StreamContext) -> dict[str, object]:
        for n in range(5):
            await context.emit_token(str(n))
        return {"got": payload}

    served = await serve(agent)
    async with served.stream({"a": 1}) as reader:
        messages = await reader.all()
    assert [m.event for m in messages] == ["started", *["token"] * 5, "complete"]
    assert sequences(messages) == list(range(1, 8))
    assert data(messages[-1])["output"] == {"got": {"a": 1}}
    async with served.events(reader.run_id) as again:
        assert await again.all() == messages
    assert (await served.record(reader.run_id))["status"] == "completed"
