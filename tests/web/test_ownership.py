"""Runs belong to their callers, on every replica."""

from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.auth.issuers import issue_token
from tests.conftest import Serve
from tests.servers import KINDS
from tests.support import Served
from tests.web.credentials import Headers, api_keys, bearer, public_key
from tests.web.helpers import Waits, error_of

pytestmark = pytest.mark.usefixtures("every_backend")
INGEST = {"streaming": {"ingest": {"enabled": True}}}


async def replicas(serve: Serve, agent: Any, **sections: Any) -> tuple[Served, Served]:
    """Serve with two replicas; on the memory backend both are one."""
    first = await serve(agent, **sections)
    return first, await serve(agent, **sections) if support.SHARED_REDIS else first


async def with_keys(serve: Serve, folder: Path, agent: Any, **sections: Any) -> tuple[Served, Served]:
    async with api_keys() as mode:
        return await replicas(serve, agent, **INGEST, **sections, **mode.sections(folder))


def key(user: str) -> Headers:
    return {"X-API-Key": f"the key of {user} that nobody guesses"}


async def made(served: Served, headers: Headers, **query: str) -> str:
    async with served.client.post("/runs", json={}, headers=headers, params=query) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["run_id"])


async def listed(served: Served, headers: Headers, **query: str) -> list[str]:
    async with served.client.get("/runs", headers=headers, params=query) as response:
        assert response.status == 200, await response.text()
        return [run["run_id"] for run in (await response.json())["items"]]


async def seen(served: Served, run_id: str, headers: Headers) -> list[int]:
    """Return the status of each request about a run, the last of which cancels it."""
    statuses = []
    path = f"/runs/{run_id}"
    token = {"type": "token", "content": "pushed"}
    for method, place, body in (
        ("GET", path, None),
        ("HEAD", path, None),
        ("GET", f"{path}/events?timeout=1", None),
        ("POST", f"{path}/token", None),
        ("POST", f"{path}/events", token),
        ("DELETE", path, None),
    ):
        async with served.client.request(method, place, json=body, headers=headers) as response:
            statuses.append(response.status)
    return statuses


NOT_THERE = [404] * 6
ALL_OF_IT = [200] * 6


async def test_run_is_visible_to_its_owner_only_on_every_replica(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, Waits())
    run_id = await made(here, key("owner"))
    for served in (here, there):
        assert await seen(served, run_id, key("other")) == NOT_THERE
        assert await listed(served, key("other")) == []
        assert await listed(served, key("owner")) == [run_id]
    assert await seen(there, run_id, key("owner")) == ALL_OF_IT
    assert await listed(there, key("owner"), status="cancelled") == [run_id]
    assert await seen(here, run_id, key("other")) == NOT_THERE
    assert await listed(here, key("other"), status="cancelled") == []


async def test_response_about_another_s_run_equals_that_about_none(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, Waits())
    run_id = await made(here, key("owner"))
    for served in (here, there):
        for method, end in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/token")):
            responses = []
            for each in (run_id, "never-was"):
                path = f"/runs/{each}{end}"
                async with served.client.request(method, path, headers=key("other")) as response:
                    body = await error_of(response, 404, "NOT_FOUND")
                    responses.append(str(body).replace(each, "…"))
            assert responses[0] == responses[1]


async def test_id_of_another_s_run_is_taken_and_tells_nothing_else(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, agent := Waits())
    for run_id in ("running", "finished"):
        await made(here, key("owner"), run_id=run_id)
    async with here.client.delete("/runs/finished", headers=key("owner")) as response:
        assert response.status == 200
    for served in (here, there):
        texts = set()
        for run_id in ("running", "finished"):
            for user in ("other", "owner", "auditor"):
                taken = served.client.post(f"/runs?run_id={run_id}", json={"n": 2}, headers=key(user))
                async with taken as response:
                    body = await error_of(response, 409, "CONFLICT")
                if user == "other":
                    assert "details" not in body
                    texts.add(body["error"].replace(run_id, "…"))
                else:
                    assert body["details"]["events_url"] == f"/runs/{run_id}/events"
        assert len(texts) == 1
    agent.go.set()


