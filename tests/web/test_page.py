"""The page's files at `/` and `/assets`, and their headers."""

import re
from pathlib import Path
from urllib.parse import quote

from dockrion.web import page
from tests.conftest import Serve
from tests.web.helpers import error_of
from tests.web.wire import wire

FOLDER = Path(page.__file__).parent
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.suffix in TYPES)
ASSETS = [name for name in FILES if name != "index.html"]
AGENT = {"name": "quite-secret", "description": "Nobody knows", "handler": "tests.support:placeholder"}


async def test_files_are_served_with_their_content_type(serve: Serve) -> None:
    served = await serve()
    for name in FILES:
        async with served.client.get("/" if name == "index.html" else f"/assets/{name}") as response:
            assert response.status == 200
            assert response.content_type == TYPES[Path(name).suffix]
            assert response.charset == "utf-8"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-cache"
            content = re.sub(rb'<link rel="modulepreload" .*\n', b"", await response.read())
            assert content == (FOLDER / name).read_bytes()


async def test_page_names_the_modules_that_it_imports(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/") as response:
        named = re.findall(r'<link rel="modulepreload" href="assets/(.+)">', await response.text())
    assert set(named) == _imported(FOLDER / "app.js", set())


def _imported(module: Path, known: set[str]) -> set[str]:
    """Return a module and those that it imports, and what they import in turn."""
    known.add(module.relative_to(FOLDER).as_posix())
    for path in re.findall(r'^import .*"(\..+)";$', module.read_text(), re.MULTILINE):
        imported = (module.parent / path).resolve()
        if imported.relative_to(FOLDER).as_posix() not in known:
            _imported(imported, known)
    return known


async def test_guide_is_served_as_its_source(serve: Serve) -> None:
    served = await serve()
    for path in (FOLDER.parents[1] / "guide").glob("*.md"):
        async with served.client.get(f"/assets/guide/{path.name}") as response:
            assert response.status == 200
            assert response.content_type == "text/markdown"
            assert await response.read() == path.read_bytes()
    async with served.client.get("/assets/vendor/README.md") as response:
        assert response.status == 404


async def test_content_security_policy_allows_same_origin_only(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/") as response:
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("img-src") == "'self' data:"
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert {policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy == dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")


async def test_cached_file_is_not_sent_again(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/assets/app.js") as response:
        etag = response.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        async with served.client.get("/assets/app.js", headers={"If-None-Match": known}) as response:
            assert response.status == 304
            assert response.headers["ETag"] == etag
            assert await response.read() == b""
    for other in ('"other"', "no tag"):
        async with served.client.get("/assets/app.js", headers={"If-None-Match": other}) as response:
            assert response.status == 200


async def test_unlisted_files_are_not_found(serve: Serve) -> None:
    served = await serve()
    async with wire(served) as connection:
        for name in (
            "__init__.py",
            "index.html",
            "",
            ".",
            "..",
            "../__init__.py",
            "..\\app.js",
            "APP.js",
            "app.js\0",
            "request/../app.js",
            "request/__init__.py",
            "form.js",
        ):
            await connection.ask("GET", f"/assets/{quote(name, safe='')}")
            status, headers = await connection.head()
            assert status.split()[1] == "404", name
            await connection.content(headers)


async def test_page_is_public_and_reveals_nothing_about_the_agent(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-that-is-long-enough\n")
    served = await serve(agent=AGENT, auth={"mode": "api_key"})
    for path in ("/", *(f"/assets/{name}" for name in ASSETS)):
        async with served.client.get(path) as response:
            assert response.status == 200
            text = await response.text()
        assert not [word for word in (AGENT["name"], AGENT["description"], "long-enough") if word in text]
    async with served.client.get("/info") as response:
        await error_of(response, 401, "AUTH_ERROR")


async def test_wrong_key_gets_the_same_challenge_as_none(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-that-is-long-enough\n")
    served = await serve(auth={"mode": "api_key", "api_keys": {"header": "X-Own-Key", "allow_bearer": False}})
    responses = []
    for headers in ({}, {"X-Own-Key": "wrong"}):
        async with served.client.get("/info", headers=headers) as response:
            responses.append(
                (response.headers["WWW-Authenticate"], await error_of(response, 401, "AUTH_ERROR"))
            )
    assert responses[0] == responses[1]
    assert responses[0][0] == 'ApiKey header="X-Own-Key"'


def test_no_script_turns_text_into_html_or_code() -> None:
    for name in (name for name in FILES if name.endswith((".js", ".html"))):
        text = (FOLDER / name).read_text()
        assert not re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bFunction\(|srcdoc", text
        ), name
        assert not re.findall(r"\sstyle=|\son\w+=", text), name


def test_no_file_of_ours_references_another_host() -> None:
    for name in (name for name in FILES if not name.startswith("vendor/")):
        text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://|\burl\(|@import", text), name


def test_vendored_file_is_listed_with_its_version_and_licence() -> None:
    vendor = FOLDER / "vendor"
    for script in vendor.glob("*.js"):
        name, version = re.findall(r" \* (\w+) v([\d.]+) ", script.read_text())[0]
        assert (
            f"| `{script.name}` | npm `{name}`, `lib/{name}.esm.js` | {version} | MIT"
            in (vendor / "README.md").read_text()
        )
        assert "Permission is hereby granted" in script.with_suffix(".LICENSE").read_text()
