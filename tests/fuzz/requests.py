"""Strategies for valid, nearly valid and malformed HTTP requests."""

import gzip
from random import Random

from hypothesis import strategies as st

ODD_BYTES = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
)
odd = st.sampled_from(ODD_BYTES) | st.binary(max_size=6)
QUOTED = (
    *("", "r", "1", "0", "-1", "9" * 30, "1e3", "%31", "true", "false", "cancel", "continue", "running", "%"),
    *(
        "%00",
        "%0d%0a",
        "%0d%0aX-Injected:%20yes",
        "%0a%0aevent:%20complete%0adata:%20{}",
        "%ff%fe",
        "%ed%a0%80",
    ),
    *(
        "%e2%80%a8",
        "%d9%a3",
        "..",
        "..%2f..%2fetc",
        "%2e%2e",
        "a" * 129,
        "a" * 9000,
        "+",
        "a&a=b",
        "[]",
        "{}",
    ),
    *("%ud800", "\u00e9", "\u2028", "'", '"', "<script>", "%25", "#", ";", "=", "%20", "eyJh", "null"),
)
value = st.sampled_from(QUOTED).map(str.encode) | odd
method = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"DELETE",
        b"HEAD",
        b"OPTIONS",
        b"PUT",
        b"TRACE",
        b"CONNECT",
        b"get",
        b"G\0T",
        b"PRI",
        b"",
    ]
)
NAMES = (
    *(b"run_id", b"from_sequence", b"timeout", b"strict", b"limit", b"status", b"cursor", b"reason"),
    *(b"on_disconnect", b"external", b"producer_seq", b"token", b"accepting", b""),
)
query = st.lists(st.tuples(st.sampled_from(NAMES), value).map(b"=".join), max_size=4).map(
    lambda pairs: b"?" + b"&".join(pairs) if pairs else b""
)
path = st.one_of(
    st.sampled_from(
        [b"/", b"/health", b"/ready", b"/metrics", b"/schema", b"/info", b"/invoke", b"/invoke/stream"]
    ),
    st.sampled_from(
        [b"/runs", b"/runs/done", b"/runs/done/events", b"/runs/done/events/", b"/nothing", b"*", b""]
    ),
    st.builds(b"/runs/%b".__mod__, value),
    st.builds(b"/runs/%b/events".__mod__, value),
    st.sampled_from([b"http://tested/health", b"http://[::1", b"//", b"//x/runs", b"/\\", b"?", b"/%"]),
    odd,
)
version = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"", b"HTTP/1.1 x"]
)
HEADERS = {
    b"Host": (b"tested", b"", b"a b", b"[::1", b"tested:99999", b"tested\0"),
    b"Connection": (b"close", b"keep-alive", b"Upgrade", b"close, keep-alive", b"\xff"),
    b"Content-Type": (
        *(
            b"application/json",
            b"application/x-ndjson",
            b"text/plain",
            b"",
            b"/",
            b"application/json; charset=utf-7",
        ),
        *(
            b"application/json; charset=\xff",
            b"application/json; charset=nothing",
            b"multipart/form-data; boundary=",
        ),
    ),
    b"Content-Length": (b"0", b"2", b"-1", b"+2", b"2, 2", b"1e1", b"0x2", b"9" * 30, b"", b" 2 "),
    b"Transfer-Encoding": (
        b"chunked",
        b"gzip, chunked",
        b"chunked, chunked",
        b"identity",
        b"chunked\0",
        b"xchunked",
    ),
    b"Content-Encoding": (b"gzip", b"deflate", b"br", b"zstd", b"nothing", b"gzip, gzip"),
    b"Expect": (b"100-continue", b"100-Continue", b"nothing", b""),
    b"Upgrade": (b"websocket", b"h2c", b""),
    b"Last-Event-ID": (b"0", b"1", b"-1", b"9" * 40, b"\xd9\xa3", b"1\0", b"1, 2", b"x" * 8000, b" "),
    b"Origin": (b"null", b"http://x", b"http://x\0y", b"\xff", b""),
    b"Access-Control-Request-Method": (b"POST", b"", b"\xff", b"G T"),
    b"Access-Control-Request-Headers": (b"x-a", b"", b"\xff", b","),
    b"Authorization": (b"Bearer", b"Bearer \xff", b"Basic =", b""),
    b"X-Forwarded-For": (b"1.2.3.4", b"\xff"),
    b"traceparent": (b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", b"\xff"),
    b"Cookie": (b"a=b", b"=", b"\xff;", b";" * 100),
    b"Range": (b"bytes=0-1", b"bytes=-", b"x"),
    b"X\0Y": (b"1",),
    b"": (b"1",),
}
end = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n ", b"\0"])
header = st.sampled_from(sorted(HEADERS)).flatmap(
    lambda name: st.builds(
        lambda given, colon, end: name + colon + given + end,
        st.sampled_from(HEADERS[name]) | value,
        st.sampled_from([b": "] * 6 + [b":", b" : ", b"", b":\t"]),
        end,
    )
)
JSON = (
    *(
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"",
        b"{",
        b"[" * 200,
        b"[" * 200 + b"]" * 200,
        b'{"a":NaN}',
        b"1e999",
    ),
    *(rb'{"a":"\ud800"}', b'{"a":"\xff"}', b'{"a":"\r\n\0"}', rb'{"a":"\r\n\n\u0000\u2028event: complete"}'),
    *(
        b'{"_config":{"a":1}}',
        b'{"resume":1}',
        b"9" * 5000,
        b"\xef\xbb\xbf{}",
        gzip.compress(b"{}"),
        b" " * 2000,
    ),
    *(
        b'{"type":"token","content":"x"}',
        b'[{"type":"complete"}]\n{"type":"token"}',
        b'{"type":"custom:a","id":1}',
    ),
)
body = st.sampled_from(JSON) | st.binary(max_size=20)
CHUNK_ENDS = (
    b"0\r\n\r\n",
    b"",
    b"0\r\n",
    b"-1\r\n",
    b"zz\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"0;a=b\r\n\r\n",
    b"f" * 20 + b"\r\n",
)
chunk = st.builds(lambda data, end: b"%x\r\n%b%b" % (len(data), data, end), body, end)
chunked = st.builds(
    lambda chunks, last: b"".join(chunks) + last, st.lists(chunk, max_size=3), st.sampled_from(CHUNK_ENDS)
)


def _request(
    line: tuple[bytes, bytes, bytes, bytes, bytes], headers: list[bytes], blank: bytes, data: bytes
) -> bytes:
    method, path, query, version, end = line
    return b" ".join((method, path + query, version)) + end + b"".join(headers) + blank + data


line = st.tuples(method, path, query, version, end)
blank = st.sampled_from([b"\r\n"] * 9 + [b""])
malformed = st.builds(_request, line, st.lists(header, max_size=6), blank, body | chunked)


def _valid(method: bytes, path: bytes, query: bytes, headers: list[bytes], data: bytes) -> bytes:
    """Return a request with valid framing, so that its content is processed."""
    framing = b"Host: localhost\r\nConnection: close\r\nContent-Length: %d\r\n" % len(data)
    return b"%b %b%b HTTP/1.1\r\n%b%b\r\n%b" % (method, path, query, b"".join(headers), framing, data)


_FRAMING = (
    b"Host",
    b"Connection",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Expect",
    b"Upgrade",
    b"X\0Y",
    b"",
)
valid_header = st.sampled_from([name for name in sorted(HEADERS) if name not in _FRAMING]).flatmap(
    lambda name: st.sampled_from(HEADERS[name]).map(lambda given: name + b": " + given + b"\r\n")
)
valid = st.builds(
    _valid,
    st.sampled_from([b"GET", b"POST", b"DELETE", b"OPTIONS", b"HEAD", b"PUT"]),
    path.filter(lambda path: path.startswith(b"/") and not set(path) & set(b"\r\n\0 \t")),
    query.filter(lambda query: not set(query) & set(b"\r\n\0 \t")),
    st.lists(valid_header, max_size=3),
    body,
)
valid_chunked = st.builds(
    lambda path, data: (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%b"
        % (path, data)
    ),
    st.sampled_from([b"/invoke", b"/invoke/stream", b"/runs", b"/runs/done/events"]),
    chunked,
)


def mutate(data: bytes, random: Random) -> bytes:
    """Return data with a random part removed, duplicated or replaced."""
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((0, 1, 1, 2, 8, 64)))
    put = random.choice((b"", data[start:end] * 2, random.choice(ODD_BYTES), random.randbytes(2)))
    return data[:start] + put + data[end:]
