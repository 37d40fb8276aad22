"""From a file to a Dockfile: YAML, environment, structs, rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import UNSET, structs

from dockrion.dockfile.credentials import Credentials, doubts, read_credentials
from dockrion.dockfile.decode import Decoder, Report
from dockrion.dockfile.environment import read_environment, substitute
from dockrion.dockfile.problems import Keys, Problem
from dockrion.dockfile.rules import check
from dockrion.dockfile.schemas import give_types, with_type
from dockrion.dockfile.structs import DEFAULT_REDIS_URL, Dockfile
from dockrion.dockfile.yaml_source import Document, read_text
from dockrion.redaction import Redactor

_REDIS_URL: Keys = ("streaming", "redis", "url")


class Loaded(msgspec.Struct, frozen=True):
    """A sound Dockfile and what belongs to it.

    Args:
        path: The file.
        dockfile: What it says, defaults filled in.
        warnings: What is odd about it.
        unknown: Fields this version does not know, by their dotted path.
        secrets: Declared secrets that have a value, their defaults included.
        missing_secrets: Names of required secrets without a value.
        credentials: The keys and tokens it names variables for.
    """

    path: Path
    dockfile: Dockfile
    warnings: list[Problem]
    unknown: dict[str, Any]
    secrets: dict[str, str]
    missing_secrets: list[str]
    credentials: Credentials

    @property
    def confidential(self) -> list[str]:
        """What must never be shown: the values of secrets, keys and tokens, and the passwords in URLs."""
        streaming, agent, auth = self.dockfile.streaming, self.dockfile.agent, self.dockfile.auth
        urls = [agent.url, agent.cancel_url, agent.health_url]
        if auth is not None:
            urls += [auth.jwt.jwks_url, auth.oauth2.introspection_url]
        if streaming.backend == "redis":
            urls.append(streaming.redis.url)
        passwords = [password for url in urls if url for password in _passwords(url)]
        return [*self.secrets.values(), *self.credentials.confidential, *passwords]


def _passwords(url: str) -> list[str]:
    parts = urlsplit(url)
    inside = [parts.password, *(value for name, value in parse_qsl(parts.query) if name == "password")]
    return [form for each in inside if each for form in (each, unquote(each))]


def load(path: Path, *, env_file: Path | None = None, environ: Mapping[str, str]) -> Loaded:
    """Read and check a Dockfile.

    Args:
        path: The file; `.env`, `env.yaml` and `env.yml` beside it are read, too.
        env_file: One more file of the `.env` kind, or None.
        environ: The process environment.

    Raises:
        DockfileError: Something is wrong; the error holds every problem.
    """
    document = Document(read_text(path), str(path))
    environment = read_environment(path, env_file, environ)
    substitution = _Substitution(environment)
    value = document.build(substitution)
    substitution.redis_url(value)

    values = [_secret(environment, name, default) for name, default in _declared(value)]
    report = Report(str(path), document, Redactor(filter(None, values)))
    for keys, message in substitution.errors:
        report.error(keys, message)
    _give_schema_types(value, substitution.done)
    decoder = Decoder(report, substitution.done)
    sections = decoder.fields(Dockfile, value, ())
    check(decoder.decoded, report)
    report.raise_errors()

    dockfile = _completed(Dockfile(**sections))
    secrets, missing = _secrets(dockfile, environment)
    credentials = read_credentials(dockfile, {**environment, **secrets})
    for keys, message in doubts(dockfile.auth, credentials) if dockfile.auth else ():
        report.warn(keys, message)
    if "auth" in value and dockfile.auth is None:
        report.warn(("auth",), "nothing is under it, which lets everybody in, as without it")
    return Loaded(path, dockfile, report.warnings, report.unknown, secrets, missing, credentials)


class _Substitution:
    """Replaces references to variables, and remembers where.

    Text that refers to an unset variable becomes `msgspec.UNSET`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.done: set[Keys] = set()
        self.errors: list[tuple[Keys, str]] = []
        self._environment = environment

    def __call__(self, keys: Keys, text: str) -> Any:
        return text if keys == _REDIS_URL else self._replace(keys, text)

    def redis_url(self, value: dict[str, Any]) -> None:
        """Replace the references in Redis' URL, its default included, if Redis is asked for."""
        streaming = value.get("streaming")
        if not isinstance(streaming, dict) or streaming.get("backend") != "redis":
            return
        if streaming.get("redis") is None:
            streaming["redis"] = {}
        redis = streaming["redis"]
        if isinstance(redis, dict) and isinstance(url := redis.get("url", DEFAULT_REDIS_URL), str):
            redis["url"] = self._replace(_REDIS_URL, url)

    def _replace(self, keys: Keys, text: str) -> Any:
        try:
            result, unset = substitute(text, self._environment)
        except RecursionError:
            self.errors.append((keys, "references nested too deeply"))
            return UNSET
        for name in unset:
            message = f"environment variable {name} is not set, and has no default here"
            self.errors.append((keys, message))
        if unset:
            return UNSET
        if result != text:
            self.done.add(keys)
        return result


def _declared(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return names and defaults of the secrets, however malformed the Dockfile is."""
    secrets = value.get("secrets")
    lists = [secrets.get("required"), secrets.get("optional")] if isinstance(secrets, dict) else []
    items = [item for each in lists if isinstance(each, list) for item in each if isinstance(item, dict)]
    return [(item["name"], item.get("default")) for item in items if isinstance(item.get("name"), str)]


def _secret(environment: Mapping[str, str], name: str, default: Any) -> str:
    """Return a secret's value; one that is empty counts as not set."""
    return environment.get(name) or (default if isinstance(default, str) else "")


def _give_schema_types(value: dict[str, Any], substituted: set[Keys]) -> None:
    io_schema = value.get("io_schema")
    for name in ("input", "output") if isinstance(io_schema, dict) else ():
        give_types(value["io_schema"].get(name), ("io_schema", name), substituted)


def _completed(dockfile: Dockfile) -> Dockfile:
    """Fill in the defaults that depend on other fields."""
    agent, io_schema = dockfile.agent, dockfile.io_schema
    return structs.replace(
        dockfile,
        agent=structs.replace(agent, framework=agent.framework or "custom"),
        io_schema=structs.replace(
            io_schema, input=with_type(io_schema.input), output=with_type(io_schema.output)
        ),
    )


def _secrets(dockfile: Dockfile, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    declared = [*dockfile.secrets.required, *dockfile.secrets.optional]
    values = {each.name: _secret(environment, each.name, each.default) for each in declared}
    missing = [each.name for each in dockfile.secrets.required if not values[each.name]]
    return {name: value for name, value in values.items() if value}, missing
