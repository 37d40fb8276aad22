"""Request bodies, which are untrusted."""

import gzip
import io
import zlib
from collections.abc import AsyncIterator

import pytest

from dockrion.dockfile.limits_structs import LimitsSpec
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.helpers import error_of, gauge, shows_no_inside
from tests.web.wire import wire

MAX_BODY_BYTES = LimitsSpec().max_body_bytes
PATHS = ["/invoke", "/invoke/stream", "/runs"]
JSON = {"Content-Type": "application/json"}
BAD_BODIES = {
    "empty": b"",
    "only spaces": b"  \n",
    "cut off": b'{"a":',
    "two values": b"{} {}",
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"a": NaN}',
    "infinite": b'{"a": Infinity}',
    "out of range": b'{"a": 1e999}',
    "not UTF-8": b'{"a": "\xff"}',
    "lone surrogate": rb'{"a": "\ud800"}',
    "raw control character": b'{"a": "\x01"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "form": b"a=1&b=2",
}
CHUNKED = (
    b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
SCHEMA = {
    "properties": {
        "topic": {"type": "string", "minLength": 1},
        "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    },
    "required": ["topic"],
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_body_is_refused(serve: Serve, path: str, name: str) -> None:
    served = await serve()
    async with served.client.post(path, data=BAD_BODIES[name], headers=JSON) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert shows_no_inside(body["error"])


@pytest.mark.parametrize("path", PATHS)
async def test_body_without_any_header_is_empty(serve: Serve, path: str) -> None:
    served = await serve()
    async with served.client.post(path, skip_auto_headers=["Content-Type"]) as response:
        await error_of(response, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "json"]
)
async def test_body_of_another_content_type_is_unsupported(
    serve: Serve, path: str, content_type: str
) -> None:
    served = await serve()
    async with served.client.post(path, data=b"{}", headers={"Content-Type": content_type}) as response:
        await error_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.agent+json"]
)
async def test_any_json_type_is_accepted(serve: Serve, content_type: str) -> None:
    served = await serve()
    async with served.client.post("/invoke", data=b"{}", headers={"Content-Type": content_type}) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_body_without_a_content_type_is_unsupported(serve: Serve, path: str) -> None:
    served = await serve()
    async with served.client.post(path, data=b'{"a":1}', skip_auto_headers=["Content-Type"]) as response:
        body = await error_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert "Content-Type: application/json" in body["error"]


@pytest.mark.parametrize("path", PATHS)
async def test_body_over_the_limit_is_too_large(serve: Serve, path: str) -> None:
    served = await serve()
    body = b'"' + b"a" * (MAX_BODY_BYTES - 1) + b'"'
    async with served.client.post(path, data=io.BytesIO(body), headers=JSON) as response:
        await error_of(response, 413, "PAYLOAD_TOO_LARGE")


async def test_body_over_the_limit_in_chunks_is_too_large(serve: Serve) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"a" * 2**20

    served = await serve()
    async with served.client.post("/invoke", data=body(), headers=JSON) as response:
        await error_of(response, 413, "PAYLOAD_TOO_LARGE")


async def test_body_of_exactly_the_limit_is_accepted(serve: Serve) -> None:
    served = await serve(len)
    body = b'"' + b"a" * (MAX_BODY_BYTES - 2) + b'"'
    async with served.client.post("/invoke", data=io.BytesIO(body), headers=JSON) as response:
        assert (await response.json())["output"] == MAX_BODY_BYTES - 2


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(b'{"a": 1}')), ("deflate", zlib.compress(b'{"a": 1}'))],
    ids=["gzip", "deflate"],
)
async def test_compressed_body_is_read(serve: Serve, encoding: str, body: bytes) -> None:
    served = await serve()
    async with served.client.post(
        "/invoke", data=body, headers=JSON | {"Content-Encoding": encoding}
    ) as response:
        assert (await response.json())["output"] == {"a": 1}


async def test_compressed_body_counts_with_its_decompressed_size(serve: Serve) -> None:
    served = await serve()
    body = gzip.compress(b" " * (MAX_BODY_BYTES + 10))
    async with served.client.post(
        "/invoke", data=body, headers=JSON | {"Content-Encoding": "gzip"}
    ) as response:
        await error_of(response, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", PATHS)
async def test_body_that_contradicts_its_content_encoding_is_refused(serve: Serve, path: str) -> None:
    served = await serve()
    async with served.client.post(
        path, data=b'{"a": 1}', headers=JSON | {"Content-Encoding": "gzip"}
    ) as response:
        await error_of(response, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n"], ids=["size", "end"])
async def test_malformed_chunk_is_refused(serve: Serve, chunks: bytes) -> None:
    served = await serve()
    async with wire(served) as connection:
        await connection.send(CHUNKED + chunks)
        status, headers = await connection.head()
        body = await connection.content(headers)
    assert " 400 " in status
    assert shows_no_inside(body.decode())
    async with served.client.get("/health") as response:
        assert response.status == 200


async def test_disconnect_within_a_body_leaves_nothing_behind(serve: Serve) -> None:
    served = await serve()
    async with wire(served) as connection:
        await connection.send(CHUNKED + b"2\r\n{}\r\n")
        await wait_until(lambda: gauge(served.service.metrics.requests.active) == 1)
    await wait_until(lambda: gauge(served.service.metrics.requests.active) == 0)


@pytest.mark.parametrize("path", PATHS)
async def test_every_violation_of_the_schema_is_listed_with_its_path(serve: Serve, path: str) -> None:
    served = await serve(io_schema={"input": SCHEMA})
    wrong = {"items": [{"n": 1}, {"n": "x"}, 3]}
    async with served.client.post(path, json=wrong) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert all(violation.keys() == {"path", "message"} for violation in body["details"])
    assert sorted(violation["path"] for violation in body["details"]) == ["$", "$.items[1].n", "$.items[2]"]
    (missing,) = (each["message"] for each in body["details"] if each["path"] == "$")
    assert "topic" in missing


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
async def test_schema_without_a_type_requires_an_object(serve: Serve, body: bytes) -> None:
    served = await serve(io_schema={"input": {}})
    async with served.client.post("/invoke", data=body, headers=JSON) as response:
        assert (await error_of(response, 400, "VALIDATION_ERROR"))["details"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"false", b"{}"])
async def test_any_json_is_accepted_without_a_schema(serve: Serve, body: bytes) -> None:
    served = await serve(lambda payload: [payload])
    async with served.client.post("/invoke", data=body, headers=JSON) as response:
        assert f"[{body.decode()}]" in await response.text()


@pytest.mark.parametrize("number", ["1" * 100, "-" + "9" * 400, str(2**64), "1.0", "1e2"])
async def test_extreme_number_is_not_an_internal_error(serve: Serve, number: str) -> None:
    served = await serve(
        io_schema={"input": {"properties": {"n": {"type": "integer"}, "m": {"type": "number", "maximum": 9}}}}
    )
    for name in "nm":
        body = f'{{"{name}": {number}}}'.encode()
        async with served.client.post("/invoke", data=body, headers=JSON) as response:
            assert response.status in (200, 400), await response.text()