async def test_id_that_the_generator_repeats_tells_nothing_of_its_run(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await with_keys(serve, tmp_path, agent := Waits())
    await made(here, key("owner"), run_id="repeated")

    async def repeated() -> str:
        return "repeated"

    monkeypatch.setattr(there.service, "new_run_id", repeated)
    for path in ("/invoke/stream", "/runs"):
        async with there.client.post(path, json={}, headers=key("other")) as response:
            assert "details" not in await error_of(response, 409, "CONFLICT")
    agent.go.set()


async def test_read_logs_grants_reading_of_all_runs_only(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, agent := Waits())
    first, second = await made(here, key("owner")), await made(there, key("other"))
    own = await made(here, key("auditor"))
    assert set(await listed(there, key("auditor"))) == {first, second, own}
    assert await seen(there, first, key("auditor")) == [200, 200, 200, 200, 403, 403]
    async with there.client.delete(f"/runs/{first}", headers=key("auditor")) as response:
        await error_of(response, 403, "FORBIDDEN")
    async with there.client.delete(f"/runs/{own}", headers=key("auditor")) as response:
        assert response.status == 200
    agent.go.set()


async def test_read_logs_alone_is_enough_to_read(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, agent := Waits())
    run_id = await made(here, key("owner"))
    assert await listed(there, key("peeping")) == [run_id]
    assert await seen(there, run_id, key("peeping")) == [200, 200, 200, 200, 403, 403]
    async with there.client.post("/runs", json={}, headers=key("peeping")) as response:
        await error_of(response, 403, "FORBIDDEN")
    agent.go.set()


async def test_keys_of_one_name_are_one_caller(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY='the old key of all, the new key of all'\n")
    here, there = await replicas(serve, Waits(), auth={}, **INGEST)
    old, new = {"X-API-Key": "the old key of all"}, bearer("the new key of all")
    run_id = await made(here, old)
    assert await listed(there, new) == [run_id]
    assert await seen(there, run_id, new) == ALL_OF_IT


def member(user: str, tenant: Any = None, **claims: Any) -> Headers:
    return bearer(issue_token(sub=user, tenant=tenant, roles=["owner"], **claims))


async def test_same_user_id_of_another_tenant_is_another_caller(serve: Serve, tmp_path: Path) -> None:
    async with public_key() as mode:
        sections = mode.sections(tmp_path)
    sections["auth"]["jwt"]["claims"] = {"tenant_id": "tenant"}
    here, there = await replicas(serve, Waits(), **sections, **INGEST)
    run_id = await made(here, member("ann", "red"))
    strangers = [
        member("ann", "blue"),
        member("ann"),
        member("red", "ann"),
        member("ANN", "red"),
        member("ann", "red "),
        member('ann","red'),
        member("ann", '["red"]'),
        member("bob", "red"),
    ]
    for headers in strangers:
        assert await seen(there, run_id, headers) == NOT_THERE
        assert await listed(there, headers) == []
    for tenant in ({"name": "red"}, ["red"], "", "re\nd", "red" * 1000):
        async with there.client.get(f"/runs/{run_id}", headers=member("ann", tenant)) as response:
            await error_of(response, 401, "AUTH_ERROR")
    same_again = member("ann", "red", email="other@example", jti="another token")
    assert await seen(there, run_id, same_again) == ALL_OF_IT


async def test_run_left_by_pattern_a_belongs_to_its_caller(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    async with here.client.post("/invoke/stream", json={}, headers=key("owner")) as response:
        assert response.status == 200
        run_id = response.headers["X-Run-Id"]
        await response.read()
    assert (await seen(there, run_id, key("owner")))[:4] == [200] * 4
    assert await seen(there, run_id, key("other")) == NOT_THERE


async def test_taken_run_id_is_a_conflict_for_other_callers(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, agent := Waits())
    await made(here, key("owner"), run_id="mine")
    async with there.client.post("/runs?run_id=mine", json={}, headers=key("other")) as response:
        assert "owner" not in str(await error_of(response, 409, "CONFLICT"))
    assert await seen(there, "mine", key("other")) == NOT_THERE
    agent.go.set()


async def test_owner_of_a_run_is_never_revealed(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id = await made(here, key("owner"))
    async with there.client.get(f"/runs/{run_id}/events", headers=key("auditor")) as response:
        responses = await response.text()
    for path in ("/runs", f"/runs/{run_id}"):
        async with there.client.get(path, headers=key("auditor")) as response:
            responses += await response.text()
    assert "owner" not in responses


@pytest.mark.parametrize("every_backend", [KINDS[0]], indirect=True)  # memory does not outlive its service
async def test_run_of_an_open_service_is_nobody_s_once_auth_is_enabled(serve: Serve, tmp_path: Path) -> None:
    before = await serve(Waits())
    run_id = await made(before, {})
    async with api_keys() as mode:
        after = await serve(**mode.sections(tmp_path), **INGEST)
    assert await seen(after, run_id, key("owner")) == NOT_THERE
    assert await listed(after, key("owner")) == []
    assert await listed(after, key("auditor")) == [run_id]
